// Calling Python: functions and methods by vectorcall, names interned once.
//
// No argument tuple is built. A failed call throws PythonError. A Name is a static string that
// becomes an interned Python string at import and lives as long as the process. Needs the GIL.
#pragma once

#include <cstring>
#include <utility>

#include "binding/ref.hpp"

namespace rloop::binding {

class Name {
 public:
  explicit Name(const char* text) : text_(text), next_(std::exchange(all_, this)) {}
  // All names of the module, when it is imported: a lookup later on does not fail for want of
  // memory.
  static void intern_all() {
    for (Name* name = all_; name; name = name->next_) {
      if (!name->interned_) name->interned_ = PyUnicode_InternFromString(name->text_);
      if (!name->interned_) throw PythonError{};
    }
  }
  PyObject* get() const { return interned_; }
  // Whether `text`, a str, is this name. The names of keywords need not be interned: asyncio's Task
  // gives its context by one that is not.
  bool is(PyObject* text) const {
    if (text == interned_) return true;
    if (!PyUnicode_CheckExact(text)) return PyUnicode_Compare(text, interned_) == 0;
    return PyUnicode_IS_COMPACT_ASCII(text) &&
           PyUnicode_GET_LENGTH(text) == PyUnicode_GET_LENGTH(interned_) &&
           std::memcmp(PyUnicode_1BYTE_DATA(text), text_,
                       static_cast<size_t>(PyUnicode_GET_LENGTH(text))) == 0;
  }

 private:
  static inline Name* all_ = nullptr;
  const char* text_;
  Name* next_;
  PyObject* interned_ = nullptr;
};

inline PyObject* empty_tuple() {
  static PyObject* tuple = PyTuple_New(0);  // the interpreter's own one
  return tuple;
}

// The result of a slot that must set an exception when it has none.
inline PyObject* checked_result(PyObject* callable, PyObject* result) {
  if (!result && !PyErr_Occurred()) [[unlikely]]
    PyErr_Format(PyExc_SystemError, "%R returned NULL without setting an exception", callable);
  return result;
}

// What PyObject_Vectorcall does, without its look-up of the thread and its check for a result that
// comes with an exception; for hot calls. `arguments[-1]` must be the callee's to overwrite. Null
// with an error set.
inline Ref vectorcall(PyObject* callable, PyObject* const* arguments, size_t count) {
  return Ref::steal(into_python([&]() -> PyObject* {
    size_t flagged = count | PY_VECTORCALL_ARGUMENTS_OFFSET;
    PyTypeObject* type = Py_TYPE(callable);
    if (PyType_HasFeature(type, Py_TPFLAGS_HAVE_VECTORCALL)) [[likely]] {
      vectorcallfunc function;
      std::memcpy(&function, reinterpret_cast<char*>(callable) + type->tp_vectorcall_offset,
                  sizeof(function));
      if (function) [[likely]] {
        return checked_result(callable, function(callable, arguments, flagged, nullptr));
      }
    }
    // A step of asyncio's C Task is such a callable. CPython's own way looks for the thread again.
    if (count == 0 && type->tp_call) [[likely]]
      return checked_result(callable, type->tp_call(callable, empty_tuple(), nullptr));
    return PyObject_Vectorcall(callable, arguments, flagged, nullptr);
  }));
}

// callable(argument); null with an error set, for callers that handle it themselves.
inline Ref try_call(PyObject* callable, PyObject* argument) {
  PyObject* stack[2] = {nullptr, argument};
  return vectorcall(callable, stack + 1, 1);
}

// callable(*arguments), each a PyObject* (borrowed).
template <class... Arguments>
Ref call(PyObject* callable, Arguments... arguments) {
  PyObject* stack[1 + sizeof...(arguments)] = {nullptr, arguments...};
  return Ref::checked(vectorcall(callable, stack + 1, sizeof...(arguments)).release());
}

// object.name(*arguments), without a bound method in between; null with an error set.
template <class... Arguments>
Ref try_call_method(PyObject* object, Name& name, Arguments... arguments) {
  PyObject* stack[2 + sizeof...(arguments)] = {nullptr, object, arguments...};
  PyObject* interned = name.get();
  return Ref::steal(into_python([&] {
    return PyObject_VectorcallMethod(
        interned, stack + 1, (1 + sizeof...(arguments)) | PY_VECTORCALL_ARGUMENTS_OFFSET, nullptr);
  }));
}

template <class... Arguments>
Ref call_method(PyObject* object, Name& name, Arguments... arguments) {
  return Ref::checked(try_call_method(object, name, arguments...).release());
}

inline Ref get_attribute(PyObject* object, Name& name) {
  PyObject* interned = name.get();
  return Ref::checked(into_python([&] { return PyObject_GetAttr(object, interned); }));
}

// A Python number.
inline double number(PyObject* value) {
  if (PyFloat_CheckExact(value)) return PyFloat_AS_DOUBLE(value);
  double result = PyFloat_AsDouble(value);
  if (result == -1.0 && PyErr_Occurred()) throw PythonError{};
  return result;
}

// The attribute `name` of module `module`.
inline Ref import_from(const char* module, const char* name) {
  Ref imported = Ref::checked(PyImport_ImportModule(module));
  return Ref::checked(PyObject_GetAttrString(imported.get(), name));
}

}  // namespace rloop::binding
