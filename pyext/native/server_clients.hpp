// Which of the loop's transports an asyncio.Server has: counted, not listed (3.13 and newer).
//
// The native base of rloop/server_clients.py's set, which stands for `Server._clients`: each
// transport knows its server and whether it is in the set. asyncio's Server._attach and _detach do
// nothing but add to it and discard from it while the server serves; as long as nobody has replaced
// them that is done here, without their 4000 instructions a connection. Needs the GIL.
#pragma once

#include "native/stream_transport.hpp"

namespace rloop::native {

class ServerClients {
 public:
  static constexpr const char* kName = "rloop._core.ServerClients";
  static constexpr const char* kDoc = "Counts the transports of a Server.";
  static constexpr bool kSubclassable = true;

  // asyncio's own _attach and _detach are known from here on.
  static void define(PyObject* module);
  static void attach(PyObject* server, StreamTransport& transport);
  static void detach(PyObject* server, StreamTransport& transport);

  // The server that has this set, before anything else; kept as a weak reference, for it holds us.
  void belong_to(PyObject* server);
  Ref server();
  // As set.add, set.discard and `in`; false when it is none of this server's transports of ours,
  // and nothing was done.
  bool add(PyObject* transport);
  bool discard(PyObject* transport);
  bool is_ours(PyObject* transport);
  size_t count() { return count_; }

  static std::vector<PyMethodDef> methods();
  static std::vector<PyGetSetDef> attributes();
  template <class Each>
  void references(Each each) {
    each(server_);
  }

 private:
  void enter(StreamTransport& transport);
  void leave(StreamTransport& transport);

  Ref server_;
  size_t count_ = 0;
};

}  // namespace rloop::native
