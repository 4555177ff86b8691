// One turn of the loop; see loop.hpp.
#include "native/loop.hpp"

#include <cerrno>

#include "absl/cleanup/cleanup.h"
#include "native/names.hpp"
#include "native/upcall.hpp"

namespace rloop::native {

Loop* Loop::from(PyObject* object) {
  return object && LoopType::check(object) ? &LoopType::value(object) : nullptr;
}

void Loop::run() {
  run_attached([this] {
    do {
      if (overrides_.has(object(), Override::run_once)) [[unlikely]] {
        Ref nothing = binding::call_method(object(), names::run_once);
        check_fork();
      } else {
        run_once();
      }
    } while (!stopping_);
  });
}

// What was written in the last turn goes out, whoever runs the loop next and when.
void Loop::leave() {
  Watchdog::instance().leave(watched_run_);
  context_.loop_running = false;
  loop_keyword_ = nullptr;
  context_.meter.run_ends(base::now_ns());
  if (forked_) return;
  context_.flush_dirty_now();
  reactor_->quiesce();
}

void Loop::run_once() {
  in_turn_ = true;
  absl::Cleanup done = [this] { in_turn_ = false; };
  turn();
}

void Loop::turn() {
  watched_run_.turn_begins();
  // First: it may take its 5 ms, in which data may come, and throw what a signal's handler raises.
  gil_share_.meet_requests();
  context_.flush_dirty();
  // Its finalizers may schedule, so it comes before the look at what there is to do.
  if (shared_context_.is_held() && wait_timeout_ns() != 0) shared_context_.forget();
  wait(wait_timeout_ns());
  // asyncio's order: what was ready before the wait, then I/O, then timers; what these schedule
  // belongs to the next turn. Connections that were closed end where the first close put them.
  size_t ready_count = ready_.size();
  // None was due when the look was deferred.
  bool timers_wait = std::exchange(defers_look_, false) || data_goes_first();
  double due_found_at =
      timers_wait ? 0 : make_due_timers_ready();  // may fail, by the program's clock
  size_t due_count = ready_.size() - ready_count;
  size_t ends_position = std::exchange(ends_position_, kNoEnds);
  size_t before_ends_count =
      ends_position == kNoEnds ? 0 : std::min(ready_.count_before(ends_position), ready_count);
  context_.begin_turn(ready_.size() + reactor_->undispatched_count(net::Context::kMuch));
  runs_handles_plainly_ = !debug_ && !slow_.times_callbacks && !HandleOverrides::has();
  run_handles(ready_, before_ends_count);
  // No end overtakes the beginning: connection_made of what was closed before it was called.
  size_t beginnings_count =
      std::min(ready_.count_before(ends_not_before_), ready_count - before_ends_count);
  run_handles(ready_, beginnings_count);
  if (!forked_ && ready_.count_before(ends_not_before_) == 0) reactor_->dispatch_ends();
  raise_interruption();
  run_handles(ready_, ready_count - before_ends_count - beginnings_count);
  if (!forked_) reactor_->dispatch_others();
  raise_interruption();
  check_fork();  // a callback forked, and this is the child
  run_handles(watched_, watched_.size());
  if (due_count > 0) count_timer_lag(due_count, due_found_at);
  run_handles(ready_, due_count);
}

// There is something to do at once; also for what an event of the flush has written.
bool Loop::is_busy() const {
  return !ready_.empty() || !watched_.empty() || stopping_ || interruption_ ||
         reactor_->has_undispatched() || context_.has_dirty();
}

// 0: the turn does not wait.
int64_t Loop::wait_timeout_ns() {
  if (is_busy()) return 0;
  if (timers_.empty()) return base::kNever;
  double now = clock();  // may be the program's, which may do anything
  if (timers_.empty() || is_busy()) return 0;
  return base::wait_ns(now, timers_.earliest_deadline());
}

void Loop::wait(int64_t timeout_ns) {
  if (waits_by_selector_) [[unlikely]]
    return wait_by_selector(timeout_ns);
  wait_natively(timeout_ns);
}

// `is_metered`: false where that is done around it, by a select() of the program's. Its bytecodes
// share the GIL, so such a wait does not look first.
void Loop::wait_natively(int64_t timeout_ns, bool is_metered) {
  check_fork();  // by code of the program's in this turn
  base::Result result(0);
  defers_look_ = false;  // also what a turn that an exception ended has left
  bool looks = true, is_fresh = !reactor_->has_undispatched();
  if (timeout_ns != 0) {
    if (!is_metered || !finds_at_once(result, timeout_ns)) result = sleep(timeout_ns, is_metered);
  } else {
    if (is_metered) turn_passes();
    defers_look_ = much_came_ && may_defer_look();
    looks = !defers_look_ && reactor_->needs_poll();
    if (looks) result = reactor_->wait(0);
  }
  much_came_ =
      looks && is_fresh && reactor_->undispatched_count(net::Context::kMuch) >= net::Context::kMuch;
  binding::check(PyErr_CheckSignals());
  if (!result.ok()) engine_failed(result);
}

// Where the GIL is not to be given up for a moment only: whether a look says what the wait would.
// The program may hear of refusals then, and is asked for the time: it may schedule, or fork.
bool Loop::finds_at_once(base::Result& result, int64_t& timeout_ns) {
  if (!gil_share_.looks_first()) [[likely]]
    return false;
  int64_t begins = base::now_ns();
  result = reactor_->wait(0);
  gil_share_.waited(begins, base::now_ns());
  if (result.ok()) timeout_ns = wait_timeout_ns();
  check_fork();
  if (result.ok() && timeout_ns != 0) return false;
  turn_passes();
  return true;
}

// Without a sleep.
void Loop::turn_passes() {
  int64_t longest_ns = context_.meter.turn_passes(!ready_.empty());
  if (longest_ns == 0) [[likely]]
    return;
  turn_took(longest_ns);
  gil_share_.turns_passed();
}

base::Result Loop::sleep(int64_t timeout_ns, bool is_metered) {
  int64_t begins = base::now_ns(), ends = 0;
  if (is_metered) turn_took(context_.meter.sleep_begins(begins));
  reactor_->prepare_wait(timeout_ns);
  reactor_->announce_sleep();
  {
    GilRelease unlocked;
    reactor_->block();
    ends = base::now_ns();
    if (is_metered) context_.meter.wakes(ends);  // to wait for the GIL is no sleep
  }
  gil_share_.waited(begins, ends);
  return reactor_->collect();
}

// After a look that brought much, what that made ready is run before the next one: connections
// whose data came together go on together, and what they write leaves together. (By a look after
// each step they fall apart into ever smaller groups, each of which wakes its peers.) But no timer
// runs ahead of data that was there before it was due, and may cancel it; and bulk is looked for in
// each turn, or more of it would be alive at once than the heap keeps.
bool Loop::may_defer_look() {
  bool bulk_came = reactor_->take_bulk_came();
  return !bulk_came && !ready_.empty() && !reactor_->must_enter() && !has_due_timer();
}

// Also where only the program's clock knows.
bool Loop::has_due_timer() {
  if (timers_.empty()) return false;
  if (overrides_.has(object(), Override::time)) return true;
  return timers_.earliest_deadline() < base::due_before(time(), base::kResolution);
}

// As in asyncio, data that was there before a timer was due goes before it, and may cancel it; but
// one look may bring only a part of it. That is one completion per operation at most: what comes
// after so many came later.
bool Loop::data_goes_first() {
  if (timers_.empty() || !reactor_->may_have_more() || !has_due_timer()) {
    data_before_timers_ = 0;
    return false;
  }
  if (data_before_timers_ == 0) data_before_timers_ = reactor_->busy_count() + 1;
  size_t came = std::max<size_t>(reactor_->undispatched_count(data_before_timers_), 1);
  data_before_timers_ -= std::min(came, data_before_timers_);
  return data_before_timers_ > 0;
}

// Answers when that was, by the loop's clock.
double Loop::make_due_timers_ready() {
  if (timers_.empty()) return 0;
  double now = clock();
  double end = base::due_before(now, resolution());
  while (!timers_.empty() && timers_.earliest_deadline() < end)
    ready_.push(timers_.pop());
  return now;
}

// The first `count` handles of the queue.
void Loop::run_handles(ReadyQueue& queue, size_t count) {
  if (count == 0) return;
  ContextRun run(shared_context_, PyThreadState_Get());
  for (; count > 0 && !queue.empty(); --count) {
    Ref handle = queue.pop();
    absl::Cleanup track = [&] {
      track_if_held(handle.get());
      // Finalizers run in the context of who runs the loop, as in asyncio.
      if (run.is_entered() && handle_of(handle.get()).takes_something_along()) run.leave();
    };
    if (runs_handles_plainly_) [[likely]] {
      handle_of(handle.get()).run_among(run, queue.next());
    } else {
      run.leave();
      run_specially(handle.get(), run.thread());
    }
    if (context_.due_after_handler()) [[unlikely]] {
      run.leave();  // sending may run user code
      context_.hand_over_gathered();
    }
    raise_interruption();
  }
}

void Loop::set_debug(PyObject* value) {
  debug_ = truth(value);
  if (debug_) runs_handles_plainly_ = false;
}

// In debug mode, after a slow turn, or by a _run of the program's.
void Loop::run_specially(PyObject* handle, PyThreadState* thread) {
  if (handle_of(handle).cancelled()) return;
  if (debug_) return run_in_debug_mode(handle, thread);
  if (slow_.times_callbacks) return run_timed(handle, thread);
  run_by_anyone(handle, thread);
}

void Loop::run_by_anyone(PyObject* handle, PyThreadState* thread) {
  if (HandleOverrides::has()) {
    Ref nothing = HandleOverrides::run(handle);
  } else {
    handle_of(handle).run(thread);
  }
}

void Loop::run_in_debug_mode(PyObject* handle, PyThreadState* thread) {
  current_handle_ = Ref::borrow(handle);
  absl::Cleanup done = [this] { current_handle_ = nullptr; };
  double start = clock();
  run_by_anyone(handle, thread);
  double seconds = clock() - start;
  if (seconds >= slow_.least_seconds) {
    ++slow_.callback_count;
    Ref duration = Ref::checked(PyFloat_FromDouble(seconds));
    names::report("slow_callback", object(), handle, duration.get());
  }
}

void Loop::track_if_held(PyObject* handle) {
  if (Py_REFCNT(handle) > 1 && !PyObject_GC_IsTracked(handle)) PyObject_GC_Track(handle);
}

void Loop::interrupt(Ref exception) {
  if (!interruption_) interruption_ = std::move(exception);
  if (reactor_) reactor_->interrupt_dispatch();
}

void Loop::raise_interruption() {
  if (!interruption_) return;
  binding::restore_exception(std::move(interruption_));
  throw binding::PythonError{};
}

}  // namespace rloop::native
