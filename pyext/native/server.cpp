// Accepting connections for a Server; see server.hpp.
#include "native/server.hpp"

#include <sys/socket.h>

#include <cerrno>

#include "base/log.hpp"
#include "binding/socket_number.hpp"
#include "native/names.hpp"
#include "native/stream_transport.hpp"
#include "native/upcall.hpp"

namespace rloop::native {

using base::LogLevel;

namespace {

// The `proto` that accept() of the socket would give a connection's; -1: asked of each.
int protocol_of(PyObject* socket) {
  Ref number = Ref::steal(PyObject_GetAttrString(socket, "proto"));
  long value = number && PyLong_Check(number.get()) ? PyLong_AsLong(number.get()) : -1;
  PyErr_Clear();
  return value >= 0 && value <= INT16_MAX ? static_cast<int>(value) : -1;
}

Ref os_error(int error_number) {
  binding::set_os_error(error_number);
  return binding::take_exception();
}

}  // namespace

Ref ServerListener::create(Loop& loop, PyObject* protocol_factory, PyObject* socket,
                           PyObject* server, PyObject* context) {
  int fd = descriptor_number(socket);
  Ref listener = ServerListenerType::create(loop, protocol_factory, socket, fd, server);
  ServerListener& value = ServerListenerType::value(listener.get());
  value.context_ = Ref::checked(PyContext_CopyCurrent());
  value.server_context_ = Ref::borrow(context);
  value.protocol_ = protocol_of(socket);
  value.contexts_ = ConnectionContextsType::create(context ? context : value.context_.get());
  value.listener_.follow(binding::place_of_number(socket, fd));
  return listener;
}

ServerListener::ServerListener(Loop& loop, PyObject* protocol_factory, PyObject* socket, int fd,
                               PyObject* server)
    : loop_(loop),
      loop_object_(Ref::borrow(loop.object())),
      protocol_factory_(Ref::borrow(protocol_factory)),
      socket_(Ref::borrow(socket)),
      server_(Ref::borrow(server)),
      listener_(loop.context(), *this, fd) {}

void ServerListener::start(Ref self) {
  listener_.start();  // first: without memory for it nobody keeps us
  kept_by_loop_ = std::move(self);
  loop_.listener_started(*this);
  base::log(LogLevel::debug, "server", "TCP server started [fd=", listener_.fd(), "]");
}

void ServerListener::resume() {
  listener_.start();
}

// The port refuses connections, and can be bound again, when Server.close() returns, as with
// asyncio; unless others hold the socket, who then take what waits in its backlog.
void ServerListener::stop() {
  if (!kept_by_loop_) return;
  listener_.stop();
  Ref socket = socket_.copy();
  binding::call_method(socket.get(), names::close);
}

void ServerListener::on_stopped() {
  base::log(LogLevel::debug, "server", "TCP server stopped [fd=", listener_.fd(), "]");
  release();
}

void ServerListener::abandon() {
  listener_.abandon();
}

void ServerListener::release() {
  if (linked()) loop_.listener_stopped(*this);
  Ref self = std::move(kept_by_loop_);
}

// A copy of the context for this connection: the factory is called in it, and with the Server's
// own the protocol too.
void ServerListener::on_accepted(base::UniqueFd connection, const base::Address& peer) {
  contained(loop_, [&] {
    PyObject* original = server_context_ ? server_context_.get() : context_.get();
    Ref copy = Ref::checked(PyContext_Copy(original));
    ContextScope scope(copy.get());
    try {
      make_connection(std::move(connection), peer, server_context_ ? copy.get() : nullptr);
    } catch (const binding::PythonError&) {
      Ref error = binding::take_exception();
      if (is_exit(error.get())) return loop_.interrupt(std::move(error));
      HandlingScope handling(error.get());
      names::report("connection_setup_failed", loop_object_.get(), error.get());
    }
  });
}

void ServerListener::make_connection(base::UniqueFd connection, const base::Address& peer,
                                     PyObject* context) {
  Ref protocol = binding::call(protocol_factory_.get());
  int fd = connection.get();
  StreamTransport::Accepted accepted{std::move(connection), peer, contexts_.copy(), protocol_};
  StreamTransport::open(loop_, fd, nullptr, protocol.get(), nullptr, nullptr, server_.get(),
                        context, &accepted);
}

void ServerListener::on_exhausted(int error_number) {
  ContextScope scope(context_.get());
  contained(loop_, [&] {
    Ref error = os_error(error_number);
    Ref resume = Ref::checked(PyObject_GetAttrString(ServerListenerType::object(this), "_resume"));
    HandlingScope handling(error.get());
    names::report("accept_exhausted", loop_object_.get(), socket_.get(), error.get(), resume.get());
  });
}

void ServerListener::on_accept_error(int error_number) {
  ContextScope scope(context_.get());
  contained(loop_, [&] {
    Ref error = os_error(error_number);
    HandlingScope handling(error.get());
    names::report("accept_failed", loop_object_.get(), socket_.get(), error.get());
  });
}

std::vector<PyMethodDef> ServerListener::methods() {
  return {binding::method<&ServerListener::resume>(
      "_resume", "_resume($self)\n--\n\nGo on accepting after it was suspended.")};
}

}  // namespace rloop::native
