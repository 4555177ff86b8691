// Running, cancelling, describing; see handle.hpp.
#include "native/handle.hpp"

#include <algorithm>
#include <string_view>
#include <utility>

#include "native/loop.hpp"
#include "native/names.hpp"
#include "native/shared_context.hpp"
#include "native/upcall.hpp"

namespace rloop::native {

Handle::Handle(PyObject* loop, PyObject* callback, std::span<PyObject* const> arguments,
               Ref context)
    : loop_(Ref::borrow(loop)), callback_(Ref::borrow(callback)), context_(std::move(context)) {
  if (arguments.size() <= kInlineArguments) {
    inline_count_ = static_cast<uint8_t>(arguments.size());
    for (size_t i = 0; i < arguments.size(); ++i)
      inline_[i] = Ref::borrow(arguments[i]);
    return;
  }
  tuple_ = Ref::steal(PyTuple_New(static_cast<Py_ssize_t>(arguments.size())));
  if (!tuple_) throw binding::PythonError{};
  for (size_t i = 0; i < arguments.size(); ++i) {
    PyTuple_SET_ITEM(tuple_.get(), static_cast<Py_ssize_t>(i), Py_NewRef(arguments[i]));
  }
}

void Handle::drop_arguments() {
  Ref callback = std::move(callback_);
  Ref tuple = std::move(tuple_);
  for (size_t i = 0; i < inline_count_; ++i)
    Ref dropped = std::move(inline_[i]);
}

Ref Handle::call() {
  return Ref::steal(binding::into_python([this] {
    if (tuple_) return PyObject_Call(callback_.get(), tuple_.get(), nullptr);
    static_assert(sizeof(Ref) == sizeof(PyObject*), "inline arguments are a C array of pointers");
    auto* arguments = reinterpret_cast<PyObject* const*>(inline_.data());
    return PyObject_Vectorcall(callback_.get(), arguments,
                               inline_count_ | PY_VECTORCALL_ARGUMENTS_OFFSET, nullptr);
  }));
}

Ref Handle::call_in_context() {
  if (PyContext_Enter(context_.get()) < 0) return nullptr;
  Ref result = call();
  if (PyContext_Exit(context_.get()) < 0) return nullptr;
  return result;
}

Ref Handle::call_in_shared_context() {
  SharedContext& owner = LoopType::value(loop_.get()).shared_context();
  // _run() inside the callback of another handle.
  if (Ref own = owner.copy_beside_callback(context_.get())) [[unlikely]] {
    shares_context_ = false;
    context_ = std::move(own);
    return call_in_context();
  }
  Ref left;  // outlives the scope, which puts the table of a context back that we leave
  SharedContextScope scope(owner, context_.get());
  Ref result = call_in_context();
  if (!result) {
    // The loop's exception handler runs in what the callback has left behind.
    Ref error = binding::take_exception();
    left = leave_shared_context();
    binding::restore_exception(std::move(error));
  }
  return result;
}

// From now on the context is a copy of our own; returns the shared one.
Ref Handle::leave_shared_context() {
  Ref own = Ref::checked(PyContext_Copy(context_.get()));
  shares_context_ = false;
  return std::exchange(context_, std::move(own));
}

void Handle::run() {
  if (cancelled_) return;
  running_ = true;
  Ref result = shares_context_ ? call_in_shared_context() : call_in_context();
  running_ = false;
  Ref error = result ? Ref() : binding::take_exception();
  if (cancelled_) drop_arguments();  // cancelled by its own callback
  if (!error) return;
  if (is_exit(error.get())) {
    binding::restore_exception(std::move(error));
    throw binding::PythonError{};
  }
  PyObject* self = HandleType::object(this);
  names::report("callback_failed", loop_.get(), self, error.get());
}

void Handle::cancel() {
  if (cancelled_) return;
  cancelled_ = true;
  if (Loop* loop = Loop::from(loop_.get()); loop && loop->debug()) {
    // Keep the text: what it describes is dropped below.
    repr_ = Ref::checked(PyObject_Repr(HandleType::object(this)));
  }
  // A running callback's arguments are on the stack of the call.
  if (!running_) drop_arguments();
}

Ref Handle::get_callback() {
  return Ref::borrow(callback_ ? callback_.get() : Py_None);
}

Ref Handle::get_args() {
  if (cancelled_) return Ref::borrow(Py_None);
  if (tuple_) return tuple_.copy();
  Ref tuple = Ref::checked(PyTuple_New(inline_count_));
  for (size_t i = 0; i < inline_count_; ++i) {
    PyTuple_SET_ITEM(tuple.get(), static_cast<Py_ssize_t>(i), inline_[i].copy().release());
  }
  return tuple;
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
  return Ref::borrow(repr_ ? repr_.get() : Py_None);
}

Ref Handle::get_source_traceback() {
  return Ref::borrow(source_traceback_ ? source_traceback_.get() : Py_None);
}

std::vector<PyMethodDef> Handle::methods() {
  using binding::method;
  return {
      method<&Handle::run>("_run", "_run($self)\n--\n\nRun the callback now."),
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
      attribute<&Handle::get_callback>("_callback", nullptr),
      attribute<&Handle::get_args>("_args", nullptr),
      attribute<&Handle::cancelled>("_cancelled", nullptr),
      attribute<&Handle::get_context>("_context", nullptr),
      attribute<&Handle::get_loop>("_loop", nullptr),
      attribute<&Handle::get_repr>("_repr", nullptr),
      attribute<&Handle::get_source_traceback>("_source_traceback", nullptr),
  };
}

void TimerHandle::cancel() {
  Handle::cancel();
  if (place_ == kNowhere) return;
  // Only a loop's heap gives places. The caller holds a reference to us as well.
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

void define_handles(PyObject* module) {
  Ref handle = binding::import_from("asyncio", "Handle");
  Ref timer_handle = binding::import_from("asyncio", "TimerHandle");
  Py_ssize_t largest = reinterpret_cast<PyTypeObject*>(timer_handle.get())->tp_basicsize;
  HandleType::define(module, handle.get(), largest);
  TimerHandleType::define(module, timer_handle.get(), largest);
}

}  // namespace rloop::native
