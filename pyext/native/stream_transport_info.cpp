// What a stream transport tells about itself: extra info, repr, the warning when it was forgotten,
// and the table of its methods; see stream_transport.hpp.
//
// Nothing here runs per message: addresses become tuples when somebody asks for them.
#include <sys/un.h>

#include "native/names.hpp"
#include "native/stream_transport.hpp"

namespace rloop::native {

Ref StreamTransport::address_tuple(const base::Address& address) {
  switch (address.family()) {
    case AF_INET:
      return Ref::checked(Py_BuildValue("(sH)", address.host().c_str(), address.port()));
    case AF_INET6:
      return Ref::checked(Py_BuildValue("(sHII)", address.host().c_str(), address.port(),
                                        ntohl(address.in6().sin6_flowinfo),
                                        address.in6().sin6_scope_id));
    case AF_UNIX: {
      auto size = static_cast<Py_ssize_t>(address.length() - offsetof(sockaddr_un, sun_path));
      const char* path = address.un().sun_path;
      // As the socket module: abstract names are bytes, others str without the final NUL.
      if (size > 0 && path[0] == '\0') return Ref::checked(PyBytes_FromStringAndSize(path, size));
      return Ref::checked(PyUnicode_DecodeFSDefault(size > 0 ? path : ""));
    }
    default:
      return Ref::borrow(Py_None);
  }
}

// The socket object behind the transport; an accepted connection gets one when first asked for.
Ref StreamTransport::python_socket() {
  if (!socket_ && own_fd_.valid()) {
    socket_ = names::report("socket_of_descriptor", Ref::checked(PyLong_FromLong(fd())).get());
    own_fd_.release();
  }
  return Ref::borrow(socket_ ? socket_.get() : Py_None);
}

Ref StreamTransport::get_extra_info(Arguments arguments) {
  PyObject* given[2];
  arguments.parse({"name", "default"}, 1, given, "get_extra_info");
  PyObject* fallback = given[1] ? given[1] : Py_None;
  if (extra_) {
    PyObject* value = PyDict_GetItemWithError(extra_.get(), given[0]);
    if (value) return Ref::borrow(value);
    if (PyErr_Occurred()) throw binding::PythonError{};
  }
  const char* name = PyUnicode_Check(given[0]) ? PyUnicode_AsUTF8(given[0]) : "";
  if (!name) throw binding::PythonError{};
  std::string_view wanted = name;
  if (wanted == "socket") {
    if (!transport_socket_) {
      transport_socket_ = names::report("transport_socket", python_socket().get());
    }
    return transport_socket_.copy();
  }
  if (wanted == "sockname" && local_.length() > 0) return address_tuple(local_);
  if (wanted == "peername") {
    // asyncio keeps None for a peer that was gone before it could be asked.
    return remote_.length() > 0 ? address_tuple(remote_) : Ref::borrow(Py_None);
  }
  return Ref::borrow(fallback);
}

Ref StreamTransport::repr() {
  return names::report("transport_repr", StreamTransportType::object(this));
}

// The last reference went while the socket was still open: only after the loop was closed, since
// an open transport is kept by its loop.
void StreamTransport::finalize() {
  if (abandoned_ && !binding::is_finalizing())
    names::report("unclosed_transport", StreamTransportType::object(this));
}

std::vector<PyMethodDef> StreamTransport::methods() {
  using binding::method;
  using T = StreamTransport;
  return {
      method<&T::write>("write", "write($self, data, /)\n--\n\nQueue bytes; never blocks."),
      method<&T::writelines>(
          "writelines", "writelines($self, list_of_data, /)\n--\n\nQueue an iterable of bytes."),
      method<&T::write_eof>("write_eof",
                            "write_eof($self)\n--\n\nClose the sending side after the backlog."),
      method<&T::can_write_eof>("can_write_eof", "can_write_eof($self)\n--\n\nTrue."),
      method<&T::close>("close", "close($self)\n--\n\nClose after the backlog is sent."),
      method<&T::abort>("abort", "abort($self)\n--\n\nClose at once; the backlog is lost."),
      method<&T::is_closing>("is_closing",
                             "is_closing($self)\n--\n\nTrue once close or abort was called."),
      method<&T::pause_reading>("pause_reading",
                                "pause_reading($self)\n--\n\nNo data_received until resumed."),
      method<&T::resume_reading>("resume_reading",
                                 "resume_reading($self)\n--\n\nGo on after pause_reading."),
      method<&T::is_reading>("is_reading", "is_reading($self)\n--\n\nTrue if data may arrive."),
      method<&T::set_write_buffer_limits>(
          "set_write_buffer_limits",
          "set_write_buffer_limits($self, high=None, low=None)\n--\n\n"
          "Water marks of the backlog in bytes."),
      method<&T::get_write_buffer_limits>(
          "get_write_buffer_limits", "get_write_buffer_limits($self)\n--\n\n(low, high) in bytes."),
      method<&T::get_write_buffer_size>(
          "get_write_buffer_size", "get_write_buffer_size($self)\n--\n\nThe backlog in bytes."),
      method<&T::get_protocol>("get_protocol", "get_protocol($self)\n--\n\nThe current protocol."),
      method<&T::set_protocol>("set_protocol",
                               "set_protocol($self, protocol, /)\n--\n\nSwitch the protocol."),
      method<&T::get_extra_info>(
          "get_extra_info",
          "get_extra_info($self, name, default=None)\n--\n\n'socket', 'sockname', 'peername'."),
      method<&T::start_reading>("_start_reading", nullptr),
      method<&T::force_close>("_force_close", nullptr),
      method<&T::fatal_error>("_fatal_error", nullptr),
  };
}

std::vector<PyGetSetDef> StreamTransport::attributes() {
  using binding::attribute;
  using T = StreamTransport;
  return {
      attribute<&T::descriptor>("_sock_fd", nullptr),
      attribute<&T::unsent_bytes>("_backlog_bytes", nullptr),
      attribute<&T::get_loop>("_loop", nullptr),
      attribute<&T::protocol_paused>("_protocol_paused", nullptr),
      attribute<&T::get_extra>("_extra", nullptr),
  };
}

void define_stream_transport(PyObject* module) {
  Ref base = binding::import_from("asyncio", "Transport");
  StreamTransportType::define(module, base.get());
}

}  // namespace rloop::native
