// Addresses, sending, the calls of the protocol, and the end; see datagram_transport.hpp.
#include "native/datagram_transport.hpp"

#include <cerrno>

#include "absl/cleanup/cleanup.h"
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

bool is_in_range(PyObject* number, long most) {
  int overflow = 0;
  long value = PyLong_Check(number) ? PyLong_AsLongAndOverflow(number, &overflow) : -1;
  return overflow == 0 && value >= 0 && value <= most;
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
  // No version of asyncio hands a context over for datagrams.
  self.enter_loop(protocol, binding::get_attribute(protocol, names::connection_made), waiter,
                  nullptr);
  base::log_made(base::LogLevel::debug, "transport", [&] {
    return base::concatenate("datagram transport opened [fd=", fd,
                             "] local=", self.local_.to_string());
  });
  return object;
}

// After connection_made.
void DatagramTransport::start_reading() {
  made_ = true;
  if (!closing_) datagram_.start_reading();
}

void DatagramTransport::pause_reading() {
  if (is_reading()) datagram_.pause_reading();
}

void DatagramTransport::resume_reading() {
  if (!closing_ && datagram_.reading_paused()) datagram_.resume_reading();
}

void DatagramTransport::set_protocol(const Arguments& arguments) {
  protocol_ = Ref::borrow(arguments.only("protocol", "set_protocol"));
}

size_t DatagramTransport::backlog() const {
  return datagram_.backlog_bytes() + datagram_.queued_count() * header_bytes_;
}

// --- sending -----------------------------------------------------------------------------------

void DatagramTransport::sendto(const Arguments& arguments) {
  PyObject* given[2];
  arguments.parse({"data", "addr"}, 1, given, "sendto");
  PyObject* address = given[1] ? given[1] : Py_None;
  require_bytes_like(given[0], "refuse_datagram");
  if (address_) {
    check_destination(address);
    address = address_.get();
  }
  // As asyncio: without a fixed destination datagrams go out until connection_lost has returned,
  // also after close.
  if ((address_ || closed_) && reject_write()) return;
  Ref bytes = binding::frozen_bytes(given[0]);
  ++sendto_depth_;
  absl::Cleanup leave = [this] { --sendto_depth_; };
  std::optional<base::Address> to;
  try {
    to = remote_.length() > 0 ? base::Address() : literal_destination(address);
    if ((!to || losing_) && sent_by_socket(bytes.get(), address)) return;
    if (!to) to = resolved_destination(address);
  } catch (const binding::PythonError&) {
    Ref error = binding::take_exception();
    if (PyErr_GivenExceptionMatches(error.get(), PyExc_OSError)) {
      if (!error_received(error.get())) throw;
      return;
    }
    bool leaves = is_exit(error.get());
    binding::restore_exception(std::move(error));
    if (leaves) throw;
    return fail("Fatal write error on datagram transport");
  }
  datagram_.send(segment_of(std::move(bytes)), *to, program_has_socket());
  if (Ref raised = std::move(raised_)) {
    binding::restore_exception(std::move(raised));
    throw binding::PythonError{};
  }
  pause_protocol_if_needed();
}

// What is no plain address goes out as with asyncio: names are resolved, and errors raised, by the
// socket's own sendto. So does the last word, in connection_lost: the core has let go of the
// socket. False when it would have to wait behind other datagrams.
bool DatagramTransport::sent_by_socket(PyObject* bytes, PyObject* address) {
  datagram_.flush();
  if (datagram_.queued_count() > 0 || !socket_) return false;
  Ref socket = socket_.copy();
  Ref sent = remote_.length() > 0
                 ? binding::try_call_method(socket.get(), names::send, bytes)
                 : binding::try_call_method(socket.get(), names::sendto, bytes, address);
  if (sent) return true;
  bool is_blocked = PyErr_ExceptionMatches(PyExc_BlockingIOError) ||
                    PyErr_ExceptionMatches(PyExc_InterruptedError);
  if (!is_blocked) throw binding::PythonError{};
  PyErr_Clear();
  return false;
}

void DatagramTransport::check_destination(PyObject* address) {
  if (address == Py_None || address == address_.get()) return;
  int equal = PyObject_RichCompareBool(address, address_.get(), Py_EQ);
  binding::check(equal);
  if (equal) return;
  binding::raise(PyExc_ValueError, "Invalid address: must be None or %S", address_.get());
}

// An address that needs no resolver; nullopt for any other object.
std::optional<base::Address> DatagramTransport::literal_destination(PyObject* address) {
  if (last_peer_object_.is(address)) return last_peer_;
  if (family_ == AF_UNIX) return unix_address(address);
  const char* host = nullptr;
  unsigned short port = 0;
  unsigned flow = 0, scope = 0;
  bool is_plain =
      PyTuple_Check(address) && PyArg_ParseTuple(address, "sH|II", &host, &port, &flow, &scope);
  // "H" takes any int and cuts it off, and so does "I": what does not fit is the socket's to
  // refuse.
  is_plain = is_plain && is_in_range(PyTuple_GET_ITEM(address, 1), 0xFFFF);
  for (Py_ssize_t i = 2; is_plain && i < PyTuple_GET_SIZE(address); ++i) {
    is_plain = is_in_range(PyTuple_GET_ITEM(address, i), i == 2 ? 0xFFFFF : 0xFFFFFFFF);
  }
  PyErr_Clear();
  if (!is_plain || (family_ == AF_INET && PyTuple_GET_SIZE(address) > 2)) return std::nullopt;
  std::optional<base::Address> parsed = base::Address::parse(host, port, family_);
  if (parsed && family_ == AF_INET6 && (flow || scope)) {
    // A scope that was not given is that of the host's zone.
    if (scope == 0) scope = parsed->as<sockaddr_in6>().sin6_scope_id;
    parsed->set_in6(flow, scope);
  }
  return parsed;
}

