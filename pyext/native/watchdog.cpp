// The runs that are watched, the beginning and the end of the threads, and forks; see watchdog.hpp.
#include "native/watchdog.hpp"

#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include "base/clock.hpp"
#include "base/log.hpp"
#include "native/loop.hpp"

namespace rloop::native {
namespace {

// For the end of the threads: the longest that a write of theirs takes, and some.
constexpr int64_t kEndLimit_ns = 5'000'000'000;

// The clock of the calling thread's processor time, for others to read: pthread_getcpuclockid.
clockid_t own_processor_clock() {
  constexpr int kScheduled = 2, kOfThread = 4;  // CPUCLOCK_SCHED, CPUCLOCK_PERTHREAD_MASK
  auto thread = static_cast<clockid_t>(::syscall(SYS_gettid));
  return static_cast<clockid_t>((~static_cast<unsigned>(thread) << 3) | kScheduled | kOfThread);
}

void copy(std::array<char, 80>& to, PyObject* bytes) {
  const char* text = PyBytes_AsString(bytes);
  if (!text) throw binding::PythonError{};
  std::strncpy(to.data(), text, to.size() - 1);
}

// What wheels are built against may be newer than where they run: glibc 2.28, where the functions
// of threads are not in libc itself. Of those that have moved there since, with a new version, this
// is the only one that is needed here.
#if defined(__x86_64__)
__asm__(".symver pthread_condattr_setclock,pthread_condattr_setclock@GLIBC_2.3.3");
#elif defined(__aarch64__)
__asm__(".symver pthread_condattr_setclock,pthread_condattr_setclock@GLIBC_2.17");
#endif

// CLOCK_MONOTONIC as now_ns().
void make(pthread_cond_t& condition) {
  pthread_condattr_t attributes;
  ::pthread_condattr_init(&attributes);
  ::pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
  ::pthread_cond_init(&condition, &attributes);
  ::pthread_condattr_destroy(&attributes);
}

}  // namespace

Watchdog& Watchdog::instance() {
  static Watchdog* made = new Watchdog;
  return *made;
}

Watchdog::Watchdog() {
  for (pthread_cond_t* condition : {&watcher_wakes_, &reporter_wakes_, &thread_ended_})
    make(*condition);
  ::pthread_atfork([] { instance().lock(); }, [] { instance().unlock(); },
                   [] { instance().forget_in_child(); });
}

// The threads are the parent's, and so are the runs: their stacks are in the child too, but what
// ran there goes on as something else. The next run of the child has a watcher of its own.
void Watchdog::forget_in_child() {
  for (pthread_cond_t* condition : {&watcher_wakes_, &reporter_wakes_, &thread_ended_})
    make(*condition);  // nobody waits at the child's
  runs_.for_each([](WatchedRun& run) { run.unlink(); });
  ++generation_;
  threads_ = 0;
  spawned_ = idle_ = false;
  ended_count_ = 0;
  question_ = Question::none;
  unlock();
}

void Watchdog::name(WatchedRun& run, Loop& loop, unsigned long ident) {
  Ref introduce = Ref::borrow(settings_.introduce);
  if (!introduce) return;  // switched off meanwhile
  Ref number = Ref::checked(PyLong_FromUnsignedLong(ident));
  Ref names = binding::call(introduce.get(), loop.object(), number.get());
  PyObject *loop_name, *thread_name;
  if (!PyArg_ParseTuple(names.get(), "SS", &loop_name, &thread_name)) throw binding::PythonError{};
  lock();
  copy(run.loop_name_, loop_name);
  copy(run.thread_name_, thread_name);
  unlock();
}

void Watchdog::enter(WatchedRun& run, Loop& loop) {
  unsigned long ident = PyThread_get_thread_ident();
  if (is_on()) name(run, loop, ident);  // may run anything, also the end of another loop
  run.set_backend(loop.backend());
  lock();
  bool failed = false;
  if (!run.linked()) {
    run.serial_ = ++last_serial_;
    run.loop_ = &loop;
    run.ident_ = ident;
    run.processor_clock_ = own_processor_clock();
    run.turn_ = {};
    run.told_ = false;
    runs_.push_back(run);
    failed = !spawn();
    if (idle_) ::pthread_cond_signal(&watcher_wakes_);
  }
  unlock();
  if (failed)
    base::log(base::LogLevel::warning, "watchdog", "no thread can be made; it does not watch");
}

void Watchdog::name_again(WatchedRun& run) {
  if (is_on() && run.linked()) name(run, *run.loop_, run.ident_);
}

void Watchdog::leave(WatchedRun& run) noexcept {
  lock();
  if (run.linked()) {
    run.unlink();
    if (is_on() && run.told_ && ended_count_ < ended_.size()) {
      ended_[ended_count_++] = return_of(run, run.present() == run.turn_);
      ::pthread_cond_signal(&watcher_wakes_);
    }
  }
  unlock();
}

void Watchdog::start(const Settings& settings) {
  struct sigaction action{};
  if (settings.dump_signal != 0) ::sigaction(settings.dump_signal, nullptr, &action);
  lock();
  bool refused = is_on() || over_;
  if (!refused) {
    settings_ = settings;
    dump_handler_ = action.sa_handler;
    runs_.for_each([](WatchedRun& run) {
      run.turn_ = {};
      run.told_ = false;
    });
    ended_count_ = 0;
  }
  unlock();
  if (refused) binding::raise(PyExc_RuntimeError, "the watchdog is on, or the interpreter ends");
  Py_INCREF(settings.introduce);
  Py_INCREF(settings.describe);
  // Those that run already. Their loops are held, for the names are asked of Python code.
  std::vector<std::pair<Ref, WatchedRun*>> running;
  runs_.for_each(
      [&](WatchedRun& run) { running.emplace_back(Ref::borrow(run.loop_->object()), &run); });
  for (auto& [loop, run] : running)
    name(*run, *Loop::from(loop.get()), run->ident_);
  lock();
  bool failed = !runs_.empty() && !spawn();
  unlock();
  if (failed) binding::raise_os_error(EAGAIN);
}

bool Watchdog::stop(bool for_good) {
  lock();
  over_ = over_ || for_good;
  PyObject* introduce = std::exchange(settings_.introduce, nullptr);
  PyObject* describe = std::exchange(settings_.describe, nullptr);
  settings_.limit_ns = 0;
  ++generation_;
  spawned_ = false;
  ::pthread_cond_broadcast(&watcher_wakes_);
  ::pthread_cond_broadcast(&reporter_wakes_);
  unlock();
  PyThreadState* state = PyEval_SaveThread();  // the reporter may need it to end
  lock();
  int64_t deadline = base::now_ns() + kEndLimit_ns;
  while (threads_ > 0 && base::now_ns() < deadline)
    wait(thread_ended_, deadline);
  bool ended = threads_ == 0;
  unlock();
  binding::into_python([state] { PyEval_RestoreThread(state); });
  Ref dropped = Ref::steal(introduce), too = Ref::steal(describe);
  return ended;
}

// The threads of this generation, unless they are there or nobody wants them. False: none can be
// made, and nobody tries again.
bool Watchdog::spawn() {
  if (!is_on() || spawned_ || over_) return true;
  spawned_ = true;
  // No signal of the program's is ever handled in a thread of ours.
  sigset_t all, before;
  ::sigfillset(&all);
  ::sigprocmask(SIG_SETMASK, &all, &before);  // of this thread, and of those that it makes
  bool made = spawn_thread(&watcher_entry) && spawn_thread(&reporter_entry);
  ::sigprocmask(SIG_SETMASK, &before, nullptr);
  if (!made) ++generation_;  // a watcher alone could not tell a held GIL from a missing reporter
  return made;
}

bool Watchdog::spawn_thread(void (*entry)(void*)) {
  void* generation = reinterpret_cast<void*>(generation_);
  bool made = PyThread_start_new_thread(entry, generation) != PYTHREAD_INVALID_THREAD_ID;
  if (made) ++threads_;
  return made;
}

// The very last thing that a thread does here; locked.
void Watchdog::thread_ends() {
  --threads_;
  ::pthread_cond_broadcast(&thread_ended_);
}

WatchedRun::Turn WatchedRun::present() const {
  return {turns(), loop_->meter().awake_since().load(std::memory_order_relaxed)};
}

bool Watchdog::is_in_turn(uint64_t serial, const WatchedRun::Turn& turn) {
  WatchedRun* run = find(serial);
  return run && run->present() == turn;
}

WatchedRun* Watchdog::find(uint64_t serial) {
  WatchedRun* found = nullptr;
  runs_.for_each([&](WatchedRun& run) {
    if (run.serial_ == serial) found = &run;
  });
  return found;
}

// `until_ns` of now_ns(), or kNever.
void Watchdog::wait(pthread_cond_t& condition, int64_t until_ns) {
  if (until_ns == base::kNever) {
    ::pthread_cond_wait(&condition, &mutex_);
    return;
  }
  timespec until{.tv_sec = until_ns / 1'000'000'000, .tv_nsec = until_ns % 1'000'000'000};
  ::pthread_cond_timedwait(&condition, &mutex_, &until);
}

}  // namespace rloop::native
