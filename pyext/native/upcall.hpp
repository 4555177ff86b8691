// Calling the user's code from the loop: contexts, and what becomes of its exceptions.
//
// SystemExit and KeyboardInterrupt leave the loop, as in asyncio; everything else is reported and
// the loop goes on. Needs the GIL.
#pragma once

#include <utility>

#include "binding/context.hpp"
#include "binding/handling.hpp"
#include "native/loop.hpp"

namespace rloop::native {

using binding::HandlingScope;

// An exception that must leave run_forever().
inline bool is_exit(PyObject* exception) {
  return PyErr_GivenExceptionMatches(exception, PyExc_SystemExit) ||
         PyErr_GivenExceptionMatches(exception, PyExc_KeyboardInterrupt);
}

// Runs `report`, which tells the user of a failure in Python and may fail itself: an exit leaves
// the loop, anything else, also a lack of memory, is written to standard error. Nothing is thrown:
// dispatch goes on.
template <class Report>
void contained(Loop& loop, Report report) {
  bool done = binding::guarded(false, [&] {
    report();
    return true;
  });
  if (done) return;
  Ref error = binding::take_exception();
  if (is_exit(error.get())) return loop.interrupt(std::move(error));
  binding::restore_exception(std::move(error));
  // A loop that dies unclosed must not be named: its last reference would be dropped twice.
  bool is_dying = Py_REFCNT(loop.object()) == 0;
  PyErr_WriteUnraisable(is_dying ? nullptr : loop.object());
}

// Calls a method of the protocol; null when it raised.
template <class... Arguments>
Ref call_protocol(Loop& loop, PyObject* protocol, binding::Name& method, Arguments... arguments) {
  auto call = [&] { return binding::try_call_method(protocol, method, arguments...); };
  if (!loop.times_callbacks()) [[likely]]
    return call();
  return loop.timed_upcall(protocol, method.get(), call);
}

// Enters a contextvars.Context for a scope. A context that is entered already (the user runs the
// loop's callback inside it) is left as it is; null is what the collector has cleared.
class ContextScope {
 public:
  explicit ContextScope(PyObject* context) : thread_(PyThreadState_Get()), context_(context) {
    if (!context_ || thread_->context == context_) {  // cheaper than to be refused
      context_ = nullptr;
    } else if (!binding::enter_context(thread_, context_)) {
      PyErr_Clear();
      context_ = nullptr;
    }
  }
  ContextScope(const ContextScope&) = delete;
  ContextScope& operator=(const ContextScope&) = delete;
  ~ContextScope() { leave(); }
  // An exception of the user's call stays set across the exit.
  void leave() {
    PyObject* entered = std::exchange(context_, nullptr);
    if (entered && !binding::exit_context(thread_, entered)) PyErr_Clear();
  }

 private:
  PyThreadState* thread_;
  PyObject* context_;
};

}  // namespace rloop::native
