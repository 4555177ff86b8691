// Writing to a stream transport; see stream_transport.hpp.
//
// Runs per write: exact bytes are kept by reference, anything mutable is snapshotted; the core
// decides when they are sent (net::Context).
#include <utility>

#include "native/names.hpp"
#include "native/stream_transport.hpp"
#include "native/upcall.hpp"

namespace rloop::native {

namespace {

// As a list or a tuple. asyncio joined the lines before 3.12, and looks at each since; what cannot
// be gone through fails in the words of that.
Ref lines_of(PyObject* list_of_data) {
#if PY_VERSION_HEX >= 0x030C0000
  int is_given = PyObject_IsTrue(list_of_data);
  binding::check(is_given);
  if (!is_given) return Ref::checked(PyTuple_New(0));
  if (!PyList_Check(list_of_data) && !PyTuple_Check(list_of_data)) {
    return Ref::checked(PySequence_List(list_of_data));
  }
#endif
  return Ref::checked(PySequence_Fast(list_of_data, "can only join an iterable"));
}

// asyncio's own verdict on lines: raises for what it refuses, returns for what it passes by.
void judge_lines(PyObject* list_of_data, bool lost) {
  names::report("judge_lines", list_of_data, lost ? Py_True : Py_False);
}

}  // namespace

void StreamTransport::refuse_during_sendfile(const char* text) {
  if (empty_waiter_) binding::raise(PyExc_RuntimeError, text);
}

void StreamTransport::write_data(PyObject* data) {
  bool is_exact = PyBytes_CheckExact(data);
  if (!is_exact) require_bytes_like(data, "refuse_data");
  if (eof_written_) binding::raise(PyExc_RuntimeError, "Cannot call write() after write_eof()");
  refuse_during_sendfile("unable to write; sendfile is in progress");
  Py_ssize_t length = is_exact ? PyBytes_GET_SIZE(data) : PyObject_Length(data);
  binding::check(length < 0 ? -1 : 0);
  if (length == 0 || reject_write()) return;
  Ref bytes = binding::frozen_bytes(data);
  send([&](bool at_once) { stream_.write(segment_of(std::move(bytes)), at_once); });
}

void StreamTransport::writelines(const Arguments& arguments) {
  PyObject* list_of_data = arguments.only("list_of_data", "writelines");
  if (eof_written_) {
    binding::raise(PyExc_RuntimeError, "Cannot call writelines() after write_eof()");
  }
  refuse_during_sendfile("unable to writelines; sendfile is in progress");
  if (lost_count_ > 0) return write_lost_lines(list_of_data);
  Ref lines = lines_of(list_of_data);
  // All are looked at before the first is queued: a wrong one leaves nothing half written.
  absl::InlinedVector<Ref, 8> frozen;
  bool judged = false;
  for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(lines.get()); ++i) {
    Ref line = Ref::borrow(PySequence_Fast_GET_ITEM(lines.get(), i));  // the list may change
    if (PyObject_CheckBuffer(line.get())) {
      Ref bytes = binding::frozen_bytes(line.get());
      if (PyBytes_GET_SIZE(bytes.get()) > 0) frozen.push_back(std::move(bytes));
    } else if (!std::exchange(judged, true)) {
      judge_lines(lines.get(), false);  // newer versions pass by all that is false, as None
    }
  }
  if (frozen.empty() || reject_write()) return;
  send([&](bool at_once) {
    for (Ref& line : frozen)
      stream_.append(segment_of(std::move(line)));
    stream_.push(at_once);
  });
}

// Newer versions count them without looking at them.
void StreamTransport::write_lost_lines(PyObject* list_of_data) {
  judge_lines(list_of_data, true);
  int is_given = PyObject_IsTrue(list_of_data);
  binding::check(is_given);
  if (is_given) reject_write();
}

// Hands over by hand_over(at_once), unless the connection was lost meanwhile.
template <class HandOver>
void StreamTransport::send(HandOver hand_over) {
  if (lost_count_ == 0) {
    if (socket_) take_back_unused_socket();
    hand_over(program_has_socket());
  }
  pause_protocol_if_needed();
}

void StreamTransport::write_eof() {
  if (closing_ || eof_written_) return;
  eof_written_ = true;
  base::Result result = stream_.write_eof();
  if (!result.ok()) binding::raise_os_error(result.error_number());
}

}  // namespace rloop::native
