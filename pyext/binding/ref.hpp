// Owning references to Python objects, and the exception that says "a Python error is set".
//
// Ref is what std::unique_ptr is for memory: one reference, moved, dropped at the end. C++ code
// signals a Python error by setting it and throwing PythonError; the adapters in method.hpp are the
// only place that catches it. Knows Python only. Needs the GIL, except for moving and testing.
#pragma once

#include <Python.h>
#include <cxxabi.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#ifdef Py_GIL_DISABLED
#error "rloop relies on the GIL: free-threaded builds of CPython are not supported yet"
#endif

namespace rloop::binding {

// Thrown while the interpreter's error indicator is set.
struct PythonError {};

// Runs `call`, which may execute Python code. When the interpreter ends, CPython before 3.14 ends a
// daemon thread inside such a call by unwinding its stack; the destructors on the way would touch
// Python objects without the GIL. So the thread stays here for ever instead, which is what 3.14
// does.
template <class Call>
[[gnu::always_inline]] inline auto into_python(Call&& call) {
  try {
    return call();
  } catch (abi::__forced_unwind&) {
    while (true)
      ::pause();
  }
}

class Ref {
 public:
  Ref() = default;
  Ref(std::nullptr_t) {}
  Ref(Ref&& other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
  Ref& operator=(Ref&& other) noexcept {
    // The old object goes last: its finalizer may look at us.
    PyObject* old = std::exchange(object_, std::exchange(other.object_, nullptr));
    drop(old);
    return *this;
  }
  ~Ref() { drop(object_); }

  // Takes over the caller's reference, which may be null.
  static Ref steal(PyObject* object) {
    Ref ref;
    ref.object_ = object;
    return ref;
  }
  static Ref borrow(PyObject* object) { return steal(Py_XNewRef(object)); }
  // Takes over a new reference; null means that an error is set.
  static Ref checked(PyObject* object) {
    if (!object) throw PythonError{};
    return steal(object);
  }

  PyObject* get() const { return object_; }
  explicit operator bool() const { return object_ != nullptr; }
  PyObject* release() { return std::exchange(object_, nullptr); }
  // Assigns to a reference that is known to be empty.
  void fill(Ref&& other) { object_ = other.release(); }
  Ref copy() const { return borrow(object_); }
  bool is(PyObject* other) const { return object_ == other; }
  bool is_none() const { return object_ == Py_None; }

 private:
  static void drop(PyObject* object) {
    into_python([object] { Py_XDECREF(object); });
  }

  PyObject* object_ = nullptr;
};

// For calls that answer 0 or -1.
inline void check(int status) {
  if (status < 0) throw PythonError{};
}

// Sets an exception with a printf-like message and throws.
template <class... Arguments>
[[noreturn]] void raise(PyObject* type, const char* format, Arguments... arguments) {
  if constexpr (sizeof...(arguments) == 0) {
    PyErr_SetString(type, format);
  } else {
    PyErr_Format(type, format, arguments...);
  }
  throw PythonError{};
}

// The interpreter is on its way out: modules may be gone already.
inline bool is_finalizing() {
#if PY_VERSION_HEX >= 0x030D0000
  return Py_IsFinalizing();
#else
  return _Py_IsFinalizing();
#endif
}

// Takes the current exception out of the interpreter, normalized, with its traceback.
inline Ref take_exception() {
#if PY_VERSION_HEX >= 0x030C0000
  return Ref::steal(PyErr_GetRaisedException());
#else
  PyObject *type, *value, *traceback;
  PyErr_Fetch(&type, &value, &traceback);
  if (!type) return {};
  PyErr_NormalizeException(&type, &value, &traceback);
  if (traceback) PyException_SetTraceback(value, traceback);
  Py_DECREF(type);
  Py_XDECREF(traceback);
  return Ref::steal(value);
#endif
}

// Sets the OSError of an errno, of the subclass that belongs to it.
inline void set_os_error(int error_number) {
  errno = error_number;
  PyErr_SetFromErrno(PyExc_OSError);
}
[[noreturn]] inline void raise_os_error(int error_number) {
  set_os_error(error_number);
  throw PythonError{};
}

// Puts an exception object back as the current one.
inline void restore_exception(Ref exception) {
#if PY_VERSION_HEX >= 0x030C0000
  PyErr_SetRaisedException(exception.release());
#else
  PyObject* type = Py_NewRef(reinterpret_cast<PyObject*>(Py_TYPE(exception.get())));
  PyObject* traceback = PyException_GetTraceback(exception.get());
  PyErr_Restore(type, exception.release(), traceback);
#endif
}

}  // namespace rloop::binding
