// Where a Python socket keeps the number of its descriptor.
//
// A program may close or detach a socket that a transport still uses; its number may be another
// connection's a moment later. The object knows: its number is -1 from then on. Asking it
// (fileno()) costs a call for each write; looking where CPython's socket object keeps it costs a
// load. The layout is checked: on an empty socket once, and on each socket that is given. Needs the
// GIL.
#pragma once

#include "binding/call.hpp"

namespace rloop::binding {

namespace detail {

// CPython's PySocketSockObject (Modules/socketmodule.h) begins like this, from 3.11 to 3.15.
struct SocketLayout {
  PyObject head;
  int number;
  int family;
};

inline const int& number_in(PyObject* socket) {
  return reinterpret_cast<SocketLayout*>(socket)->number;
}

// _socket.socket, or null where its layout is another one.
inline PyTypeObject* socket_type() {
  static PyTypeObject* type = [] {
    auto* found = reinterpret_cast<PyTypeObject*>(import_from("_socket", "socket").release());
    Ref nothing = Ref::checked(PyTuple_New(0));
    Ref empty = Ref::checked(found->tp_new(found, nothing.get(), nullptr));
    bool fits = found->tp_basicsize >= static_cast<Py_ssize_t>(sizeof(SocketLayout)) &&
                number_in(empty.get()) == -1;
    return fits ? found : nullptr;
  }();
  return type;
}

}  // namespace detail

// For op::Descriptor::follow: null when `socket` is null or keeps its number elsewhere (an object
// that only behaves like a socket). The place is valid for as long as the object lives.
inline const int* place_of_number(PyObject* socket, int number) {
  if (!socket || !detail::socket_type()) return nullptr;
  if (!PyObject_TypeCheck(socket, detail::socket_type())) return nullptr;
  const int& place = detail::number_in(socket);
  return place == number ? &place : nullptr;
}

// Whether somebody would see the end of a socket that only the caller holds.
inline bool is_weakly_referenced(PyObject* socket) {
  Py_ssize_t offset = Py_TYPE(socket)->tp_weaklistoffset;
  return offset != 0 &&
         *reinterpret_cast<PyObject**>(reinterpret_cast<char*>(socket) + offset) != nullptr;
}

// Takes the descriptor, which is the caller's from now on, away from a socket; false when nobody
// knows where it keeps the number. What socket.detach() does, but it cannot fail half way, and runs
// no Python code: no other thread meets it.
inline bool detach(PyObject* socket, int number) {
  const int* place = place_of_number(socket, number);
  if (place) *const_cast<int*>(place) = -1;
  return place != nullptr;
}

}  // namespace rloop::binding
