// The loop's I/O entry points: readers and writers, transports, listeners, sock_*; see loop.hpp.
//
// Here asyncio's arguments and errors are checked and become calls of the reactor or of the rooms
// that do the work (stream_transport, server, requests); nothing here runs per message.
#include <algorithm>

#include "native/datagram_transport.hpp"
#include "native/fd_watch.hpp"
#include "native/loop.hpp"
#include "native/names.hpp"
#include "native/requests.hpp"
#include "native/server.hpp"
#include "native/stream_transport.hpp"

namespace rloop::native {

namespace {

// int(file_object.fileno()), or the int itself; what is too large for a descriptor is LONG_MAX.
long number_of(PyObject* file_object) {
  Ref number = Ref::borrow(file_object);
  if (!PyLong_Check(file_object)) {
    number = binding::try_call_method(file_object, names::fileno);
    if (number) number = Ref::steal(PyNumber_Long(number.get()));
  }
  if (!number) {
    // As in `selectors`: only these mean that it is no file object.
    bool is_no_file = PyErr_ExceptionMatches(PyExc_AttributeError) ||
                      PyErr_ExceptionMatches(PyExc_TypeError) ||
                      PyErr_ExceptionMatches(PyExc_ValueError);
    if (!is_no_file) throw binding::PythonError{};
    PyErr_Clear();
    binding::raise(PyExc_ValueError, "Invalid file object: %R", file_object);
  }
  int overflow = 0;
  long value = PyLong_AsLongAndOverflow(number.get(), &overflow);
  if (value == -1 && PyErr_Occurred()) throw binding::PythonError{};
  return overflow > 0 ? LONG_MAX : value;
}

[[noreturn]] void raise_invalid_number(long number) {
  binding::raise(PyExc_ValueError, "Invalid file descriptor: %ld", number);
}

}  // namespace

PyObject* context_or_null(PyObject* value) {
  if (!value || value == Py_None) return nullptr;
  if (PyContext_CheckExact(value)) return value;
  binding::raise(PyExc_TypeError, "a contextvars.Context was expected, got %.200s",
                 Py_TYPE(value)->tp_name);
}

int descriptor_number_or_closed(PyObject* file_object) {
  long number = number_of(file_object);
  if (number < 0 && PyLong_Check(file_object)) raise_invalid_number(number);
  return number < 0 ? -1 : static_cast<int>(std::min<long>(number, INT_MAX));
}

int descriptor_number(PyObject* file_object) {
  long number = number_of(file_object);
  if (number < 0) raise_invalid_number(number);
  if (number > INT_MAX) {
    binding::raise(PyExc_OverflowError, "Python int too large to convert to C int");
  }
  return static_cast<int>(number);
}

int socket_number(PyObject* socket) {
  // A number is no socket: to take it would read from or write to whatever has it.
  if (PyLong_Check(socket)) {
    binding::raise(PyExc_AttributeError, "'%s' object has no attribute 'fileno'",
                   Py_TYPE(socket)->tp_name);
  }
  int number = descriptor_number_or_closed(socket);
  if (number < 0) binding::raise_os_error(EBADF);
  return number;
}

// --- add_reader and friends --------------------------------------------------------------------

Ref Loop::watch(const Arguments& arguments, op::Direction direction, const char* method,
                bool may_be_transports) {
  Ref replaced_object;  // dropped last: its finalizer may come back here
  PyObject* room[2];
  // From 3.15 on asyncio's own transports say in which context they are called.
  binding::Name* keyword = may_be_transports ? &names::context : nullptr;
  auto [given, context] = arguments.leading({"fd", "callback"}, room, keyword, method);
  PyObject* fd = given[0];
  if (!may_be_transports) ensure_fd_no_transport(fd);
  check_closed();
  check_fork();
  int number = descriptor_number(fd);
  // Of its own: what the callback sets in its context, it finds there the next time.
  Ref entered =
      context && context != Py_None ? Ref::borrow(context) : Ref::checked(PyContext_CopyCurrent());
  Ref handle = make_handle(given[1], arguments.rest(2), entered.get());
  PyObject_GC_Track(handle.get());  // it stays
  if (debug_) keep_source_traceback(handle_of(handle.get()));
  check_closed();                                // while Python code ran
  auto made = std::make_unique<FdWatch>(*this);  // first: without memory the table stays as it is
  std::unique_ptr<FdWatch>& watch = watches_.try_emplace(number, std::move(made)).first->second;
  HandleWatcher& side = watch->side(direction);
  base::Result result = reactor_->watch(number, direction, side);
  if (!result.ok()) {
    if (watch->empty()) watches_.erase(number);
    binding::raise_os_error(result.error_number());
  }
  if (!PyLong_Check(fd)) replaced_object = std::exchange(watch->file_object, Ref::borrow(fd));
  Ref replaced = std::move(side.handle);
  side.handle = handle.copy();
  if (replaced) handle_of(replaced.get()).cancel();
  return handle;
}

bool Loop::unwatch(PyObject* fd, op::Direction direction) {
  if (closed_) return false;
  int number = descriptor_number_or_closed(fd);
  auto found = watches_.find(number);
  if (found == watches_.end()) {
    // A socket that was closed first is still known by itself, as in `selectors`.
    found = std::find_if(watches_.begin(), watches_.end(),
                         [fd](const auto& entry) { return entry.second->file_object.is(fd); });
  }
  if (found == watches_.end()) {
    if (number < 0) raise_invalid_number(number);
    return false;
  }
  std::unique_ptr<FdWatch> emptied;  // dropped last: its object's finalizer may come back here
  reactor_->unwatch(found->first, direction);
  Ref handle = std::move(found->second->side(direction).handle);
  if (found->second->empty()) {
    emptied = std::move(found->second);
    watches_.erase(found);
  }
  if (!handle) return false;
  handle_of(handle.get()).cancel();
  return true;
}

// As a mask of the `selectors` module: 1 to read, 2 to write.
int Loop::watched_events(PyObject* fd) {
  auto found = watches_.find(descriptor_number(fd));
  if (found == watches_.end()) return 0;
  FdWatch& watch = *found->second;
  return (watch.side(op::Direction::read).handle ? 1 : 0) |
         (watch.side(op::Direction::write).handle ? 2 : 0);
}

Ref Loop::add_reader(const Arguments& arguments) {
  watch(arguments, op::Direction::read, "add_reader", /*may_be_transports=*/false);
  return Ref::borrow(Py_None);
}

Ref Loop::add_writer(const Arguments& arguments) {
  watch(arguments, op::Direction::write, "add_writer", /*may_be_transports=*/false);
  return Ref::borrow(Py_None);
}

bool Loop::remove_reader(const Arguments& arguments) {
  PyObject* fd = arguments.only("fd", "remove_reader");
  ensure_fd_no_transport(fd);
  return unwatch(fd, op::Direction::read);
}

bool Loop::remove_writer(const Arguments& arguments) {
  PyObject* fd = arguments.only("fd", "remove_writer");
  ensure_fd_no_transport(fd);
  return unwatch(fd, op::Direction::write);
}

Ref Loop::quiet_add_reader(const Arguments& arguments) {
  return watch(arguments, op::Direction::read, "_add_reader", /*may_be_transports=*/true);
}

Ref Loop::quiet_add_writer(const Arguments& arguments) {
  return watch(arguments, op::Direction::write, "_add_writer", /*may_be_transports=*/true);
}

bool Loop::quiet_remove_reader(PyObject* fd) {
  return unwatch(fd, op::Direction::read);
}
bool Loop::quiet_remove_writer(PyObject* fd) {
  return unwatch(fd, op::Direction::write);
}

void Loop::ensure_fd_no_transport(PyObject* fd) {
  int number = descriptor_number_or_closed(fd);
  auto place = static_cast<size_t>(number);
  Transport* user = place < transports_by_fd_.size() ? transports_by_fd_[place] : nullptr;
  if (!user || user->is_closing()) return;
  binding::raise(PyExc_RuntimeError, "File descriptor %R is used by transport %R", fd,
                 user->object());
}

// --- transports and listeners ------------------------------------------------------------------

Ref Loop::make_socket_transport(const Arguments& arguments) {
  PyObject* given[6];
  arguments.parse({"sock", "protocol", "waiter", "extra", "server", "context"}, 2, given,
                  "_make_socket_transport");
  auto or_null = [](PyObject* value) { return value == Py_None ? nullptr : value; };
  check_closed();
  check_fork();
  ensure_fd_no_transport(given[0]);
  int fd = descriptor_number(given[0]);
  return StreamTransport::open(*this, fd, given[0], given[1], or_null(given[2]), or_null(given[3]),
                               or_null(given[4]), context_or_null(given[5]));
}

Ref Loop::make_datagram_transport(const Arguments& arguments) {
  PyObject* given[5];
  arguments.parse({"sock", "protocol", "address", "waiter", "extra"}, 2, given,
                  "_make_native_datagram_transport");
  auto or_null = [](PyObject* value) { return value == Py_None ? nullptr : value; };
  check_closed();
  check_fork();
  ensure_fd_no_transport(given[0]);
  return DatagramTransport::open(*this, given[0], given[1], or_null(given[2]), or_null(given[3]),
                                 or_null(given[4]));
}

void Loop::transport_opened(Transport& transport) {
  auto place = static_cast<size_t>(transport.fd());
  if (place >= transports_by_fd_.size()) transports_by_fd_.resize(place + 1);
  transports_.push_back(transport);  // after what may throw
  transports_by_fd_[place] = &transport;
}

void Loop::transport_closed(Transport& transport) {
  if (!transport.linked()) return;  // it was never opened
  transport.unlink();
  context_.past_traffic += transport.traffic();
  Transport*& user = transports_by_fd_[static_cast<size_t>(transport.fd())];
  if (user == &transport) user = nullptr;
}

// The open transports that are in a Server's set (rloop/server_clients.py), as a list.
Ref Loop::clients_of(PyObject* server) {
  std::vector<Ref> found;  // the list's memory may be the collector's occasion
  transports_.for_each([&](Transport& transport) {
    if (transport.is_client_of(server)) found.push_back(Ref::borrow(transport.object()));
  });
  Ref list = Ref::checked(PyList_New(0));
  for (Ref& transport : found)
    binding::check(PyList_Append(list.get(), transport.get()));
  return list;
}

void Loop::start_serving(const Arguments& arguments) {
  PyObject* given[4];
  arguments.parse({"protocol_factory", "sock", "server", "context"}, 2, given, "_listen");
  check_closed();
  check_fork();
  PyObject* server = given[2] == Py_None ? nullptr : given[2];
  Ref listener =
      ServerListener::create(*this, given[0], given[1], server, context_or_null(given[3]));
  ServerListenerType::value(listener.get()).start(listener.copy());
}

void Loop::listener_started(ServerListener& listener) {
  listeners_.push_back(listener);
}

void Loop::stop_listening(PyObject* socket) {
  // Found first and stopped then: stopping closes the socket in Python, where another thread may
  // get the GIL, and the list change. Without memory of its own: Server.close() comes once.
  bool any = false;
  while (Ref listener = serving(socket)) {
    any = true;
    ServerListenerType::value(listener.get()).stop();
  }
  if (!any) binding::call_method(socket, names::close);
}

// A listener on this socket that nobody has stopped yet, or null.
Ref Loop::serving(PyObject* socket) {
  Ref found;
  listeners_.for_each([&](ServerListener& listener) {
    if (!found && listener.serves(socket)) found = listener.kept_by_loop_.copy();
  });
  return found;
}

void Loop::listener_stopped(ServerListener& listener) {
  listener.unlink();
}

// --- sock_* --------------------------------------------------------------------------------------

Ref Loop::check_socket(PyObject* socket) {
  return native::check_socket(*this, socket);
}

Ref Loop::sock_recv(const Arguments& arguments) {
  arguments.require_exactly(2, "_sock_recv");
  return try_recv(*this, arguments.values[0], arguments.values[1]);
}

Ref Loop::sock_recv_into(const Arguments& arguments) {
  arguments.require_exactly(2, "_sock_recv_into");
  return try_recv_into(*this, arguments.values[0], arguments.values[1]);
}

Ref Loop::sock_send(const Arguments& arguments) {
  arguments.require_exactly(3, "_sock_send");
  return try_send(*this, arguments.values[0], arguments.values[1], arguments.values[2]);
}

SockRequest*& Loop::request_place(int fd, op::Direction direction) {
  auto place = static_cast<size_t>(fd);
  if (place >= requests_by_fd_.size()) requests_by_fd_.resize(place + 1);
  return requests_by_fd_[place][static_cast<size_t>(direction)];
}

Ref Loop::wait_readable(PyObject* socket) {
  check_fork();
  ensure_fd_no_transport(socket);
  return SockRequest::wait_ready(*this, socket, op::Direction::read);
}

Ref Loop::wait_writable(PyObject* socket) {
  check_fork();
  ensure_fd_no_transport(socket);
  return SockRequest::wait_ready(*this, socket, op::Direction::write);
}

}  // namespace rloop::native
