// The Python names that the native half looks up, each interned once.
//
// In one place so that a reader sees which parts of asyncio's protocol and of our own Python half
// the native code calls. Also the bridge to rloop/reports.py, where everything is written in
// Python that only happens when something went wrong. Needs the GIL.
#pragma once

#include "binding/call.hpp"

namespace rloop::native::names {

using binding::Name;

inline Name acquire{"acquire"};
inline Name acquire_restore{"_acquire_restore"};
inline Name attach{"_attach"};
inline Name buffer_updated{"buffer_updated"};
inline Name call_at{"call_at"};
inline Name call_soon{"call_soon"};
inline Name cancelled{"cancelled"};
inline Name clients{"_clients"};
inline Name clock_resolution{"_clock_resolution"};
inline Name close{"close"};
inline Name connection_lost{"connection_lost"};
inline Name connection_made{"connection_made"};
inline Name context{"context"};
inline Name create_future{"create_future"};
inline Name create_task{"create_task"};
inline Name data_received{"data_received"};
inline Name datagram_received{"datagram_received"};
inline Name detach{"_detach"};
inline Name done{"done"};
inline Name eager_start{"eager_start"};
inline Name eof_received{"eof_received"};
inline Name error_received{"error_received"};
inline Name fileno{"fileno"};
inline Name get_buffer{"get_buffer"};
inline Name getaddrinfo{"getaddrinfo"};
inline Name handle_run{"_run"};
inline Name loop{"loop"};
inline Name name{"name"};
inline Name pause_writing{"pause_writing"};
inline Name recv{"recv"};
inline Name recv_into{"recv_into"};
inline Name release{"release"};
inline Name resume_writing{"resume_writing"};
inline Name run{"run"};
inline Name run_once{"_run_once"};
inline Name select{"select"};
inline Name send{"send"};
inline Name sendto{"sendto"};
inline Name set_exception{"set_exception"};
inline Name set_result{"set_result"};
inline Name socket_within{"_sock"};
inline Name sockets{"_sockets"};
inline Name start_reading{"_start_reading"};
inline Name task{"Task"};
inline Name thread_id{"_thread_id"};
inline Name time{"time"};

// The attribute `name` of rloop._stdlib, which __init__.py imports before it imports us. The module
// is asked for once: while `rloop` is being imported, each import of a part of it waits for that
// import first, and finds that it is its own.
inline binding::Ref from_stdlib(const char* name) {
  static PyObject* module = binding::Ref::checked(PyImport_ImportModule("rloop._stdlib")).release();
  return binding::Ref::checked(PyObject_GetAttrString(module, name));
}

// Calls rloop.reports.<name>(*arguments).
template <class... Arguments>
binding::Ref report(const char* name, Arguments... arguments) {
  static PyObject* module = nullptr;
  if (!module) module = PyImport_ImportModule("rloop.reports");
  if (!module) throw binding::PythonError{};
  binding::Ref function = binding::Ref::checked(PyObject_GetAttrString(module, name));
  return binding::call(function.get(), arguments...);
}

}  // namespace rloop::native::names
