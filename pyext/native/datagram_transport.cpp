// Addresses, sending, the calls of the protocol, and the end; see datagram_transport.hpp.
#include "native/datagram_transport.hpp"

#include <cerrno>

#include "base/log.hpp"
#include "binding/buffer.hpp"
#include "native/names.hpp"
#include "native/upcall.hpp"

namespace rloop::native {
namespace {

int family_of(int fd) {
  int family = AF_UNSPEC;
  socklen_t length = sizeof(family);
  ::getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &length);
  return family;
}

}  // namespace

// --- opening -----------------------------------------------------------------------------------

DatagramTransport::DatagramTransport(Loop& loop, int fd, int family, PyObject* socket,
                                     PyObject* address, PyObject* extra)
    : Transport(loop, socket, extra),
      datagram_(loop.context(), *this, fd, family),
      family_(family),
      address_(Ref::borrow(address)) {}

Ref DatagramTransport::open(Loop& loop, PyObject* socket, PyObject* protocol, PyObject* address,
                            PyObject* waiter, PyObject* extra) {
  int fd = descriptor_number(socket);
  Ref object = DatagramTransportType::create(loop, fd, family_of(fd), socket, address, extra);
  DatagramTransport& self = DatagramTransportType::value(object.get());
  self.follow_socket();
  self.read_addresses();
  self.enter_loop(protocol, waiter);
  if (base::log_enabled(base::LogLevel::debug)) {
    base::log(base::LogLevel::debug, "transport", "datagram transport opened [fd=", fd,
              "] local=", self.local_.to_string());
  }
  return object;
}

// After connection_made.
void DatagramTransport::start_reading() {
  if (!closing_) datagram_.start_reading();
}

void DatagramTransport::set_protocol(Arguments arguments) {
  protocol_ = Ref::borrow(arguments.only("protocol", "set_protocol"));
  on_datagram_method_ = Ref();
}

// --- sending -----------------------------------------------------------------------------------

void DatagramTransport::sendto(Arguments arguments) {
  PyObject* given[2];
  arguments.parse({"data", "addr"}, 1, given, "sendto");
  PyObject* address = given[1] ? given[1] : Py_None;
  require_bytes_like(given[0]);
  if (address_) {
    check_destination(address);
    address = address_.get();
  }
  // As asyncio: without a fixed destination datagrams go out until connection_lost, also after
  // close.
  if ((address_ || closed_) && reject_write()) return;
  Ref bytes = binding::frozen_bytes(given[0]);
  base::Address to;
  try {
    if (remote_.length() == 0) to = destination(address);  // else connected
  } catch (const binding::PythonError&) {
    if (!PyErr_ExceptionMatches(PyExc_OSError)) {
      return fail("Fatal write error on datagram transport");
    }
    return error_received(binding::take_exception());
  }
  datagram_.send(segment_of(std::move(bytes)), to, program_has_socket());
  pause_protocol_if_needed();
}

void DatagramTransport::check_destination(PyObject* address) {
  if (address == Py_None || address == address_.get()) return;
  int equal = PyObject_RichCompareBool(address, address_.get(), Py_EQ);
  binding::check(equal);
  if (equal) return;
  binding::raise(PyExc_ValueError, "Invalid address: must be None or %S", address_.get());
}

// The errors are those of socket.sendto.
base::Address DatagramTransport::destination(PyObject* address) {
  if (last_peer_object_.is(address)) return last_peer_;
  return family_ == AF_UNIX ? unix_address(address) : internet_address(address);
}

base::Address DatagramTransport::internet_address(PyObject* address) {
  Ref literal = Ref::borrow(address);
  for (int round = 0; round < 2; ++round) {
    const char* host = nullptr;
    unsigned short port = 0;
    unsigned flow = 0, scope = 0;
    bool is_plain = PyTuple_Check(literal.get()) &&
                    PyArg_ParseTuple(literal.get(), "sH|II", &host, &port, &flow, &scope);
    // "H" takes any int and cuts it off: the port is looked at again.
    if (is_plain) {
      is_plain = PyLong_AsLong(PyTuple_GET_ITEM(literal.get(), 1)) == port;
    }
    PyErr_Clear();
    if (is_plain) {
      if (std::optional<base::Address> parsed = base::Address::parse(host, port, family_)) {
        if (family_ == AF_INET6 && (flow || scope)) parsed->set_in6(flow, scope);
        return *parsed;
      }
    }
    if (round > 0) break;
    Ref family = Ref::checked(PyLong_FromLong(family_));
    literal = names::report("datagram_address", family.get(), address);
  }
  binding::raise(PyExc_TypeError, "not an address: %R", address);
}

