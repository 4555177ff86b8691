// Counting a Server's transports, and when its own methods have to be called; see
// server_clients.hpp.
//
// `_sockets` of a server that is closed is None: then _attach refuses, and _detach may have to wake
// who waits for the last connection.
#include "native/server_clients.hpp"

#include "native/names.hpp"
#include "native/overrides.hpp"

namespace rloop::native {
namespace {

using Type = binding::HeapType<ServerClients>;

// Before 3.13 a Server counts its connections by itself.
constexpr bool kServerKnowsTransports = PY_VERSION_HEX >= 0x030D0000;

// A function of asyncio's that nobody has replaced, with its code; null where somebody has.
struct OwnFunction {
  PyObject* function = nullptr;
  PyObject* code = nullptr;

  void find(const char* finder) {
    function = own_function(finder);
    if (function) code = Py_NewRef(PyFunction_GET_CODE(function));
  }
  bool is_method(PyObject* object, binding::Name& name) const {
    if (!function || PyFunction_GET_CODE(function) != code) return false;
    Ref method = binding::get_attribute(object, name);
    return PyMethod_Check(method.get()) && PyMethod_GET_FUNCTION(method.get()) == function;
  }
};

OwnFunction own_attach, own_detach;

// The server's set, or null where it has another one. Takes no memory.
Ref set_of(PyObject* server) {
  Ref clients = Ref::steal(PyObject_GetAttr(server, names::clients.get()));
  if (!clients) PyErr_Clear();
  bool is_ours =
      clients && Type::check(clients.get()) && Type::value(clients.get()).server().is(server);
  return is_ours ? std::move(clients) : Ref();
}

// It neither refuses connections nor has somebody to wake who waits for the last one.
bool is_serving(PyObject* server) {
  return !binding::get_attribute(server, names::sockets).is_none();
}

// The end of a connection is counted also where there is no memory to ask.
bool is_own_detach(PyObject* server) {
  try {
    return own_detach.is_method(server, names::detach);
  } catch (const binding::PythonError&) {
    bool lacks_memory = PyErr_ExceptionMatches(PyExc_MemoryError) != 0;
    PyErr_Clear();
    return lacks_memory;
  }
}

}  // namespace

void ServerClients::define(PyObject* module) {
  own_attach.find("own_attach");
  own_detach.find("own_detach");
  Type::define(module, nullptr);
}

void ServerClients::attach(PyObject* server, StreamTransport& transport) {
  if constexpr (!kServerKnowsTransports) {
    binding::call_method(server, names::attach);
    return;
  }
  Ref clients = set_of(server);
  if (clients && own_attach.is_method(server, names::attach) && is_serving(server)) {
    Type::value(clients.get()).enter(transport);
  } else {
    binding::call_method(server, names::attach, transport.object());
  }
}

void ServerClients::detach(PyObject* server, StreamTransport& transport) {
  if constexpr (!kServerKnowsTransports) {
    binding::call_method(server, names::detach);
    return;
  }
  Ref clients = set_of(server);
  if (clients && is_own_detach(server)) {
    Type::value(clients.get()).leave(transport);
    if (is_serving(server)) return;
  }
  binding::call_method(server, names::detach, transport.object());
}

void ServerClients::belong_to(PyObject* server) {
  server_ = Ref::checked(PyWeakref_NewRef(server, nullptr));
}

// None when it is gone.
Ref ServerClients::server() {
  return server_ ? binding::call(server_.get()) : Ref::borrow(Py_None);
}

bool ServerClients::is_ours(PyObject* transport) {
  if (!StreamTransportType::check(transport)) return false;
  return StreamTransportType::value(transport).has_server(server().get());
}

bool ServerClients::add(PyObject* transport) {
  if (!is_ours(transport)) return false;
  enter(StreamTransportType::value(transport));
  return true;
}

bool ServerClients::discard(PyObject* transport) {
  if (!is_ours(transport)) return false;
  leave(StreamTransportType::value(transport));
  return true;
}

void ServerClients::enter(StreamTransport& transport) {
  if (transport.set_client(true)) ++count_;
}

void ServerClients::leave(StreamTransport& transport) {
  if (transport.set_client(false)) --count_;
}

std::vector<PyMethodDef> ServerClients::methods() {
  using binding::method;
  using T = ServerClients;
  return {
      method<&T::belong_to>("_belong_to", nullptr),
      method<&T::add>("_add", nullptr),
      method<&T::discard>("_discard", nullptr),
      method<&T::is_ours>("_is_ours", nullptr),
  };
}

std::vector<PyGetSetDef> ServerClients::attributes() {
  using binding::attribute;
  return {
      attribute<&ServerClients::server>("_server", nullptr),
      attribute<&ServerClients::count>("_count", nullptr),
  };
}

}  // namespace rloop::native
