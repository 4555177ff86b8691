// A datagram socket: the state machine between messages with addresses and a reactor.
//
// Owns the operations on its descriptor and the datagrams that wait, not the descriptor's number
// (whoever made the socket closes it, in on_closed). Reports to DatagramEvents. The GIL is held
// throughout, and everything may be called from inside an event.
//
// Receiving has two ways: a multishot receive into lent buffers (the ring, INET and INET6: no
// system call per datagram), and `poll_` + recvmmsg(2). Sending: at once, or gathered and with one
// sendmmsg(2) per socket, in order (Context decides). An error of one datagram is reported and
// takes no other with it.
#pragma once

#include <array>
#include <deque>
#include <vector>

#include "base/address.hpp"
#include "net/context.hpp"
#include "net/segment.hpp"
#include "net/traffic.hpp"
#include "op/notice.hpp"
#include "op/poll.hpp"
#include "op/recv_datagram.hpp"

namespace rloop::net {

class DatagramEvents {
 public:
  // A datagram came, perhaps an empty one; lent until the call returns.
  virtual void on_datagram(std::span<const std::byte> data, const base::Address& from) = 0;
  // A system call failed (ICMP errors of earlier datagrams too); the socket goes on.
  virtual void on_error(IoStep step, int error_number) = 0;
  // The backlog became smaller.
  virtual void on_sent() = 0;
  // The end has begun; on_closed comes in a later dispatch.
  virtual void on_joining() {}
  // Nothing is in flight any more; the last event. The descriptor may be closed now.
  virtual void on_closed() = 0;

 protected:
  ~DatagramEvents() = default;
};

class Datagram : public base::ListNode<DirtyListTag> {
 public:
  Datagram(Context& context, DatagramEvents& events, int fd, int family)
      : context_(context), events_(&events), descriptor_(fd), family_(family) {}

  void start_reading();
  // No datagram and no error of a receive until resumed. What was received already is kept and
  // comes first, in order and in a later turn than resume_reading(); the rest stays in the kernel.
  void pause_reading();
  void resume_reading();
  bool reading_paused() const { return reading_paused_; }

  // `holder`: where the Python socket keeps its number; see op::Descriptor::follow.
  void follow(const int* holder) { descriptor_.follow(holder); }

  // Sends now or gathers: Context's policy, but for a full batch, and when `at_once` says that
  // somebody else may write to the socket. An empty address is the peer's that the socket is
  // connected to. May raise events.
  void send(Segment segment, const base::Address& to, bool at_once = false);
  // Sends what can be sent now, without waiting for the end of the turn. Raises events.
  void flush();
  size_t backlog_bytes() const { return backlog_bytes_; }
  const Traffic& traffic() const { return traffic_; }
  size_t queued_count() const { return queue_.size(); }  // datagrams, also empty ones

  // Stops reading; on_closed after the backlog is sent.
  void close();
  // Drops what the kernel refuses; on_closed soon.
  void abort();
  // As abort, but no further event ever; for the end of the loop.
  void abandon();
  // In the child of a fork, after the reactor was abandoned: closed, without any event.
  void forget();

  bool open() const { return state_ == State::open; }
  int fd() const { return descriptor_.fd; }
  int number() const { return descriptor_.number(); }

 private:
  enum class State : uint8_t { open, flushing, joining, closed };
  struct Incoming {
    std::vector<std::byte> data;
    base::Address from;
    int error_number = 0;  // of a receive that failed, then nothing else counts
  };
  struct Outgoing {
    Segment segment;
    base::Address to;
  };

  void arm_reading();
  bool lends_buffers() const;
  void on_received(const op::Completion& completion);
  void on_readable(const op::Completion& completion);
  void receive_batches();
  bool must_keep() const { return reading_paused_ || !kept_.empty(); }
  void receive(std::span<const std::byte> data, const base::Address& from);
  void receive_error(int error_number);
  size_t receive_batch(std::span<std::byte> memory, size_t slot);
  void deliver(std::span<const std::byte> data, const base::Address& from);

  int send_batch();
  int send_quietly();
  void sent(size_t count);
  void on_writable(const op::Completion& completion);

  void begin_join();
  bool all_idle();
  void end_of_operation();
  void on_later(const op::Completion& completion);

  std::array<op::Operation*, 4> operations() { return {&recv_, &poll_, &writable_, &later_}; }

  Context& context_;
  DatagramEvents* events_;
  op::Descriptor descriptor_;
  int family_;
  State state_ = State::open;
  bool flushing_now_ = false;  // flush() runs: an event of it may call it again
  bool reading_started_ = false;
  bool reading_paused_ = false;
  bool receiving_ = false;  // what a multishot receive brought is being delivered

  // Received while reading is paused, or when an exit left the loop before they were delivered.
  std::deque<Incoming> kept_;
  std::deque<Outgoing> queue_;
  Traffic traffic_;
  size_t backlog_bytes_ = 0;
  size_t failures_left_ = 0;  // of the flush that runs
  SentAtOnce sent_at_once_;

  op::Completes<op::RecvDatagram, &Datagram::on_received> recv_{*this, descriptor_};
  op::Completes<op::Poll, &Datagram::on_readable> poll_{*this, descriptor_, op::Direction::read};
  op::Completes<op::Poll, &Datagram::on_writable> writable_{
      *this, descriptor_, op::Direction::write, op::Readiness::by_epoll_set};
  op::Completes<op::Notice, &Datagram::on_later> later_{*this, descriptor_};
};

}  // namespace rloop::net
