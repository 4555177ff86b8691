// asyncio's transport over a connected stream socket.
//
// The semantics of asyncio.selector_events._SelectorSocketTransport over a net::Stream: this file
// knows the protocol's methods, the bytes move in the core. As in asyncio a method is looked up for
// each call, so that a protocol may replace it at any time; of which kind the protocol is, is asked
// when it is set. An accepted connection has no Python socket until somebody asks for one. Needs
// the GIL.
#pragma once

#include "binding/buffer.hpp"
#include "native/transport.hpp"

namespace rloop::native {

class StreamTransport final : public Transport, public net::StreamEvents {
 public:
  static constexpr const char* kName = "rloop._core.StreamTransport";
  static constexpr const char* kDoc = "A transport over a connected stream socket.";
  static constexpr bool kWeakReferences = true;
  static constexpr bool kInstanceDict = true;  // programs hang their own things on transports
  static constexpr bool kKeepsReferences = true;

  // What a listener knows of a connection, which has no Python socket yet.
  struct Accepted {
    base::UniqueFd descriptor;
    const base::Address& peer;
    Ref contexts;  // ConnectionContexts
    int protocol;  // of the listening socket, as its `proto` says; -1: not known
  };

  // Makes the transport and schedules its start (Transport::enter_loop). `socket`, `waiter`,
  // `extra`, `server`, `context` may be null; without a socket the connection was accepted.
  static Ref open(Loop& loop, int fd, PyObject* socket, PyObject* protocol, PyObject* waiter,
                  PyObject* extra, PyObject* server, PyObject* context,
                  Accepted* accepted = nullptr);
  StreamTransport(Loop& loop, int fd, PyObject* socket, PyObject* extra, PyObject* server);

  int fd() const override { return stream_.fd(); }
  int number() const override { return stream_.number(); }
  PyObject* object() const override;
  size_t backlog() const override { return stream_.backlog_bytes(); }
  void flush_backlog() override { stream_.settle(); }

  // --- asyncio.Transport ---
  void write(const Arguments& arguments) { write_data(arguments.only("data", "write")); }
  void writelines(const Arguments& arguments);
  void write_eof();
  // asyncio.StreamWriter.drain() asks it: what was written before has left when that returns.
  bool is_closing() {
    if (!closing_) stream_.drain();
    return closing_;
  }
  bool can_write_eof() { return true; }
  void close();
  void pause_reading();
  void resume_reading();
  bool is_reading() { return !closing_ && !stream_.reading_paused(); }
  bool reading_paused() override { return stream_.reading_paused(); }
  const net::Traffic& traffic() const override { return stream_.traffic(); }
  const char* kind() const override { return "stream"; }
  void set_protocol(const Arguments& arguments);

  void start_reading();
  // A future of sendfile: done when the backlog is sent, failed when the connection is lost; while
  // it is set nothing may be written. Null is None.
  Ref get_empty_waiter() { return Ref::borrow(empty_waiter_ ? empty_waiter_.get() : Py_None); }
  void set_empty_waiter(PyObject* future) {
    empty_waiter_ = Ref::borrow(future == Py_None ? nullptr : future);
  }

  void count_sent(PyObject* size);  // by sendfile

  // What ServerClients keeps in the transport instead of a list of its own.
  bool has_server(PyObject* server) const { return server_.is(server); }
  bool is_client() { return is_client_; }
  bool is_client_of(PyObject* server) override { return is_client_ && has_server(server); }
  // Whether that changes it.
  bool set_client(bool is_client) { return std::exchange(is_client_, is_client) != is_client; }

  void forget() override { stream_.forget(); }
  void start_over() override { stream_.start_over(); }

  // --- net::StreamEvents ---
  void on_data(std::span<const std::byte> data) override;
  std::span<std::byte> next_buffer(size_t hint) override;
  std::span<std::byte> memory_for_much(size_t most) override;
  void on_buffer_filled(size_t size) override;
  void on_buffer_unused() override;
  void on_eof() override;
  void on_sent() override;
  void on_error(net::IoStep step, int error_number) override;
  void on_joining() override { loop_.note_end(made_); }
  void on_closed() override;

  static std::vector<PyMethodDef> methods();
  static std::vector<PyGetSetDef> attributes();
  template <class Each>
  void references(Each each) {
    shared_references(each);
    each(server_);
    each(empty_waiter_);
  }
  template <class Each>
  void kept_references(Each each) {
    each(socket_);
  }

 private:
  void follow_number(const int* holder) override { stream_.follow(holder); }
  void abort_io() override { stream_.abort(); }
  void abandon_io() override { stream_.abandon(); }
  void let_go() override;

  void use_protocol(PyObject* protocol);
  bool may_feed_reader(PyObject* protocol);
  std::span<std::byte> lent_memory(PyObject* buffer);
  void write_data(PyObject* data);
  template <class HandOver>
  void send(HandOver hand_over);
  void refuse_during_sendfile(const char* text);
  void write_lost_lines(PyObject* list_of_data);
  void finish_empty_waiter(binding::Name& method, PyObject* outcome);

  net::Stream stream_;
  Ref server_;
  Ref empty_waiter_;
  std::unique_ptr<binding::BufferView> buffer_;  // what a BufferedProtocol lends; null for others
  bool eof_written_ = false;
  bool is_buffered_ = false;  // the protocol is a BufferedProtocol
  bool is_client_ = false;    // it is in its Server's set
};

using StreamTransportType = binding::HeapType<StreamTransport>;

inline PyObject* StreamTransport::object() const {
  return StreamTransportType::object(this);
}

void define_stream_transport(PyObject* module);

}  // namespace rloop::native
