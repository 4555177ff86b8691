// Writing to a stream transport; see stream_transport.hpp.
//
// Runs per write: exact bytes are kept by reference, anything mutable is snapshotted; the core
// decides when they are sent (net::Context).
#include "native/names.hpp"
#include "native/stream_transport.hpp"
#include "native/upcall.hpp"

namespace rloop::native {

void StreamTransport::refuse_during_sendfile() {
  if (!empty_waiter_) return;
  binding::raise(PyExc_RuntimeError, "unable to write; sendfile is in progress");
}

void StreamTransport::write_data(PyObject* data) {
  bool is_exact = PyBytes_CheckExact(data);
  if (!is_exact) require_bytes_like(data);
  if (eof_written_) binding::raise(PyExc_RuntimeError, "Cannot call write() after write_eof()");
  refuse_during_sendfile();
  Py_ssize_t length = is_exact ? PyBytes_GET_SIZE(data) : PyObject_Length(data);
  binding::check(length < 0 ? -1 : 0);
  if (length == 0 || reject_write()) return;
  append(binding::frozen_bytes(data));
  push();
}

void StreamTransport::writelines(Arguments arguments) {
  PyObject* list_of_data = arguments.only("list_of_data", "writelines");
  if (eof_written_) {
    binding::raise(PyExc_RuntimeError, "Cannot call writelines() after write_eof()");
  }
  refuse_during_sendfile();
  Ref lines = Ref::checked(PySequence_Fast(list_of_data, "can only join an iterable"));
  // All are looked at before the first is queued: a wrong one leaves nothing half written.
  absl::InlinedVector<Ref, 8> frozen;
  for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(lines.get()); ++i) {
    Ref line = Ref::borrow(PySequence_Fast_GET_ITEM(lines.get(), i));  // the list may change
    frozen.push_back(binding::frozen_bytes(line.get()));
  }
  if (frozen.empty() || reject_write()) return;
  for (Ref& line : frozen)
    append(std::move(line));
  push();
}

void StreamTransport::append(Ref bytes) {
  if (lost_count_ == 0) stream_.append(segment_of(std::move(bytes)));
}

void StreamTransport::push() {
  if (lost_count_ == 0) stream_.push(program_has_socket());
  pause_protocol_if_needed();
}

void StreamTransport::write_eof() {
  if (closing_ || eof_written_) return;
  eof_written_ = true;
  stream_.write_eof();
}

}  // namespace rloop::native
