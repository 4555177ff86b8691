// Filling a dict whose keys are known. Throws PythonError. Needs the GIL.
#pragma once

#include <cstdint>
#include <utility>

#include "binding/ref.hpp"

namespace rloop::binding {

inline void put(PyObject* dict, const char* name, Ref value) {
  if (PyDict_SetItemString(dict, name, value.get()) < 0) throw PythonError{};
}

inline void put(PyObject* dict, const char* name, uint64_t value) {
  put(dict, name, Ref::checked(PyLong_FromUnsignedLongLong(value)));
}

}  // namespace rloop::binding
