// Python's bytes-like objects as memory.
//
// BufferView holds an exported buffer (PEP 3118) and lets go of it at the end; while it is held
// the exporter cannot move or free the memory. frozen_bytes gives an immutable object to keep: the
// exact bytes itself, or a snapshot of anything mutable. Needs the GIL.
#pragma once

#include <cstddef>
#include <span>

#include "binding/ref.hpp"

namespace rloop::binding {

class BufferView {
 public:
  BufferView() = default;
  BufferView(const BufferView&) = delete;
  BufferView& operator=(const BufferView&) = delete;
  ~BufferView() { reset(); }

  // Throws PythonError (TypeError, BufferError) when the object has no such buffer.
  void acquire(PyObject* exporter, int flags) {
    reset();
    check(PyObject_GetBuffer(exporter, &view_, flags));
    held_ = true;
  }
  // For memory that is to be received into: fails as the socket method `function` does, whose first
  // argument the exporter is.
  void acquire_writable(PyObject* exporter, const char* function) {
    reset();
    held_ = PyObject_GetBuffer(exporter, &view_, PyBUF_WRITABLE) == 0;
    if (held_) return;
    if (!PyErr_ExceptionMatches(PyExc_Exception)) throw PythonError{};
    PyErr_Clear();
    raise(PyExc_TypeError, "%s() argument 1 must be read-write bytes-like object, not %.50s",
          function, exporter == Py_None ? "None" : Py_TYPE(exporter)->tp_name);
  }
  void reset() {
    if (!held_) return;
    held_ = false;
    PyBuffer_Release(&view_);
  }
  bool held() const { return held_; }
  Py_buffer* raw() { return &view_; }
  std::span<std::byte> bytes() const {
    return {static_cast<std::byte*>(view_.buf), static_cast<size_t>(view_.len)};
  }

 private:
  Py_buffer view_{};
  bool held_ = false;
};

inline Ref frozen_bytes(PyObject* data) {
  if (PyBytes_CheckExact(data)) return Ref::borrow(data);
  BufferView view;
  view.acquire(data, PyBUF_FULL_RO);
  auto size = static_cast<Py_ssize_t>(view.bytes().size());
  Ref copy = Ref::checked(PyBytes_FromStringAndSize(nullptr, size));
  // Also for views that are not contiguous: in the order of their elements.
  check(PyBuffer_ToContiguous(PyBytes_AS_STRING(copy.get()), view.raw(), size, 'C'));
  return copy;
}

inline std::span<const std::byte> bytes_of(PyObject* bytes) {
  return {reinterpret_cast<const std::byte*>(PyBytes_AS_STRING(bytes)),
          static_cast<size_t>(PyBytes_GET_SIZE(bytes))};
}

}  // namespace rloop::binding
