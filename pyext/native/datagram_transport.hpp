// asyncio's transport over a datagram socket.
//
// The semantics of asyncio.selector_events._SelectorDatagramTransport over a net::Datagram, but
// for three things that users of the peers asked for: several datagrams come and go per turn,
// empty ones are sent on every version, and an error of one datagram does not hold up the others.
// Needs the GIL.
#pragma once

#include "native/transport.hpp"
#include "net/datagram.hpp"

namespace rloop::native {

class DatagramTransport final : public Transport, public net::DatagramEvents {
 public:
  static constexpr const char* kName = "rloop._core.DatagramTransport";
  static constexpr const char* kDoc = "A transport over a datagram socket.";
  static constexpr bool kWeakReferences = true;
  static constexpr bool kInstanceDict = true;  // programs hang their own things on transports
  static constexpr bool kKeepsReferences = true;

  // Makes the transport and schedules its start (Transport::enter_loop). `address` (the only one
  // that may be sent to), `waiter` and `extra` may be null.
  static Ref open(Loop& loop, PyObject* socket, PyObject* protocol, PyObject* address,
                  PyObject* waiter, PyObject* extra);
  DatagramTransport(Loop& loop, int fd, int family, PyObject* socket, PyObject* address,
                    PyObject* extra);

  int fd() const override { return datagram_.fd(); }
  int number() const override { return datagram_.number(); }
  PyObject* object() const override;
  size_t backlog() const override;
  void flush_backlog() override { datagram_.flush(); }

  // --- asyncio.DatagramTransport ---
  void sendto(const Arguments& arguments);
  void close();
  void pause_reading();
  void resume_reading();
  bool is_reading() { return !closing_ && !datagram_.reading_paused(); }
  bool reading_paused() override { return datagram_.reading_paused(); }
  const net::Traffic& traffic() const override { return datagram_.traffic(); }
  const char* kind() const override { return "datagram"; }
  void set_protocol(const Arguments& arguments);

  void start_reading();
  void forget() override { datagram_.forget(); }

  // --- net::DatagramEvents ---
  void on_datagram(std::span<const std::byte> data, const base::Address& from) override;
  void on_error(net::IoStep step, int error_number) override;
  void on_sent() override;
  void on_joining() override { loop_.note_end(made_); }
  void on_closed() override;

  // What a datagram that waits counts for beside its data; the running asyncio's.
  static inline size_t header_bytes_ = 0;

  static std::vector<PyMethodDef> methods();
  static std::vector<PyGetSetDef> attributes();
  template <class Each>
  void references(Each each) {
    shared_references(each);
    each(address_);
    each(last_peer_object_);
    each(raised_);
  }
  template <class Each>
  void kept_references(Each each) {
    each(socket_);
  }

 private:
  void follow_number(const int* holder) override { datagram_.follow(holder); }
  void abort_io() override { datagram_.abort(); }
  void abandon_io() override { datagram_.abandon(); }
  void let_go() override;

  void check_destination(PyObject* address);
  std::optional<base::Address> literal_destination(PyObject* address);
  std::optional<base::Address> unix_address(PyObject* address);
  bool sent_by_socket(PyObject* bytes, PyObject* address);
  base::Address resolved_destination(PyObject* address);
  Ref peer_object(const base::Address& from);
  bool error_received(PyObject* error);

  net::Datagram datagram_;
  int family_;
  Ref address_;  // the only destination, or null
  // Within sendto() what goes wrong is told in the caller's context, and what error_received raises
  // there is the caller's, both as asyncio. (Numbers: it is called again in error_received.)
  int sendto_depth_ = 0;
  bool losing_ = false;  // connection_lost is called, the socket is still open
  Ref raised_;
  // Datagrams often come in a row from one peer, and are answered with the tuple that came.
  base::Address last_peer_;
  Ref last_peer_object_;
};

using DatagramTransportType = binding::HeapType<DatagramTransport>;

inline PyObject* DatagramTransport::object() const {
  return DatagramTransportType::object(this);
}

void define_datagram_transport(PyObject* module);

}  // namespace rloop::native