std::optional<base::Address> DatagramTransport::unix_address(PyObject* address) {
  Ref bytes;
  if (PyUnicode_Check(address)) {
    bytes = Ref::checked(PyUnicode_EncodeFSDefault(address));
  } else if (PyBytes_Check(address)) {
    bytes = Ref::borrow(address);
  } else {
    return std::nullopt;
  }
  std::string_view path(PyBytes_AS_STRING(bytes.get()),
                        static_cast<size_t>(PyBytes_GET_SIZE(bytes.get())));
  return base::Address::unix_path(path);
}

// For an address that the socket has looked at and that must wait: its literal form.
base::Address DatagramTransport::resolved_destination(PyObject* address) {
  Ref family = Ref::checked(PyLong_FromLong(family_));
  Ref literal = names::report("datagram_address", family.get(), address);
  if (std::optional<base::Address> found = literal_destination(literal.get())) return *found;
  binding::raise(PyExc_TypeError, "not an address: %R", address);
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
  Ref bytes, peer;
  try {
    bytes = Ref::checked(PyBytes_FromStringAndSize(reinterpret_cast<const char*>(data.data()),
                                                   static_cast<Py_ssize_t>(data.size())));
    peer = peer_object(from);
    Ref protocol = protocol_.copy();  // it may be switched by its own call
    ContextScope scope(context_.get());
    result =
        call_protocol(loop_, protocol.get(), names::datagram_received, bytes.get(), peer.get());
  } catch (const binding::PythonError&) {
    // no memory; reported below
  }
  if (result) [[likely]]
    return;
  if (!peer) return upcall_failed("datagram_received", {});
  upcall_failed("datagram_received", {bytes.get(), peer.get()});
}

void DatagramTransport::on_error(net::IoStep step, int error_number) {
  binding::set_os_error(error_number);
  Ref error = binding::take_exception();
  if (error_received(error.get())) return;
  // asyncio calls it within sendto(). Which datagram failed? The last one is what this sendto() was
  // given; others waited, and there asyncio reports as well.
  bool is_own = sendto_depth_ > 0 && step == net::IoStep::write && datagram_.queued_count() == 0;
  if (!is_own) return upcall_failed("error_received", {error.get()});
  raised_ = binding::take_exception();
}

// False when the protocol's method raised; the Python error is set then.
bool DatagramTransport::error_received(PyObject* error) {
  Ref protocol = protocol_.copy();
  if (!protocol) return true;  // sendto() was in the socket while the loop, in its thread, ended it
  ContextScope scope(sendto_depth_ > 0 ? nullptr : context_.get());
  HandlingScope handling(error);
  Ref result = call_protocol(loop_, protocol.get(), names::error_received, error);
  return static_cast<bool>(result);
}

void DatagramTransport::on_sent() {
  if (!protocol_paused_) return;
  ContextScope scope(context_.get());
  resume_protocol_if_possible();
}

// --- the end -----------------------------------------------------------------------------------

void DatagramTransport::close() {
  if (closing_) return;
  if (datagram_.queued_count() == 0) loop_.check_thread();  // else asyncio schedules nothing yet
  closing_ = true;
  datagram_.close();
  if (datagram_.queued_count() == 0 && lost_count_ == 0) ++lost_count_;
}

void DatagramTransport::on_closed() {
  losing_ = true;
  call_connection_lost();
  release_in_context();
}

void DatagramTransport::let_go() {
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
          method<&T::pause_reading>(
              "pause_reading", "pause_reading($self)\n--\n\nNo datagram_received until resumed."),
          method<&T::resume_reading>("resume_reading",
                                     "resume_reading($self)\n--\n\nGo on after pause_reading."),
          method<&T::is_reading>("is_reading",
                                 "is_reading($self)\n--\n\nTrue if datagrams may arrive."),
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
  Ref header = names::from_stdlib("DATAGRAM_HEADER_BYTES");
  DatagramTransport::header_bytes_ = PyLong_AsSize_t(header.get());
  if (PyErr_Occurred()) throw binding::PythonError{};
  // asyncio's own is a Transport as well.
  Ref stream = binding::import_from("asyncio.transports", "_FlowControlMixin");
  Ref datagram = binding::import_from("asyncio", "DatagramTransport");
  Ref bases = Ref::checked(PyTuple_Pack(2, stream.get(), datagram.get()));
  DatagramTransportType::define(module, bases.get());
}

}  // namespace rloop::native
