// Writing and flow control of a stream transport; see stream_transport.hpp.
//
// Runs per write: exact bytes are kept by reference, anything mutable is snapshotted; the
// net::Stream below decides when they are sent. The protocol is paused only after the kernel
// refused bytes.
#include "native/names.hpp"
#include "native/stream_transport.hpp"
#include "native/upcall.hpp"

namespace rloop::native {
namespace {

// asyncio's LOG_THRESHOLD_FOR_CONNLOST_WRITES.
constexpr int kLostWritesBeforeWarning = 5;

net::Segment segment_of(Ref bytes) {
  std::span<const std::byte> memory = binding::bytes_of(bytes.get());
  net::Keeper keeper(bytes.release(), [](void* object) {
    Ref dropped = Ref::steal(static_cast<PyObject*>(object));
  });
  return {memory.data(), memory.size(), std::move(keeper)};
}

}  // namespace

// True when data must be dropped: the connection is lost. Warns as asyncio after some.
bool StreamTransport::reject_write() {
  if (lost_count_ == 0) return false;
  if (lost_count_ >= kLostWritesBeforeWarning) names::report("write_after_loss");
  ++lost_count_;
  return true;
}

void StreamTransport::write(PyObject* data) {
  if (!PyBytes_Check(data) && !PyByteArray_Check(data) && !PyMemoryView_Check(data)) {
    Ref name = Ref::checked(PyType_GetName(Py_TYPE(data)));
    binding::raise(PyExc_TypeError, "data argument must be a bytes-like object, not %R",
                   name.get());
  }
  if (eof_written_) binding::raise(PyExc_RuntimeError, "Cannot call write() after write_eof()");
  Py_ssize_t length = PyObject_Length(data);
  binding::check(length < 0 ? -1 : 0);
  if (length == 0 || reject_write()) return;
  queue(binding::frozen_bytes(data));
  pause_protocol_if_needed();
}

void StreamTransport::writelines(PyObject* list_of_data) {
  if (eof_written_) {
    binding::raise(PyExc_RuntimeError, "Cannot call writelines() after write_eof()");
  }
  Ref lines = Ref::checked(PySequence_Fast(list_of_data, "can only join an iterable"));
  // All are looked at before the first is queued: a wrong one leaves nothing half written.
  absl::InlinedVector<Ref, 8> frozen;
  for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(lines.get()); ++i) {
    frozen.push_back(binding::frozen_bytes(PySequence_Fast_GET_ITEM(lines.get(), i)));
  }
  if (frozen.empty() || reject_write()) return;
  for (Ref& line : frozen)
    queue(std::move(line));
  pause_protocol_if_needed();
}

void StreamTransport::queue(Ref bytes) {
  if (lost_count_ == 0) stream_.write(segment_of(std::move(bytes)));
}

void StreamTransport::write_eof() {
  if (closing_ || eof_written_) return;
  eof_written_ = true;
  stream_.write_eof();
}

size_t StreamTransport::get_write_buffer_size() {
  // asyncio tries to send inside write(); whoever asks sees what the kernel refused.
  stream_.flush_now();
  return stream_.backlog_bytes();
}

void StreamTransport::pause_protocol_if_needed() {
  if (stream_.backlog_bytes() <= high_water_ || protocol_paused_) return;
  stream_.flush_now();
  if (stream_.backlog_bytes() <= high_water_ || protocol_paused_) return;
  protocol_paused_ = true;
  try {
    binding::call_method(protocol_.get(), names::pause_writing);
  } catch (const binding::PythonError&) {
    flow_control_failed("protocol.pause_writing() failed");
  }
}

void StreamTransport::resume_protocol_if_possible() {
  if (!protocol_paused_ || stream_.backlog_bytes() > low_water_) return;
  protocol_paused_ = false;
  contained(loop_, [this] {
    try {
      binding::call_method(protocol_.get(), names::resume_writing);
    } catch (const binding::PythonError&) {
      flow_control_failed("protocol.resume_writing() failed");
    }
  });
}

// For the Python error that is set: exits go on to the caller, the rest is reported.
void StreamTransport::flow_control_failed(const char* message) {
  Ref error = binding::take_exception();
  if (is_exit(error.get())) {
    binding::restore_exception(std::move(error));
    throw binding::PythonError{};
  }
  Ref text = Ref::checked(PyUnicode_FromString(message));
  names::report("protocol_failed", loop_object_.get(), StreamTransportType::object(this),
                protocol_.get(), error.get(), text.get());
}

void StreamTransport::set_write_buffer_limits(Arguments arguments) {
  PyObject* given[2];
  arguments.parse({"high", "low"}, 0, given, "set_write_buffer_limits");
  auto limit = [](PyObject* value) -> Ref {
    return Ref::borrow(value && value != Py_None ? value : nullptr);
  };
  Ref limits = names::report("write_buffer_limits", limit(given[0]) ? given[0] : Py_None,
                             limit(given[1]) ? given[1] : Py_None);
  size_t high = PyLong_AsSize_t(PyTuple_GetItem(limits.get(), 0));
  size_t low = PyLong_AsSize_t(PyTuple_GetItem(limits.get(), 1));
  if (PyErr_Occurred()) throw binding::PythonError{};
  high_water_ = high;
  low_water_ = low;
  pause_protocol_if_needed();
}

Ref StreamTransport::get_write_buffer_limits() {
  return Ref::checked(Py_BuildValue("(nn)", static_cast<Py_ssize_t>(low_water_),
                                    static_cast<Py_ssize_t>(high_water_)));
}

}  // namespace rloop::native
