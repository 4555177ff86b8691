// The stall watchdog: one native thread that looks whether the process's running loops turn.
//
// A loop enters its run here and leaves it; while the watchdog is on, the watcher thread reads when
// each one's turn began, and writes about those that have not turned for too long. It needs no GIL
// for that. What does (the Python stack, the task) is asked of the reporter, a second thread, and
// waited for within bounds: where the GIL is not to be had, faulthandler dumps all threads.
//
// Process-wide, made once and never destroyed: threads may outlive main(). `mutex_` is held for a
// few stores at a time, never while anything is written, Python code runs or the GIL is waited for,
// so holders of the GIL may take it. The list of runs changes with both held. Nothing that the
// watcher does allocates.
#pragma once

#include <pthread.h>
#include <signal.h>
#include <time.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <string>

#include "base/intrusive_list.hpp"
#include "binding/ref.hpp"
#include "native/watchdog_output.hpp"

namespace rloop::native {

class Loop;
class Watchdog;
struct WatchedRunTag;

// A loop as the watchdog knows it; part of the loop, and entered for its run.
class WatchedRun : public base::ListNode<WatchedRunTag> {
 public:
  // By the loop's thread: each turn costs a store.
  void turn_begins() { turns_.store(turns() + 1, std::memory_order_relaxed); }
  uint64_t turns() const { return turns_.load(std::memory_order_relaxed); }
  // How often the loop was found not to turn.
  uint64_t stalls() const { return stalls_.load(std::memory_order_relaxed); }
  // A string that lives as long as the process.
  void set_backend(const char* name) { backend_.store(name, std::memory_order_relaxed); }

 private:
  friend class Watchdog;

  // Which turn it is, as a thread without the GIL can tell: quick ones share a time, and a sleep
  // does not count.
  struct Turn {
    uint64_t number = 0;
    int64_t since_ns = 0;  // of base::Meter::awake_since; 0: none, the loop sleeps
    bool operator==(const Turn&) const = default;
  };
  Turn present() const;

  std::atomic<uint64_t> turns_ = 0, stalls_ = 0;
  std::atomic<const char*> backend_ = "";

  // The rest is guarded by Watchdog::mutex_.
  uint64_t serial_ = 0;  // of the run; no other has it
  Loop* loop_ = nullptr;
  unsigned long ident_ = 0;        // threading.get_ident()
  clockid_t processor_clock_ = 0;  // of the thread
  std::array<char, 80> loop_name_{}, thread_name_{};

  // What the watcher remembers of the present turn: when it began, when it was seen first, and the
  // thread's processor time then.
  Turn turn_;
  int64_t began_ns_ = 0, seen_ns_ = 0, processor_ns_ = 0;
  int64_t tell_at_ns_ = 0;  // the age at which it is told of next
  bool told_ = false;       // and has not ended yet, as far as the watcher knows
};

class Watchdog {
 public:
  struct Settings {
    int64_t limit_ns = 0;  // 0: off
    WatchdogOutput output;
    int dump_signal = 0;  // one for which faulthandler is registered; 0: none
    // introduce(loop, ident) -> (bytes, bytes): the names of the loop and of the thread, quoted.
    // describe(loop, ident) -> bytes: what can be said with the GIL. Both owned.
    PyObject* introduce = nullptr;
    PyObject* describe = nullptr;
  };

  static Watchdog& instance();

  // --- by holders of the GIL ---
  // Raises what `introduce` does; the run is not entered then.
  void enter(WatchedRun& run, Loop& loop);
  void leave(WatchedRun& run) noexcept;
  // Its loop has another name, also in the middle of the run.
  void name_again(WatchedRun& run);
  // While it is off. Raises what `introduce` does.
  void start(const Settings& settings);
  // Gives the GIL up until the threads have ended. False when one of them is held up by its output,
  // which it may still use. `for_good`: the interpreter ends, nothing begins any more.
  bool stop(bool for_good);

 private:
  struct Who {
    std::array<char, 320> text{};
  };
  // What the watcher tells; copies, for the loop may end meanwhile.
  struct Stall {
    Who who;
    uint64_t serial = 0;
    WatchedRun::Turn turn;
    int64_t age_ns = 0;
    unsigned long ident = 0;
    int64_t window_ns = 0, processor_ns = 0;  // had in that time; -1: not known
  };
  struct Return {
    Who who;
    int64_t after_ns = 0;
    bool run_ended = false;
  };
  enum class Question : uint8_t { none, asked, heard, answered };
  enum class Outcome : uint8_t { answered, turned, no_gil, no_answer, over };
  enum class News : uint8_t { none, returned, stalled };

  Watchdog();
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

  void name(WatchedRun& run, Loop& loop, unsigned long ident);
  bool is_on() const { return settings_.limit_ns != 0; }
  bool spawn();
  bool spawn_thread(void (*entry)(void*));
  void thread_ends();
  void forget_in_child();

  // --- the watcher (watchdog_watcher.cpp) ---
  static void watcher_entry(void* generation);
  void watch(uint64_t generation);
  bool tell_next(uint64_t generation);
  void tell_ended();
  void look_at(WatchedRun& run, int64_t now);
  bool has_returned(WatchedRun& run, Return& found);
  bool is_stalled(WatchedRun& run, Stall& found);
  int64_t next_look_ns(int64_t now);
  Who who(const WatchedRun& run) const;
  Return return_of(const WatchedRun& run, bool run_ends) const;
  void tell_return(const Return& found);
  void tell_stall(const Stall& stall, uint64_t generation);
  Outcome ask(const Stall& stall, uint64_t generation, std::string& answer);
  void dump_threads(const Stall& stall, uint64_t generation);
  bool signal_dump(uint64_t generation);
  void say(const char* format, ...) __attribute__((format(printf, 2, 3)));
  WatchdogOutput output();

  // --- the reporter (watchdog_reporter.cpp) ---
  static void reporter_entry(void* generation);
  void answer_questions(uint64_t generation);
  void answer(uint64_t generation);
  binding::Ref asked_loop(uint64_t generation, unsigned long& ident);
  void give(uint64_t generation, std::string text);

  bool has_ended(uint64_t generation) const { return generation != generation_; }
  bool is_in_turn(uint64_t serial, const WatchedRun::Turn& turn);
  WatchedRun* find(uint64_t serial);
  void lock() { ::pthread_mutex_lock(&mutex_); }
  void unlock() { ::pthread_mutex_unlock(&mutex_); }
  void wait(pthread_cond_t& condition, int64_t until_ns);

  pthread_mutex_t mutex_ = PTHREAD_MUTEX_INITIALIZER;
  pthread_cond_t watcher_wakes_, reporter_wakes_, thread_ended_;
  base::IntrusiveList<WatchedRun, WatchedRunTag> runs_;
  Settings settings_;
  void (*dump_handler_)(int) = nullptr;
  uint64_t last_serial_ = 0;
  uint64_t generation_ = 0;     // of the threads; those of an earlier one end
  int threads_ = 0;             // that have not ended
  bool spawned_ = false;        // this generation's
  bool idle_ = false;           // the watcher waits for a run
  bool over_ = false;           // the interpreter ends
  int64_t blind_until_ns_ = 0;  // the watcher itself had not run before (stopped, suspended)

  // Runs that ended in the turn that was told of. More than that in one look are not told.
  std::array<Return, 16> ended_;
  size_t ended_count_ = 0;

  Question question_ = Question::none;
  uint64_t asked_serial_ = 0;
  WatchedRun::Turn asked_turn_;
  std::string answer_;  // empty: it has turned
};

}  // namespace rloop::native
