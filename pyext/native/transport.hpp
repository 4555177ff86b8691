// What the stream and the datagram transport have in common.
//
// asyncio's _SelectorTransport without the bytes: the loop and the protocol, contexts, flow
// control, extra info, failures, and the end. A transport's protocol is called in one context: the
// very one that asyncio hands over (streams from 3.15 on), else a copy of that of its maker; while
// nobody could tell, accepted connections share one (ConnectionContexts). The
// loop keeps one reference from open until nothing is in flight and connection_lost was called.
// Derived classes hold the socket's state machine of the core. Needs the GIL.
#pragma once

#include "base/address.hpp"
#include "base/fd.hpp"
#include "binding/heap_type.hpp"
#include "native/connection_contexts.hpp"
#include "native/loop.hpp"
#include "native/upcall.hpp"
#include "net/stream.hpp"

namespace rloop::native {

// (host, port), (host, port, flow, scope), str, bytes or None, as the socket module gives it.
Ref address_object(const base::Address& address);

class Transport : public base::ListNode<OpenTransportTag> {
 public:
  virtual int fd() const = 0;      // for tables and logs
  virtual int number() const = 0;  // for system calls; see op::Descriptor::number
  virtual PyObject* object() const = 0;
  // What the kernel has not taken yet, in bytes, and the attempt to make it less before the program
  // looks, or goes on with the socket itself.
  virtual size_t backlog() const = 0;
  virtual void flush_backlog() = 0;
  virtual bool reading_paused() = 0;
  virtual const net::Traffic& traffic() const = 0;
  virtual const char* kind() const = 0;  // for operators
  virtual bool is_client_of(PyObject* /*server*/) { return false; }

  // --- asyncio.BaseTransport and flow control ---
  void abort();
  bool is_closing() { return closing_; }
  void set_write_buffer_limits(const Arguments& arguments);
  Ref get_write_buffer_limits();
  size_t get_write_buffer_size();
  Ref get_protocol() { return Ref::borrow(protocol_ ? protocol_.get() : Py_None); }
  Ref get_extra_info(const Arguments& arguments);
  Ref repr();
  void finalize();

  // asyncio's private ones that sslproto, Server and tests use.
  void force_close(PyObject* exception);
  void fatal_error(const Arguments& arguments);
  // -1 once the program has closed the socket: the number may be another connection's.
  int descriptor() { return closed_ ? -1 : number(); }
  Ref get_socket();
  Ref get_loop() { return loop_object_.copy(); }
  bool protocol_paused() { return protocol_paused_; }
  Ref get_extra() { return extra_ ? extra_.copy() : Ref::checked(PyDict_New()); }
  size_t unsent_bytes() { return backlog(); }
  // What an operator asks of a connection (transport_statistics.cpp).
  Ref statistics();
  const char* state();
  Ref describe();
  // The program may write to the socket by itself from now on.
  void share_socket();

  // At the end of the loop: ends everything without an event; then lets go.
  void abandon() {
    abandoned_ = true;
    abandon_io();
  }
  // In the child of a fork: the loop is dead; or it goes on with an engine of its own.
  virtual void forget() = 0;
  virtual void start_over() {}
  void release();

  Ref kept_by_loop_;

 protected:
  Transport(Loop& loop, PyObject* socket, PyObject* extra)
      : loop_(loop),
        loop_object_(Ref::borrow(loop.object())),
        socket_(Ref::borrow(socket)),
        extra_(Ref::borrow(extra)) {}
  ~Transport() = default;

  virtual void abort_io() = 0;
  virtual void abandon_io() = 0;
  // The end of what the derived class holds; connection_lost was called.
  virtual void let_go() = 0;

  template <class Each>
  void shared_references(Each each) {
    each(loop_object_);
    each(transport_socket_);
    each(protocol_);
    each(context_);
    each(contexts_);
    each(extra_);
    each(error_);
  }
  // The tables of what T inherits from here.
  template <class T>
  static std::vector<PyMethodDef> shared_methods();
  template <class T>
  static std::vector<PyGetSetDef> shared_attributes();

  // Where `socket_` keeps the descriptor's number, for the core; null when it is ours alone.
  virtual void follow_number(const int* holder) = 0;
  void follow_socket();
  // What is written must leave in the order of the calls: the program holds the socket, or a copy.
  bool program_has_socket() const;
  void take_back_unused_socket();

  // `peer`: the remote address if it is known already. Throws OSError when the descriptor is not
  // open. (That it is no socket is found by who uses it: a test's imitation of a socket is never
  // used.)
  void read_addresses(const base::Address* peer = nullptr);
  // For families whose addresses only the socket module knows: takes them from the Python socket.
  void read_unusual_addresses();
  // Puts the transport under the loop's care and schedules connection_made, start_reading and the
  // waiter's result, in this order, in `context`; null: in copies of the current one. When it
  // throws, the transport is closed.
  // `connection_made` is the protocol's method, looked up by the caller: a protocol without it is
  // refused before anybody counts the connection.
  void enter_loop(PyObject* protocol, Ref connection_made, PyObject* waiter, PyObject* context);

