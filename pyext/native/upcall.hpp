// Calling the user's code from the loop: contexts, and what becomes of its exceptions.
//
// SystemExit and KeyboardInterrupt leave the loop, as in asyncio; everything else is reported and
// the loop goes on. Needs the GIL.
#pragma once

#include "binding/ref.hpp"

namespace rloop::native {

// An exception that must leave run_forever().
inline bool is_exit(PyObject* exception) {
  return PyErr_GivenExceptionMatches(exception, PyExc_SystemExit) ||
         PyErr_GivenExceptionMatches(exception, PyExc_KeyboardInterrupt);
}

// Enters a contextvars.Context for a scope. A context that is entered already (the user runs the
// loop's callback inside it) is left as it is.
class ContextScope {
 public:
  explicit ContextScope(PyObject* context) : context_(context) {
    if (PyContext_Enter(context_) < 0) {
      PyErr_Clear();
      context_ = nullptr;
    }
  }
  ContextScope(const ContextScope&) = delete;
  ContextScope& operator=(const ContextScope&) = delete;
  // An exception of the user's call stays set across the exit.
  ~ContextScope() {
    if (context_ && PyContext_Exit(context_) < 0) PyErr_Clear();
  }

 private:
  PyObject* context_;
};

}  // namespace rloop::native
