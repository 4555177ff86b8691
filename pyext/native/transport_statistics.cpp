// What an operator sees of one connection; see transport.hpp.
//
// Only what costs nothing per message is counted: messages and bytes, which the loop would count
// otherwise, and what happens when the peer does not keep up. How long a TCP connection has been
// idle is asked of the kernel.
#include <netinet/tcp.h>

#include <algorithm>

#include "binding/dict.hpp"
#include "native/stream_transport.hpp"

namespace rloop::native {
namespace {

using binding::put;

// Seconds since it sent or received data, or None where the kernel keeps no account of it.
Ref idle_seconds(int fd) {
  tcp_info info{};
  socklen_t size = sizeof(info);
  if (fd < 0 || ::getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) < 0)
    return Ref::borrow(Py_None);
  auto idle_ms = std::min(info.tcpi_last_data_sent, info.tcpi_last_data_recv);
  return Ref::checked(PyFloat_FromDouble(idle_ms / 1e3));
}

}  // namespace

Ref Transport::statistics() {
  Ref made = Ref::checked(PyDict_New());
  const net::Traffic& counted = traffic();
  put(made.get(), "messages_in", counted.messages_in);
  put(made.get(), "messages_out", counted.messages_out);
  put(made.get(), "bytes_in", counted.bytes_in);
  put(made.get(), "bytes_out", counted.bytes_out);
  put(made.get(), "backlog", lost_count_ == 0 ? backlog() : 0);
  put(made.get(), "backlog_max", largest_backlog_);
  put(made.get(), "times_paused", pause_count_);
  double age = base::to_seconds(base::now_ns() - made_at_ns_);
  put(made.get(), "age", Ref::checked(PyFloat_FromDouble(age)));
  put(made.get(), "idle", idle_seconds(descriptor()));
  return made;
}

void StreamTransport::count_sent(PyObject* size) {
  size_t sent = PyLong_AsSize_t(size);
  if (PyErr_Occurred()) throw binding::PythonError{};
  stream_.count_foreign_send(sent);
}

const char* Transport::state() {
  if (closing_) return "closing";
  if (protocol_paused_) return "writing_paused";
  return reading_paused() ? "reading_paused" : "open";
}

Ref Transport::describe() {
  Ref made = Ref::checked(PyDict_New());
  put(made.get(), "fd", Ref::checked(PyLong_FromLong(descriptor())));
  put(made.get(), "kind", Ref::checked(PyUnicode_FromString(kind())));
  put(made.get(), "state", Ref::checked(PyUnicode_FromString(state())));
  put(made.get(), "sockname", address_object(local_));
  put(made.get(), "peername", address_object(remote_));
  put(made.get(), "statistics", statistics());
  return made;
}

}  // namespace rloop::native
