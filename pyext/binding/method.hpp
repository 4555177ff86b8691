// C++ member functions as methods and attributes of a heap type.
//
// The calling convention follows from the member's signature:
//   R f()                METH_NOARGS
//   R f(PyObject*)       METH_O
//   R f(const Arguments&)   METH_FASTCALL | METH_KEYWORDS
// (never by value: the caller would copy the three words two at a time, right after they were
// stored one by one, and wait 5 ns for that) and the result is converted from Ref, void, bool,
// double, size_t or an integer. `guarded` holds the only `try` of the boundary: a C++ exception
// that left a slot would abort the process. Measured: 2 instructions over a slot written by hand.
// Knows Python only.
#pragma once

#include <cerrno>
#include <new>
#include <system_error>
#include <type_traits>

#include "binding/arguments.hpp"
#include "binding/ref.hpp"

namespace rloop::binding {

inline PyObject* to_python(Ref value) {
  return value.release();
}
inline PyObject* to_python(bool value) {
  return PyBool_FromLong(value);
}
inline PyObject* to_python(double value) {
  return PyFloat_FromDouble(value);
}
inline PyObject* to_python(size_t value) {
  return PyLong_FromSize_t(value);
}
inline PyObject* to_python(int value) {
  return PyLong_FromLong(value);
}
inline PyObject* to_python(const char* value) {
  return PyUnicode_FromString(value);
}

// Turns the exception in flight into a Python error. Call only inside a catch block.
inline void set_error_from_exception() {
  try {
    throw;
  } catch (const PythonError&) {
    // set already
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
  } catch (const std::system_error& error) {
    PyObject* arguments = Py_BuildValue("(is)", error.code().value(), error.what());
    if (arguments) PyErr_SetObject(PyExc_OSError, arguments);
    Py_XDECREF(arguments);
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_RuntimeError, error.what());
  }
}

// Runs `body`; on a C++ exception sets the Python error and answers `failure`.
template <class Failure, class Body>
Failure guarded(Failure failure, Body body) noexcept {
  try {
    return body();
  } catch (abi::__forced_unwind&) {
    while (true)
      ::pause();  // see into_python
  } catch (...) {
    set_error_from_exception();
    return failure;
  }
}

template <class T>
class HeapType;

namespace detail {

template <class Call>
PyObject* convert(Call call) {
  if constexpr (std::is_void_v<decltype(call())>) {
    call();
    return Py_NewRef(Py_None);
  } else {
    return to_python(call());
  }
}

template <class Member>
struct ClassOf;
template <class T, class Signature>
struct ClassOf<Signature T::*> {
  using type = T;
};

template <auto Member, class Owner, class Signature = decltype(Member)>
struct MethodOf;

template <auto Member, class Owner, class R, class T>
struct MethodOf<Member, Owner, R (T::*)()> {
  static constexpr int kFlags = METH_NOARGS;
  static PyObject* slot(PyObject* self, PyObject*) {
    return guarded<PyObject*>(
        nullptr, [&] { return convert([&] { return (HeapType<Owner>::value(self).*Member)(); }); });
  }
};

template <auto Member, class Owner, class R, class T>
struct MethodOf<Member, Owner, R (T::*)(PyObject*)> {
  static constexpr int kFlags = METH_O;
  static PyObject* slot(PyObject* self, PyObject* argument) {
    return guarded<PyObject*>(nullptr, [&] {
      return convert([&] { return (HeapType<Owner>::value(self).*Member)(argument); });
    });
  }
};

template <auto Member, class Owner, class R, class T>
struct MethodOf<Member, Owner, R (T::*)(const Arguments&)> {
  static constexpr int kFlags = METH_FASTCALL | METH_KEYWORDS;
  static PyObject* slot(PyObject* self, PyObject* const* values, Py_ssize_t count,
                        PyObject* names) {
    return guarded<PyObject*>(nullptr, [&] {
      return convert(
          [&] { return (HeapType<Owner>::value(self).*Member)(Arguments{values, count, names}); });
    });
  }
};

}  // namespace detail

// `doc` starts with "name($self, ...)\n--\n\n" so that inspect.signature works. `Owner` is named
// for members that its class inherits.
template <auto Member, class Owner = typename detail::ClassOf<decltype(Member)>::type>
PyMethodDef method(const char* name, const char* doc) {
  using Method = detail::MethodOf<Member, Owner>;
  auto slot = reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(&Method::slot));
  return {name, slot, Method::kFlags, doc};
}

// A read-only attribute from a member without arguments.
template <auto Getter, class Owner = typename detail::ClassOf<decltype(Getter)>::type>
PyGetSetDef attribute(const char* name, const char* doc) {
  getter get = [](PyObject* self, void*) {
    return detail::MethodOf<Getter, Owner>::slot(self, nullptr);
  };
  return {name, get, nullptr, doc, nullptr};
}

// An attribute that can be set by a member that takes the new value; deleting it is an error.
template <auto Getter, auto Setter, class Owner = typename detail::ClassOf<decltype(Getter)>::type>
PyGetSetDef attribute(const char* name, const char* doc) {
  PyGetSetDef definition = attribute<Getter, Owner>(name, doc);
  definition.set = [](PyObject* self, PyObject* value, void*) -> int {
    if (!value) {
      PyErr_SetString(PyExc_AttributeError, "this attribute cannot be deleted");
      return -1;
    }
    PyObject* done = detail::MethodOf<Setter, Owner>::slot(self, value);
    if (!done) return -1;
    Py_DECREF(done);
    return 0;
  };
  return definition;
}

// The same, but deleting it sets None: mock.patch deletes what it has set on an object.
template <auto Getter, auto Setter, class Owner = typename detail::ClassOf<decltype(Getter)>::type>
PyGetSetDef resettable(const char* name, const char* doc) {
  PyGetSetDef definition = attribute<Getter, Setter, Owner>(name, doc);
  definition.set = [](PyObject* self, PyObject* value, void*) -> int {
    PyObject* done = detail::MethodOf<Setter, Owner>::slot(self, value ? value : Py_None);
    if (!done) return -1;
    Py_DECREF(done);
    return 0;
  };
  return definition;
}

}  // namespace rloop::binding