base::Address DatagramTransport::unix_address(PyObject* address) {
  Ref bytes;
  if (PyUnicode_Check(address)) {
    bytes = Ref::checked(PyUnicode_EncodeFSDefault(address));
  } else {
    bytes = Ref::checked(PyBytes_FromObject(address));
  }
  std::string_view path(PyBytes_AS_STRING(bytes.get()),
                        static_cast<size_t>(PyBytes_GET_SIZE(bytes.get())));
  std::optional<base::Address> parsed = base::Address::unix_path(path);
  if (!parsed) binding::raise(PyExc_OSError, "AF_UNIX path too long");
  return *parsed;
}

// --- the calls of the protocol -------------------------------------------------------------------

Ref DatagramTransport::peer_object(const base::Address& from) {
  if (!last_peer_object_ || !(from == last_peer_)) {
    last_peer_object_ = address_object(from);
    last_peer_ = from;
  }
  return last_peer_object_.copy();
}

void DatagramTransport::on_datagram(std::span<const std::byte> data, const base::Address& from) {
  Ref result;
  try {
    Ref bytes = Ref::checked(PyBytes_FromStringAndSize(reinterpret_cast<const char*>(data.data()),
                                                       static_cast<Py_ssize_t>(data.size())));
    Ref peer = peer_object(from);
    if (!on_datagram_method_) {
      on_datagram_method_ = binding::get_attribute(protocol_.get(), names::datagram_received);
    }
    Ref method = on_datagram_method_.copy();  // the protocol may be switched by its own call
    ContextScope scope(context_.get());
    result = binding::call(method.get(), bytes.get(), peer.get());
  } catch (const binding::PythonError&) {
    // reported below
  }
  if (!result) upcall_failed("datagram_received");
}

void DatagramTransport::on_error(net::IoStep /*step*/, int error_number) {
  binding::set_os_error(error_number);
  error_received(binding::take_exception());
}

void DatagramTransport::error_received(Ref error) {
  Ref result;
  try {
    ContextScope scope(context_.get());
    result = binding::call_method(protocol_.get(), names::error_received, error.get());
  } catch (const binding::PythonError&) {
    // reported below
  }
  if (!result) upcall_failed("error_received");
}

void DatagramTransport::on_sent() {
  if (!protocol_paused_) return;
  ContextScope scope(context_.get());
  resume_protocol_if_possible();
}

// --- the end -----------------------------------------------------------------------------------

void DatagramTransport::close() {
  if (closing_) return;
  if (datagram_.backlog_bytes() == 0) loop_.check_thread();  // else asyncio schedules nothing yet
  closing_ = true;
  datagram_.close();
  if (datagram_.backlog_bytes() == 0 && lost_count_ == 0) ++lost_count_;
}

void DatagramTransport::on_closed() {
  call_connection_lost();
  release();
}

void DatagramTransport::let_go() {
  on_datagram_method_ = Ref();
  last_peer_object_ = Ref();
}

std::vector<PyMethodDef> DatagramTransport::methods() {
  using binding::method;
  using T = DatagramTransport;
  std::vector<PyMethodDef> table = shared_methods<T>();
  table.insert(
      table.end(),
      {
          method<&T::sendto>(
              "sendto", "sendto($self, data, addr=None)\n--\n\nQueue a datagram; never blocks."),
          method<&T::close>("close", "close($self)\n--\n\nClose after the backlog is sent."),
          method<&T::is_reading>("is_reading", "is_reading($self)\n--\n\nTrue until it is closed."),
          method<&T::set_protocol>("set_protocol",
                                   "set_protocol($self, protocol)\n--\n\nSwitch the protocol."),
          method<&T::start_reading>("_start_reading", nullptr),
      });
  return table;
}

std::vector<PyGetSetDef> DatagramTransport::attributes() {
  return shared_attributes<DatagramTransport>();
}

void define_datagram_transport(PyObject* module) {
  // asyncio's own is a Transport as well.
  Ref stream = binding::import_from("asyncio.transports", "_FlowControlMixin");
  Ref datagram = binding::import_from("asyncio", "DatagramTransport");
  Ref bases = Ref::checked(PyTuple_Pack(2, stream.get(), datagram.get()));
  DatagramTransportType::define(module, bases.get());
}

}  // namespace rloop::native
