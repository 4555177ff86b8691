// Running, cancelling, describing; see handle.hpp.
#include "native/handle.hpp"

#include <algorithm>
#include <string_view>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "binding/handling.hpp"
#include "native/loop.hpp"
#include "native/names.hpp"
#include "native/overrides.hpp"
#include "native/shared_context.hpp"
#include "native/thread_safe_handle.hpp"
#include "native/upcall.hpp"

namespace rloop::native {

Handle::Rare& Handle::rare() {
  if (!rare_) rare_ = std::make_unique<Rare>();
  return *rare_;
}

void Handle::drop_call() {
  Ref callback = std::move(callback_);
  arguments_.drop();
}

inline Ref Handle::call_in_context(PyThreadState* thread) {
  if (!binding::enter_context(thread, context_.get())) [[unlikely]]
    return call_through_context();
  Ref result = arguments_.give_to(callback_.get());
  if (!binding::exit_context(thread, context_.get())) return nullptr;
  return result;
}

// The context could not be entered: it is entered already, or no Context at all, whose run()
// asyncio calls.
Ref Handle::call_through_context() {
  if (PyContext_CheckExact(context_.get())) return nullptr;
  PyErr_Clear();
  Ref run = Ref::steal(PyObject_GetAttr(context_.get(), names::run.get()));
  if (!run) return nullptr;
  Ref callback = Ref::checked(PyTuple_Pack(1, callback_.get()));
  Ref arguments = Ref::checked(PySequence_Concat(callback.get(), arguments_.as_tuple().get()));
  return Ref::steal(
      binding::into_python([&] { return PyObject_Call(run.get(), arguments.get(), nullptr); }));
}

inline Ref Handle::call_in_shared_context(PyThreadState* thread) {
  SharedContext& owner = LoopType::value(loop_.get()).shared_context();
  if (SharedContext::is_entered(context_.get())) [[unlikely]]
    return call_beside_callback(thread);
  Ref left;  // outlives the scope, which puts the table of a context back that we leave
  SharedContextScope scope(owner, context_.get());
  Ref result = call_in_context(thread);
  if (!result) [[unlikely]] {
    // The loop's exception handler runs in what the callback has left behind.
    Ref error = binding::take_exception();
    left = leave_shared_context();
    binding::restore_exception(std::move(error));
  }
  return result;
}

// _run() inside the callback of another handle with the same context.
Ref Handle::call_beside_callback(PyThreadState* thread) {
  Ref shared = leave_shared_context();
  return call_in_context(thread);
}

// From now on the context is a copy of our own; returns the shared one. What the callback of
// another handle has set in it meanwhile is none of ours.
Ref Handle::leave_shared_context() {
  Ref own = LoopType::value(loop_.get()).shared_context().copy_of(context_.get());
  shares_context_ = false;
  return std::exchange(context_, std::move(own));
}

void Handle::run(PyThreadState* thread) {
  if (cancelled_) return;
  if (running_ || is_locked_to_run_) [[unlikely]]
    return run_rarely(thread);
  run_inline(thread);
}

void Handle::run_among(ContextRun& among, PyObject* next) {
  if (cancelled_) return;
  if (!enters_among(among, next)) {
    among.leave();
    return run(among.thread());
  }
  if (is_locked_to_run_) [[unlikely]]
    return static_cast<ThreadSafeHandle*>(this)->run_entered_locked(among);
  run_entered(among);
}

inline void Handle::run_entered(ContextRun& among) {
  running_ = true;
  Ref result = arguments_.give_to(callback_.get());
  bool failed = !result || !among.is_current();
  if (failed) [[unlikely]]
    fail_among(among);
  running_ = false;
  // What ends with the call ends outside, as in asyncio.
  if (cancelled_ || callback_replaced_ || (result && Py_REFCNT(result.get()) == 1)) [[unlikely]]
    among.leave();
  if (failed || cancelled_ || callback_replaced_) [[unlikely]]
    end_run(failed);
}

// Nobody runs it, and no other thread has to end before it may.
inline bool Handle::is_free() const {
  if (running_) return false;
  return !is_locked_to_run_ || !static_cast<const ThreadSafeHandle*>(this)->is_held();
}

// Whether its context is entered already, or is now, because the next one has the same.
inline bool Handle::enters_among(ContextRun& among, PyObject* next) {
  if (!is_free()) [[unlikely]]
    return false;
  if (among.is_in(context_.get())) return true;
  bool goes_on = next && handle_of(next).context_.is(context_.get());
  if (!goes_on) return false;
  among.leave();  // finalizers may cancel this one, run it, or ask for its context
  if (cancelled_ || !is_free()) return false;
  return among.enter(context_.get(), shares_context_);
}

// The loop's exception handler runs in what the callback has left behind.
void Handle::fail_among(ContextRun& among) {
  Ref own = among.leave_failed();
  if (!shares_context_) return;
  shares_context_ = false;
  Ref shared = std::exchange(context_, std::move(own));
}

bool Handle::takes_something_along() const {
  PyObject* callback = callback_.get();
  PyObject* self = nullptr;
  PyObject* function = nullptr;
  constexpr Py_ssize_t kMostOfOurs = 3 + CallArguments::kInline;
  auto is_last = [&](PyObject* object) {
    if (!object || Py_REFCNT(object) > kMostOfOurs) return false;
    Py_ssize_t ours = (object == callback) + (object == self) + (object == function) +
                      arguments_.count_of(object);
    return Py_REFCNT(object) == ours;
  };
  if (rare_ || (context_ && Py_REFCNT(context_.get()) == 1)) return true;
  if (callback && Py_REFCNT(callback) == 1) {  // a method made for the call is not what counts
    if (PyMethod_Check(callback)) {
      self = PyMethod_GET_SELF(callback);
      function = PyMethod_GET_FUNCTION(callback);
    } else if (PyCFunction_CheckExact(callback)) {
      self = PyCFunction_GET_SELF(callback);
    } else {
      return true;
    }
  }
  bool is_last_callback = !self && !function && is_last(callback);
  return is_last_callback || is_last(self) || is_last(function) || arguments_.any(is_last);
}

void Handle::run_rarely(PyThreadState* thread) {
  if (!is_locked_to_run_) return refuse_to_run();
  static_cast<ThreadSafeHandle*>(this)->run_locked(thread);
}

void Handle::run_now(PyThreadState* thread) {
  run_inline(thread);
}

void Handle::run_entered_now(ContextRun& among) {
  run_entered(among);
}

inline void Handle::run_inline(PyThreadState* thread) {
  running_ = true;
  bool failed = shares_context_ ? !call_in_shared_context(thread) : !call_in_context(thread);
  running_ = false;
  if (failed || cancelled_ || callback_replaced_) [[unlikely]]
    end_run(failed);
}

void Handle::run_by_user() {
  if (HandleOverrides::has()) {
    Ref nothing = HandleOverrides::run(HandleType::object(this));
    return;
  }
  run(PyThreadState_Get());
}

// It failed, or was cancelled by its own callback, or this was replaced meanwhile.
void Handle::end_run(bool failed) {
  Ref error = failed ? binding::take_exception() : Ref();
  Ref replaced;
  if (std::exchange(callback_replaced_, false)) replaced = std::move(rare().replaced_callback);
  if (cancelled_) drop_call();
  if (error) report_failure(std::move(error));
}

// _run() inside its own callback.
void Handle::refuse_to_run() {
  PyErr_Format(PyExc_RuntimeError, "cannot enter context: %R is already entered", context_.get());
  report_failure(binding::take_exception());
}

void Handle::report_failure(Ref error) {
  if (is_exit(error.get())) {
    binding::restore_exception(std::move(error));
    throw binding::PythonError{};
  }
  PyObject* self = HandleType::object(this);
  binding::HandlingScope handling(error.get());
  names::report("callback_failed", loop_.get(), self, error.get());
}

void Handle::cancel() {
  if (cancelled_) return;
  cancelled_ = true;
  if (Loop* loop = Loop::from(loop_.get()); loop && loop->debug()) {
    // Keep the text: what it describes is dropped below.
    describes_itself_ = true;
    absl::Cleanup described = [this] { describes_itself_ = false; };
    rare().repr = Ref::checked(PyObject_Repr(HandleType::object(this)));
  }
  // A running callback's arguments are on the stack of the call.
  if (!running_) drop_call();
}

Ref Handle::get_callback() {
  return Ref::borrow(callback_ && !is_forgotten() ? callback_.get() : Py_None);
}

// Tracers put their own in its place for the time of a run. The first that is replaced then is the
// one that runs; its caller has no reference of its own.
void Handle::set_callback(PyObject* callback) {
  Rare& kept = rare();
  Ref replaced = std::exchange(callback_, Ref::borrow(callback));
  if (!running_ || std::exchange(callback_replaced_, true)) return;
  kept.replaced_callback = std::move(replaced);
}

Ref Handle::get_args() {
  if (is_forgotten()) return Ref::borrow(Py_None);
  return arguments_.as_tuple();
}

Ref Handle::get_context() {
  if (shares_context_ && running_) return Ref::checked(PyContext_Copy(context_.get()));
  if (shares_context_) leave_shared_context();
  return Ref::borrow(context_ ? context_.get() : Py_None);
}

Ref Handle::get_loop() {
  return Ref::borrow(loop_ ? loop_.get() : Py_None);
}

Ref Handle::get_repr() {
  return Ref::borrow(rare_ && rare_->repr ? rare_->repr.get() : Py_None);
}

Ref Handle::get_source_traceback() {
  bool is_known = rare_ && rare_->source_traceback;
  return Ref::borrow(is_known ? rare_->source_traceback.get() : Py_None);
}

std::vector<PyMethodDef> Handle::methods() {
  using binding::method;
  return {
      method<&Handle::run_by_user>("_run", "_run($self)\n--\n\nRun the callback now."),
      method<&Handle::cancel>("cancel",
                              "cancel($self)\n--\n\nCancel the callback; it will not run."),
      method<&Handle::cancelled>("cancelled", "cancelled($self)\n--\n\nTrue if it was cancelled."),
      method<&Handle::get_context>("get_context",
                                   "get_context($self)\n--\n\nThe context it runs in."),
  };
}

std::vector<PyGetSetDef> Handle::attributes() {
  using binding::attribute;
  return {
      attribute<&Handle::get_callback, &Handle::set_callback>("_callback", nullptr),
      attribute<&Handle::get_args>("_args", nullptr),
      attribute<&Handle::cancelled>("_cancelled", nullptr),
      attribute<&Handle::get_context>("_context", nullptr),
      attribute<&Handle::get_loop>("_loop", nullptr),
      attribute<&Handle::get_repr>("_repr", nullptr),
      attribute<&Handle::get_source_traceback>("_source_traceback", nullptr),
  };
}

Ref TimerHandle::when() {
  if (rare_ && rare_->when) return rare_->when.copy();
  return Ref::checked(PyFloat_FromDouble(when_));
}

void TimerHandle::cancel() {
  Handle::cancel();
  if (place_ == kNowhere) return;
  // Only a loop's timers have places. The caller holds a reference to us as well.
  if (Loop* loop = Loop::from(this->loop())) loop->forget_timer(*this);
}

std::vector<PyMethodDef> TimerHandle::methods() {
  using binding::method;
  std::vector<PyMethodDef> all = Handle::methods();
  std::erase_if(all, [](const PyMethodDef& inherited) {
    return std::string_view(inherited.ml_name) == "cancel";
  });
  all.push_back(method<&TimerHandle::cancel>(
      "cancel", "cancel($self)\n--\n\nCancel the callback; it will not run."));
  all.push_back(method<&TimerHandle::when>(
      "when", "when($self)\n--\n\nThe time it is due, in seconds of the loop's clock."));
  return all;
}

std::vector<PyGetSetDef> TimerHandle::attributes() {
  using binding::attribute;
  std::vector<PyGetSetDef> all = Handle::attributes();
  all.push_back(attribute<&TimerHandle::when>("_when", nullptr));
  all.push_back(attribute<&TimerHandle::get_scheduled>("_scheduled", nullptr));
  return all;
}

namespace {

// asyncio's class; null before 3.14.
Ref thread_safe_handle_class() {
  Ref events = Ref::checked(PyImport_ImportModule("asyncio.events"));
  Ref found = Ref::steal(PyObject_GetAttrString(events.get(), "_ThreadSafeHandle"));
  if (found) return found;
  if (!PyErr_ExceptionMatches(PyExc_AttributeError)) throw binding::PythonError{};
  PyErr_Clear();
  return {};
}

}  // namespace

void define_handles(PyObject* module) {
  Ref handle = binding::import_from("asyncio", "Handle");
  Ref timer_handle = binding::import_from("asyncio", "TimerHandle");
  Ref thread_safe_handle = thread_safe_handle_class();
  auto size_of = [](const Ref& type) {
    return type ? reinterpret_cast<PyTypeObject*>(type.get())->tp_basicsize : 0;
  };
  Py_ssize_t largest = std::max(size_of(timer_handle), size_of(thread_safe_handle));
  HandleType::define(module, handle.get(), largest);
  TimerHandleType::define(module, timer_handle.get(), largest);
  HandleOverrides::define();
  if (!thread_safe_handle) return;
  ThreadSafeHandleType::define(module, thread_safe_handle.get(), largest);
}

}  // namespace rloop::native
