// Scheduling callbacks, now and later; see loop.hpp.
//
// The methods are listed beside their code, so that the compiler makes one function of a slot and
// what it calls: call_soon is all that many programs do.
#include "native/loop.hpp"
#include "native/names.hpp"
#include "native/thread_safe_handle.hpp"

namespace rloop::native {
Ref Loop::call_soon(const Arguments& arguments) {
  return make_ready<HandleType>(arguments, "call_soon", /*check_thread=*/true);
}

Ref Loop::call_soon_threadsafe(const Arguments& arguments) {
  constexpr const char* kMethod = "call_soon_threadsafe";
  Ref handle = ThreadSafeHandleType::type()
                   ? make_ready<ThreadSafeHandleType>(arguments, kMethod, /*check_thread=*/false)
                   : make_ready<HandleType>(arguments, kMethod, /*check_thread=*/false);
  reactor_->rouse();
  return handle;
}

// Inlined into both, which the compiler does by itself only where it has a profile.
template <class Type>
[[gnu::always_inline]] inline Ref Loop::make_ready(const Arguments& arguments, const char* method,
                                                   bool check_thread) {
  PyObject* room[1];
  auto [given, context] = arguments.leading({"callback"}, room, &names::context, method);
  check_closed();
  if (debug_) check_debug_call(given[0], method, check_thread);
  Ref handle = make_handle<Type>(given[0], arguments.rest(1), context);
  if (debug_) keep_source_traceback(handle_of(handle.get()));
  check_closed();  // by another thread, or a finalizer, while Python code ran
  ready_.push(handle.copy());
  return handle;
}

Ref Loop::call_later(const Arguments& arguments) {
  PyObject* room[2];
  auto [given, context] =
      arguments.leading({"delay", "callback"}, room, &names::context, "call_later");
  if (given[0] == Py_None) binding::raise(PyExc_TypeError, "delay must not be None");
  if (overrides_.has(object(), Override::time | Override::call_at)) [[unlikely]]
    return call_later_by_name(given[0], given[1], arguments.rest(2), context);
  if (PyFloat_CheckExact(given[0]) || PyLong_CheckExact(given[0])) [[likely]] {
    return schedule_at(time() + binding::number(given[0]), nullptr, given[1], arguments.rest(2),
                       context);
  }
  Ref now = Ref::checked(PyFloat_FromDouble(time()));
  Ref when = Ref::checked(PyNumber_Add(now.get(), given[0]));
  return schedule_at(binding::number(when.get()), when.get(), given[1], arguments.rest(2), context);
}

Ref Loop::call_at(const Arguments& arguments) {
  PyObject* room[2];
  auto [given, context] = arguments.leading({"when", "callback"}, room, &names::context, "call_at");
  if (given[0] == Py_None) binding::raise(PyExc_TypeError, "when cannot be None");
  return schedule_at(binding::number(given[0]), given[0], given[1], arguments.rest(2), context);
}

// `given` is what `when` was made from, or null.
Ref Loop::schedule_at(double when, PyObject* given, PyObject* callback,
                      std::span<PyObject* const> arguments, PyObject* context) {
  check_closed();
  if (debug_) check_debug_call(callback, "call_at", true);
  bool is_shared = false;
  Ref entered = context_of_handle(context, is_shared);
  Ref handle =
      TimerHandleType::create(object(), callback, arguments, std::move(entered), is_shared, when);
  TimerHandle& timer = TimerHandleType::value(handle.get());
  if (given && !PyFloat_CheckExact(given)) timer.keep_when(given);
  if (debug_) keep_source_traceback(timer);
  PyObject_GC_Track(handle.get());  // timers live long and are held by their users
  check_closed();
  timers_.push(when, handle.copy());
  return handle;
}

void Loop::schedule(PyObject* callback, std::initializer_list<PyObject*> arguments,
                    PyObject* context) {
  if (overrides_.has(object(), Override::call_soon)) [[unlikely]]
    return call_soon_by_name(callback, arguments, context);
  ready_.push(make_handle(callback, {arguments.begin(), arguments.size()}, context));
}

double Loop::time() {
  return base::to_seconds(base::now_ns());
}

void Loop::forget_timer(TimerHandle& timer) {
  // The collector may have emptied the queue in front of a handle that is garbage too.
  const Ref* found = timers_.at(timer.place());
  if (!found || !found->is(TimerHandleType::object(&timer))) return;
  Ref dropped = timers_.remove(timer.place());
}

void Loop::check_debug_call(PyObject* callback, const char* method, bool check_thread) {
  Ref name = Ref::checked(PyUnicode_FromString(method));
  names::report("check_call", object(), callback, name.get(), check_thread ? Py_True : Py_False);
}

void Loop::refuse_other_threads() {
  names::report("check_thread", object());
}

void Loop::keep_source_traceback(Handle& handle) {
  handle.set_source_traceback(names::report("source_traceback"));
}

std::vector<PyMethodDef> Loop::scheduling_methods() {
  using binding::method;
  return {
      method<&Loop::call_soon>("call_soon",
                               "call_soon($self, callback, *args, context=None)\n--\n\n"
                               "Run callback(*args) on the next turn; see asyncio."),
      method<&Loop::call_soon_threadsafe>(
          "call_soon_threadsafe",
          "call_soon_threadsafe($self, callback, *args, context=None)\n--\n\n"
          "As call_soon, from any thread."),
      method<&Loop::call_later>("call_later",
                                "call_later($self, delay, callback, *args, context=None)\n--\n\n"
                                "Run callback(*args) after `delay` seconds; never early."),
      method<&Loop::call_at>("call_at",
                             "call_at($self, when, callback, *args, context=None)\n--\n\n"
                             "Run callback(*args) at `when`, in seconds of time()."),
      method<&Loop::time>("time", "time($self)\n--\n\nSeconds of the clock of time.monotonic()."),
  };
}

}  // namespace rloop::native
