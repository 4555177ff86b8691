// What the loop does in Python's words where a program has replaced a method of it, and what such
// programs look at; see overrides.hpp.
//
// Virtual time, instrumentation, test doubles: each of these functions is the counterpart of a
// native one that is not called then, and follows asyncio's BaseEventLoop to the letter.
#include "absl/cleanup/cleanup.h"
#include "native/loop.hpp"
#include "native/names.hpp"

namespace rloop::native {
namespace {

// The handles in `queue`. They are taken first: a tuple's memory may be the collector's occasion
// (before 3.12), and finalizers schedule.
template <class Queue>
Ref tuple_of(Queue& queue) {
  std::vector<Ref> handles;
  handles.reserve(queue.size());
  queue.for_each([&](Ref& handle) { handles.push_back(handle.copy()); });
  Ref tuple = Ref::checked(PyTuple_New(static_cast<Py_ssize_t>(handles.size())));
  for (size_t i = 0; i < handles.size(); ++i)
    PyTuple_SET_ITEM(tuple.get(), static_cast<Py_ssize_t>(i), handles[i].release());
  return tuple;
}

}  // namespace

// Seconds of the clock that the program knows as time().
double Loop::clock() {
  if (!overrides_.has(object(), Override::time)) [[likely]]
    return time();
  return binding::number(binding::call_method(object(), names::time).get());
}

// What that clock cannot tell apart, in seconds.
double Loop::resolution() {
  if (!overrides_.has(object(), Override::time)) [[likely]]
    return base::kResolution;
  return binding::number(binding::get_attribute(object(), names::clock_resolution).get());
}

Ref Loop::call_later_by_name(PyObject* delay, PyObject* callback,
                             std::span<PyObject* const> arguments, PyObject* context) {
  check_closed();
  Ref now = binding::call_method(object(), names::time);
  Ref when = Ref::checked(PyNumber_Add(now.get(), delay));
  std::vector<PyObject*> stack{object(), when.get(), callback};
  stack.insert(stack.end(), arguments.begin(), arguments.end());
  size_t positional = stack.size();
  stack.push_back(context ? context : Py_None);
  static PyObject* keywords = PyTuple_Pack(1, names::context.get());
  return Ref::checked(binding::into_python([&] {
    return PyObject_VectorcallMethod(names::call_at.get(), stack.data(), positional, keywords);
  }));
}

void Loop::call_soon_by_name(PyObject* callback, std::initializer_list<PyObject*> arguments,
                             PyObject* context) {
  std::vector<PyObject*> stack{object(), callback};
  stack.insert(stack.end(), arguments.begin(), arguments.end());
  size_t positional = stack.size();
  Ref keywords;
  if (context != nullptr) {
    stack.push_back(context);
    keywords = Ref::checked(PyTuple_Pack(1, names::context.get()));
  }
  Ref handle = Ref::checked(binding::into_python([&] {
    return PyObject_VectorcallMethod(names::call_soon.get(), stack.data(), positional,
                                     keywords.get());
  }));
}

Ref Loop::new_future() {
  if (overrides_.has(object(), Override::create_future)) [[unlikely]]
    return binding::call_method(object(), names::create_future);
  return create_future();
}

// BaseEventLoop._run_once: one turn, for a subclass that replaces it and calls ours, and for
// programs that drive the loop by themselves.
void Loop::run_once_by_user() {
  if (in_turn_) {
    binding::raise(PyExc_RuntimeError,
                   "_run_once() was called by a callback of the loop: its turns do not nest");
  }
  if (context_.loop_running) return run_once();
  run_attached([this] { run_once(); });
}

// A turn waits by loop._selector.select(timeout), because the program has replaced that.
void Loop::wait_by_selector(int64_t timeout_ns) {
  Ref timeout = Ref::borrow(Py_None);
  if (timeout_ns != base::kNever)
    timeout = Ref::checked(PyFloat_FromDouble(base::to_seconds(timeout_ns)));
  Ref called = selector();
  selecting_ = PyThreadState_Get();
  bool sleeps = timeout_ns != 0;  // also where select() waits in a way of its own, or several times
  turn_took(sleeps ? context_.meter.sleep_begins(base::now_ns())
                   : context_.meter.turn_passes(!ready_.empty()));
  absl::Cleanup done = [this, sleeps] {
    selecting_ = nullptr;
    if (sleeps) context_.meter.wakes(base::now_ns());
  };
  Ref events = binding::call_method(called.get(), names::select, timeout.get());
}

// What the original select() does: sends what was written, waits, and says whether anything came.
// `timeout`: seconds, or None for no limit. Only for the select() that the turn has called: in a
// callback or another thread it would take the engine out of the turn's hands.
bool Loop::wait_for_selector(PyObject* timeout) {
  PyThreadState* thread = PyThreadState_Get();
  if (selecting_ != thread) {
    binding::raise(PyExc_RuntimeError,
                   "select() of the loop's selector waits within a turn only, called by the loop");
  }
  int64_t timeout_ns = base::kNever;
  if (timeout != Py_None) timeout_ns = base::wait_ns(0, binding::number(timeout));
  selecting_ = nullptr;
  absl::Cleanup goes_on = [&] { selecting_ = thread; };
  check_fork();
  context_.flush_dirty();
  if (is_busy()) timeout_ns = 0;
  size_t ready_count = ready_.size();
  much_came_ = false;  // who asks for a look gets one
  wait_natively(timeout_ns, false);
  return reactor_->has_undispatched() || ready_.size() > ready_count;
}

void Loop::set_waits_by_selector(PyObject* value) {
  waits_by_selector_ = truth(value);
}

// Made when somebody asks for it; asyncio's is None once the loop is closed.
Ref Loop::selector() {
  if (closed_) return Ref::borrow(Py_None);
  if (!selector_) {
    Ref type = binding::import_from("rloop.selector", "Selector");
    selector_ = binding::call(type.get(), object());
  }
  return selector_.copy();
}

// asyncio's _ready and _scheduled to look at: what waits to run, and the timers with the earliest
// first. Tuples, so that whoever wants to change them hears of it.
Ref Loop::ready_handles() {
  return tuple_of(ready_);
}

Ref Loop::scheduled_handles() {
  return tuple_of(timers_);
}

}  // namespace rloop::native
