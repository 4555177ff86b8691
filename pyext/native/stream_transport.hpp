// asyncio's transport over a connected stream socket.
//
// The semantics of asyncio.selector_events._SelectorSocketTransport over a net::Stream: this file
// knows protocols, contexts, flow control and exceptions; the bytes move in the core. The
// protocol's methods are looked up once and called bound. An accepted connection has no Python
// socket until somebody asks get_extra_info('socket'). The loop keeps one reference from open until
// nothing is in flight and connection_lost was called. Needs the GIL.
#pragma once

#include "base/address.hpp"
#include "base/fd.hpp"
#include "binding/buffer.hpp"
#include "binding/heap_type.hpp"
#include "native/loop.hpp"
#include "net/stream.hpp"

namespace rloop::native {

class StreamTransport : public net::StreamEvents, public base::ListNode<OpenTransportTag> {
 public:
  static constexpr const char* kName = "rloop._core.StreamTransport";
  static constexpr const char* kDoc = "A transport over a connected stream socket.";
  static constexpr bool kWeakReferences = true;
  static constexpr bool kInstanceDict = true;  // programs hang their own things on transports

  // Makes the transport and schedules connection_made, the start of reading and the waiter's
  // result, in this order. `socket`, `waiter`, `extra`, `server` may be null; with a null socket
  // the transport takes over `fd` if it returns.
  static Ref open(Loop& loop, int fd, PyObject* socket, PyObject* protocol, PyObject* waiter,
                  PyObject* extra, PyObject* server);
  StreamTransport(Loop& loop, int fd, PyObject* socket, PyObject* extra, PyObject* server);

  int fd() const { return stream_.fd(); }

  // --- asyncio.Transport ---
  void write(PyObject* data);
  void writelines(PyObject* list_of_data);
  void write_eof();
  bool can_write_eof() { return true; }
  void close();
  void abort();
  bool is_closing() { return closing_; }
  void pause_reading();
  void resume_reading();
  bool is_reading() { return !closing_ && !stream_.reading_paused(); }
  void set_write_buffer_limits(Arguments arguments);
  Ref get_write_buffer_limits();
  size_t get_write_buffer_size();
  Ref get_protocol() { return Ref::borrow(protocol_ ? protocol_.get() : Py_None); }
  void set_protocol(PyObject* protocol);
  Ref get_extra_info(Arguments arguments);
  Ref repr();
  void finalize();

  void start_reading();
  // asyncio's private ones that sslproto and Server use.
  void force_close(PyObject* exception);
  void fatal_error(Arguments arguments);
  int descriptor() { return closed_ ? -1 : stream_.fd(); }
  Ref get_loop() { return loop_object_.copy(); }
  size_t unsent_bytes() { return stream_.backlog_bytes(); }
  bool protocol_paused() { return protocol_paused_; }
  Ref get_extra() { return extra_ ? extra_.copy() : Ref::checked(PyDict_New()); }

  // At the end of the loop: ends everything without an event; then lets go.
  void abandon();
  void forget() { stream_.forget(); }  // in the child of a fork
  void release();

  // --- net::StreamEvents ---
  void on_data(std::span<const std::byte> data) override;
  std::span<std::byte> next_buffer(size_t hint) override;
  void on_buffer_filled(size_t size) override;
  void on_buffer_unused() override { buffer_.reset(); }
  void on_eof() override;
  void on_sent() override;
  void on_error(net::IoStep step, int error_number) override;
  void on_closed() override;

  static std::vector<PyMethodDef> methods();
  static std::vector<PyGetSetDef> attributes();
  template <class Each>
  void references(Each each) {
    each(loop_object_);
    each(socket_);
    each(transport_socket_);
    each(protocol_);
    each(on_data_method_);
    each(get_buffer_method_);
    each(context_);
    each(extra_);
    each(server_);
    each(error_);
  }
  Ref kept_by_loop_;

 private:
  void use_protocol(PyObject* protocol);
  Ref data_method();
  void queue(Ref bytes);
  bool reject_write();
  void pause_protocol_if_needed();  // may throw, out of the user's write()
  void resume_protocol_if_possible();
  void flow_control_failed(const char* message);
  void lose_connection(Ref error);
  void fail(const char* message);
  void fail_with(Ref error, const char* message);
  void call_connection_lost();
  Ref python_socket();
  Ref address_tuple(const base::Address& address);

  Loop& loop_;
  Ref loop_object_;
  net::Stream stream_;
  base::UniqueFd own_fd_;  // until a Python socket object owns it
  Ref socket_;             // socket.socket, or null
  Ref transport_socket_;   // what get_extra_info('socket') gave
  Ref protocol_;
  Ref on_data_method_;     // bound data_received, or buffer_updated of a BufferedProtocol
  Ref get_buffer_method_;  // bound get_buffer of a BufferedProtocol
  Ref context_;            // the upcalls run in it
  Ref extra_;              // dict, or null
  Ref server_;
  Ref error_;  // for connection_lost
  binding::BufferView buffer_;
  base::Address local_, remote_;
  size_t high_water_ = 64 * 1024;  // bytes
  size_t low_water_ = 16 * 1024;
  int lost_count_ = 0;  // asyncio's _conn_lost: 0 while writes are accepted
  bool closing_ = false;
  bool closed_ = false;
  bool eof_written_ = false;
  bool abandoned_ = false;
  bool protocol_paused_ = false;
};

using StreamTransportType = binding::HeapType<StreamTransport>;

void define_stream_transport(PyObject* module);

}  // namespace rloop::native
