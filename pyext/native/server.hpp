// A listening socket of an asyncio.Server: accepts and makes the transports.
//
// The Server object itself is the running interpreter's asyncio.base_events.Server, so that
// wait_closed, close_clients and the rest are exactly that version's. This type stands behind its
// loop._start_serving. It keeps itself alive until the listener has stopped. Needs the GIL.
#pragma once

#include "binding/heap_type.hpp"
#include "native/loop.hpp"
#include "net/listener.hpp"

namespace rloop::native {

class ServerListener : public net::ListenerEvents, public base::ListNode<ListenerTag> {
 public:
  static constexpr const char* kName = "rloop._core.Listener";
  static constexpr const char* kDoc = "Accepts the connections of one listening socket.";
  static constexpr bool kKeepsReferences = true;

  // `server` and `context` may be null.
  static Ref create(Loop& loop, PyObject* protocol_factory, PyObject* socket, PyObject* server,
                    PyObject* context);
  ServerListener(Loop& loop, PyObject* protocol_factory, PyObject* socket, int fd,
                 PyObject* server);

  void start(Ref self);
  void stop();
  // At the end of the loop: no further connection, no event; the socket stays the user's.
  void abandon();
  void release();
  // Until it is stopped.
  bool serves(PyObject* socket) const { return socket_.is(socket) && !listener_.stopping(); }
  void resume();  // after accepting was suspended for lack of descriptors

  void on_accepted(base::UniqueFd connection, const base::Address& peer) override;
  void on_exhausted(int error_number) override;
  void on_accept_error(int error_number) override;
  void on_stopped() override;

  static std::vector<PyMethodDef> methods();
  static std::vector<PyGetSetDef> attributes() { return {}; }
  template <class Each>
  void references(Each each) {
    each(loop_object_);
    each(protocol_factory_);
    each(server_);
    each(context_);
    each(server_context_);
    each(contexts_);
  }
  template <class Each>
  void kept_references(Each each) {
    each(socket_);
  }
  Ref kept_by_loop_;

 private:
  void make_connection(base::UniqueFd connection, const base::Address& peer, PyObject* context);

  Loop& loop_;
  Ref loop_object_;
  Ref protocol_factory_;
  Ref socket_;   // never cleared by the collector: the core looks at its number
  Ref server_;   // or null
  Ref context_;  // of start_serving
  // The Server's own, which asyncio hands over from 3.15 on, or null: then it is context_ of which
  // each connection has a copy.
  Ref server_context_;
  Ref contexts_;       // ConnectionContexts of the one of them that counts
  int protocol_ = -1;  // of the socket
  net::Listener listener_;
};

using ServerListenerType = binding::HeapType<ServerListener>;

}  // namespace rloop::native
