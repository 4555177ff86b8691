// The thread that looks at the loops and writes; see watchdog.hpp.
//
// Without the GIL: no Python object is touched, and nothing is allocated. What it remembers of a
// loop lies in its WatchedRun; it asks the reporter for what only Python knows.
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <ctime>
#include <utility>

#include "base/clock.hpp"
#include "native/loop.hpp"

namespace rloop::native {
namespace {

constexpr int64_t kMillisecond_ns = 1'000'000;
constexpr int64_t kBlind_ns = 100 * kMillisecond_ns;
constexpr int64_t kLongestSleep_ns = 1000 * kMillisecond_ns;
// How soon the watcher sees that a loop it has told of turns again.
constexpr int64_t kReturn_ns = 50 * kMillisecond_ns;
// The reporter gets the GIL at once while threads of Python compute (each gives it up after 5 ms).
constexpr int64_t kLongestGilWait_ns = 1000 * kMillisecond_ns;
constexpr int64_t kShortestGilWait_ns = 200 * kMillisecond_ns;
// And then runs Python code, which may read files.
constexpr int64_t kAnswerWait_ns = 10'000 * kMillisecond_ns;

double seconds(int64_t ns) {
  return base::to_seconds(ns);
}

// What a thread of this process has had of the processors; -1: it has ended.
int64_t processor_time_ns(clockid_t clock) {
  timespec time;
  if (::clock_gettime(clock, &time) < 0) return -1;
  return static_cast<int64_t>(time.tv_sec) * 1'000'000'000 + time.tv_nsec;
}

}  // namespace

void Watchdog::watcher_entry(void* generation) {
  ::prctl(PR_SET_NAME, "rloop-watchdog");
  instance().watch(reinterpret_cast<uint64_t>(generation));
}

void Watchdog::watch(uint64_t generation) {
  lock();
  while (!has_ended(generation)) {
    if (tell_next(generation)) continue;
    if (runs_.empty()) {
      idle_ = true;
      wait(watcher_wakes_, base::kNever);
      idle_ = false;
      continue;
    }
    int64_t next = next_look_ns(base::now_ns());
    wait(watcher_wakes_, next);
    // Where this thread did not run, because the process was stopped or the machine slept, the
    // loops did not either.
    int64_t now = base::now_ns();
    if (now - next > std::max(settings_.limit_ns / 2, kBlind_ns)) blind_until_ns_ = now;
  }
  while (ended_count_ > 0)
    tell_ended();
  thread_ends();
  unlock();
}

int64_t Watchdog::next_look_ns(int64_t now) {
  int64_t sleep = std::min(settings_.limit_ns / 4, kLongestSleep_ns);
  runs_.for_each([&](WatchedRun& run) {
    if (run.told_) sleep = std::min(sleep, kReturn_ns);
    if (run.turn_.since_ns != 0) {
      int64_t due = std::max(run.began_ns_, blind_until_ns_) + run.tell_at_ns_;
      sleep = std::min(sleep, due - now);
    }
  });
  return now + std::max(sleep, kMillisecond_ns);
}

// Looks at all loops and tells what is to be told of the first that has something; false: none has.
// Unlocked while it writes.
bool Watchdog::tell_next(uint64_t generation) {
  if (ended_count_ > 0) {
    tell_ended();
    return true;
  }
  Return returned;
  Stall stall;
  News news = News::none;
  runs_.for_each([&](WatchedRun& run) {
    if (news == News::none && has_returned(run, returned)) news = News::returned;
    if (news == News::none && is_stalled(run, stall)) news = News::stalled;
  });
  if (news == News::none) return false;
  unlock();
  if (news == News::returned) tell_return(returned);
  if (news == News::stalled) tell_stall(stall, generation);
  lock();
  return true;
}

void Watchdog::tell_ended() {
  Return found = ended_[--ended_count_];
  unlock();
  tell_return(found);
  lock();
}

bool Watchdog::has_returned(WatchedRun& run, Return& found) {
  if (!run.told_ || run.present() == run.turn_) return false;
  run.told_ = false;
  found = return_of(run, false);
  return true;
}

// Where the next turn began; now, where that is not known.
Watchdog::Return Watchdog::return_of(const WatchedRun& run, bool run_ends) const {
  int64_t since = run.present().since_ns;
  bool known = since != 0 && since != run.turn_.since_ns;
  return {who(run), (known ? since : base::now_ns()) - run.began_ns_, run_ends};
}

// A turn whose number is new, but not its time, began after the last look: age counts from here.
void Watchdog::look_at(WatchedRun& run, int64_t now) {
  WatchedRun::Turn turn = run.present();
  if (turn == run.turn_) return;
  run.began_ns_ = turn.since_ns != run.turn_.since_ns ? turn.since_ns : now;
  run.turn_ = turn;
  run.seen_ns_ = now;
  run.processor_ns_ = turn.since_ns != 0 ? processor_time_ns(run.processor_clock_) : -1;
  run.tell_at_ns_ = settings_.limit_ns;
}

// Told of at the limit, and again each time that it has doubled.
bool Watchdog::is_stalled(WatchedRun& run, Stall& found) {
  int64_t now = base::now_ns();
  look_at(run, now);
  int64_t age = now - std::max(run.began_ns_, blind_until_ns_);
  if (run.turn_.since_ns == 0 || age < run.tell_at_ns_) return false;
  while (run.tell_at_ns_ <= age)
    run.tell_at_ns_ *= 2;
  if (!std::exchange(run.told_, true)) run.stalls_.fetch_add(1, std::memory_order_relaxed);
  int64_t had = processor_time_ns(run.processor_clock_);
  bool known = had >= 0 && run.processor_ns_ >= 0 && now > run.seen_ns_;
  found = {.who = who(run),
           .serial = run.serial_,
           .turn = run.turn_,
           .age_ns = age,
           .ident = run.ident_,
           .window_ns = now - run.seen_ns_,
           .processor_ns = known ? had - run.processor_ns_ : -1};
  return true;
}

Watchdog::Who Watchdog::who(const WatchedRun& run) const {
  Who made;
  std::snprintf(made.text.data(), made.text.size(),
                "rloop: loop %s (%s, thread 0x%016lx %s, pid %d)", run.loop_name_.data(),
                run.backend_.load(std::memory_order_relaxed), run.ident_, run.thread_name_.data(),
                static_cast<int>(::getpid()));
  return made;
}

void Watchdog::tell_return(const Return& found) {
  say("%s turned again after %.1f s%s\n", found.who.text.data(), seconds(found.after_ns),
      found.run_ended ? ", and its run has ended" : "");
}

void Watchdog::tell_stall(const Stall& stall, uint64_t generation) {
  std::array<char, 80> had{};
  if (stall.processor_ns >= 0) {
    std::snprintf(had.data(), had.size(), "; in the last %.1f s its thread computed for %.1f s",
                  seconds(stall.window_ns), seconds(stall.processor_ns));
  }
  std::array<char, 40> at{};
  time_t now = ::time(nullptr);
  tm utc{};
  ::gmtime_r(&now, &utc);  // local time would read files
  std::strftime(at.data(), at.size(), "; %F %T UTC", &utc);
  say("%s has not turned for %.1f s%s%s\n", stall.who.text.data(), seconds(stall.age_ns),
      had.data(), at.data());
  std::string answer;
  switch (ask(stall, generation, answer)) {
    case Outcome::answered:
      return output().write(answer);
    case Outcome::turned:
      return say("rloop: it turned before its stack could be read\n");
    case Outcome::no_gil:
      return dump_threads(stall, generation);
    case Outcome::no_answer:
      return say("rloop: its stack could not be read in time\n");
    case Outcome::over:
      return;
  }
}

// Waits for the reporter, which needs the GIL.
Watchdog::Outcome Watchdog::ask(const Stall& stall, uint64_t generation, std::string& answer) {
  lock();
  question_ = Question::asked;
  asked_serial_ = stall.serial;
  asked_turn_ = stall.turn;
  ::pthread_cond_signal(&reporter_wakes_);
  int64_t began = base::now_ns(), now = began;
  int64_t patience = std::clamp(settings_.limit_ns / 2, kShortestGilWait_ns, kLongestGilWait_ns);
  bool in_turn = true;
  while (!has_ended(generation) && in_turn && question_ == Question::asked &&
         now - began < patience) {
    wait(watcher_wakes_, now + kReturn_ns);
    now = base::now_ns();
    in_turn = is_in_turn(stall.serial, stall.turn);
  }
  while (!has_ended(generation) && question_ == Question::heard && now - began < kAnswerWait_ns) {
    wait(watcher_wakes_, now + kReturn_ns);
    now = base::now_ns();
  }
  Question reached = std::exchange(question_, Question::none);
  Outcome outcome = Outcome::over;
  if (has_ended(generation)) {
  } else if (reached == Question::answered) {
    answer.swap(answer_);
    outcome = answer.empty() ? Outcome::turned : Outcome::answered;
  } else if (!in_turn) {
    outcome = Outcome::turned;
  } else {
    outcome = reached == Question::asked ? Outcome::no_gil : Outcome::no_answer;
  }
  unlock();
  return outcome;
}

// In faulthandler's way: its signal handler reads all threads' frames without the GIL.
void Watchdog::dump_threads(const Stall& stall, uint64_t generation) {
  say("rloop: Python did not answer: a thread holds the GIL and does not give it up. All threads; "
      "the loop's is 0x%016lx:\n",
      stall.ident);
  if (!signal_dump(generation)) say("rloop: (the threads cannot be shown)\n");
}

// The handler runs in this thread, so no system call of the program is interrupted. False where the
// program has taken the signal, or closed the file: without the GIL no other can be registered.
bool Watchdog::signal_dump(uint64_t generation) {
  lock();
  int signal = has_ended(generation) ? 0 : settings_.dump_signal;
  auto expected = dump_handler_;
  unlock();
  struct sigaction action{};
  if (signal == 0 || !output().is_writable() || ::sigaction(signal, nullptr, &action) < 0 ||
      action.sa_handler != expected)
    return false;
  sigset_t only;
  ::sigemptyset(&only);
  ::sigaddset(&only, signal);
  ::sigprocmask(SIG_UNBLOCK, &only, nullptr);
  ::raise(signal);  // to this thread alone
  ::sigprocmask(SIG_BLOCK, &only, nullptr);
  return true;
}

void Watchdog::say(const char* format, ...) {
  std::array<char, 640> line;
  va_list arguments;
  va_start(arguments, format);
  int length = std::vsnprintf(line.data(), line.size(), format, arguments);
  va_end(arguments);
  if (length <= 0) return;
  size_t whole = std::min(static_cast<size_t>(length), line.size() - 1);
  output().write({line.data(), whole});
}

WatchdogOutput Watchdog::output() {
  lock();
  WatchdogOutput copy = settings_.output;
  unlock();
  return copy;
}

}  // namespace rloop::native
