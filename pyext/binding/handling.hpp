// An exception that is being handled while other code is told of it. Needs the GIL.
#pragma once

#include "binding/ref.hpp"

namespace rloop::binding {

// As inside asyncio's `except`: sys.exception() is `error`, which logging.exception() shows, and it
// becomes the context of what is raised meanwhile.
class HandlingScope {
 public:
  explicit HandlingScope(PyObject* error)
      : before_(Ref::borrow(PyThreadState_Get()->exc_info->exc_value)) {
    PyErr_SetHandledException(error);
  }
  HandlingScope(const HandlingScope&) = delete;
  HandlingScope& operator=(const HandlingScope&) = delete;
  ~HandlingScope() { PyErr_SetHandledException(before_.get()); }

 private:
  Ref before_;
};

}  // namespace rloop::binding