  // True when data must be dropped: the connection is lost. Warns as asyncio after some.
  bool reject_write();
  void pause_protocol_if_needed();  // may throw, out of the user's write()
  void resume_protocol_if_possible();
  void flow_control_failed(const char* message);

  // Enters the context of the upcalls for a scope, which the transport outlives.
  class InContext;
  bool shares_current_context() const;
  PyObject* own_context();
  Ref borrow_context();
  Ref lent_for_upcall();
  void settle_context(Ref lent);

  void fail(const char* message);
  void fail_with(Ref error, const char* message);
  void lose_connection(Ref error);
  void call_connection_lost();
  void release_in_context();
  void upcall_failed(const char* method, std::initializer_list<PyObject*> arguments);
  Ref python_socket();
  void make_python_socket();
  void close_own_descriptor();

  Loop& loop_;
  Ref loop_object_;
  base::UniqueFd own_fd_;         // until a Python socket object owns it
  int16_t socket_makers_ = 0;     // threads that make such an object now
  int16_t socket_protocol_ = -1;  // for it; -1: what the kernel says
  // socket.socket, or null. Never cleared by the collector: the core looks at its number.
  Ref socket_;
  Ref transport_socket_;  // what get_extra_info('socket') gave
  Ref protocol_;
  // The upcalls run in it. Null: in the one that `contexts_` (ConnectionContexts, or null) lends.
  Ref context_;
  Ref contexts_;
  Ref extra_;  // dict, or null
  Ref error_;  // for connection_lost
  base::Address local_, remote_;
  size_t high_water_ = 64 * 1024;  // bytes
  size_t low_water_ = 16 * 1024;
  size_t largest_backlog_ = 0;  // bytes, of what a write could not hand over at once
  int64_t made_at_ns_ = base::now_ns();
  uint32_t pause_count_ = 0;  // calls of pause_writing
  int lost_count_ = 0;        // asyncio's _conn_lost: 0 while writes are accepted
  bool closing_ = false;
  bool closed_ = false;
  bool abandoned_ = false;
  bool borrows_context_ = false;  // an upcall is under way in a lent one
  bool protocol_paused_ = false;
  bool made_ = false;           // connection_made was called
  bool socket_shared_ = false;  // the program took its number or a copy
  uint8_t sockets_made_ = 0;    // Python sockets for own_fd_; two stand for more
};

class Transport::InContext {
 public:
  explicit InContext(Transport& transport)
      : transport_(transport),
        lent_(transport.contexts_ ? transport.lent_for_upcall() : Ref()),
        scope_(lent_ ? lent_.get() : transport.context_.get()) {}
  ~InContext() {
    scope_.leave();
    if (transport_.contexts_) transport_.settle_context(std::move(lent_));
  }
  InContext(const InContext&) = delete;
  InContext& operator=(const InContext&) = delete;

 private:
  Transport& transport_;
  Ref lent_;
  ContextScope scope_;
};

// TypeError unless data is bytes, bytearray or memoryview, with asyncio's text.
void require_bytes_like(PyObject* data, const char* refusal);
// Exact bytes on their way to the kernel.
net::Segment segment_of(Ref bytes);

template <class T>
std::vector<PyMethodDef> Transport::shared_methods() {
  using binding::method;
  return {
      method<&Transport::abort, T>("abort",
                                   "abort($self)\n--\n\nClose at once; the backlog is lost."),
      method<&T::is_closing, T>("is_closing",
                                "is_closing($self)\n--\n\nTrue once close or abort was called."),
      method<&Transport::set_write_buffer_limits, T>(
          "set_write_buffer_limits",
          "set_write_buffer_limits($self, high=None, low=None)\n--\n\n"
          "Water marks of the backlog in bytes."),
      method<&Transport::get_write_buffer_limits, T>(
          "get_write_buffer_limits", "get_write_buffer_limits($self)\n--\n\n(low, high) in bytes."),
      method<&Transport::get_write_buffer_size, T>(
          "get_write_buffer_size", "get_write_buffer_size($self)\n--\n\nThe backlog in bytes."),
      method<&Transport::get_protocol, T>("get_protocol",
                                          "get_protocol($self)\n--\n\nThe current protocol."),
      method<&Transport::get_extra_info, T>(
          "get_extra_info",
          "get_extra_info($self, name, default=None)\n--\n\n'socket', 'sockname', 'peername', "
          "'statistics'."),
      method<&Transport::share_socket, T>("_share_socket", nullptr),
      method<&Transport::force_close, T>("_force_close", nullptr),
      method<&Transport::fatal_error, T>("_fatal_error", nullptr),
  };
}

template <class T>
std::vector<PyGetSetDef> Transport::shared_attributes() {
  using binding::attribute;
  return {
      attribute<&Transport::descriptor, T>("_sock_fd", nullptr),
      attribute<&Transport::get_socket, T>("_sock", nullptr),
      attribute<&Transport::reading_paused, T>("_paused", nullptr),
      attribute<&Transport::unsent_bytes, T>("_backlog_bytes", nullptr),
      attribute<&Transport::get_loop, T>("_loop", nullptr),
      attribute<&Transport::protocol_paused, T>("_protocol_paused", nullptr),
      attribute<&Transport::get_extra, T>("_extra", nullptr),
  };
}

}  // namespace rloop::native
