// A connected stream socket: the state machine between two queues of bytes and a reactor.
//
// Owns the operations on its descriptor and the bytes that wait, not the descriptor's number
// (whoever made the socket closes it, in on_closed). Reports to a StreamEvents. The GIL is held
// throughout. Everything may be called from inside an event; what an event leads to (the close,
// the delivery of kept data) comes in a later dispatch, so a Stream never dies under its own
// handler.
//
// Reading has two ways: `recv_` into lent buffers (multishot on the ring: no submission per
// message) for ordinary streams, and `poll_` + recv(2) straight into the reader's memory for bulk
// and where there are no lent buffers (KERNEL.md 0b). Writing: append, then send at once or gather
// (Context decides); never two sends in flight. A send never waits in the ring for room: its poll
// ends at the peer's half-close, which then costs a worker thread or an answer cut short.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "net/context.hpp"
#include "net/traffic.hpp"
#include "net/write_queue.hpp"
#include "op/notice.hpp"
#include "op/poll.hpp"
#include "op/recv.hpp"
#include "op/send.hpp"

namespace rloop::net {

class StreamEvents {
 public:
  // Bytes came; lent until the call returns.
  virtual void on_data(std::span<const std::byte> data) = 0;
  // For readers with memory of their own: where to receive next. Empty: on_data, please, or the
  // reader failed and closed the stream. `hint`: bytes at hand, 0 when unknown. The receive that
  // asks for it goes on when the reader pauses or closes in here and gives memory nonetheless.
  virtual std::span<std::byte> next_buffer(size_t hint) = 0;
  virtual void on_buffer_filled(size_t size) = 0;
  // Where what comes in large may lie for a reader without memory of its own, `most` bytes or
  // fewer: at once on_data is called with the front of it, or on_buffer_unused. Empty: nowhere,
  // please.
  virtual std::span<std::byte> memory_for_much(size_t /*most*/) { return {}; }
  // Nothing was received into the memory that either gave; the stream lets go of it.
  virtual void on_buffer_unused() {}
  // The peer will send no more. Reading is over; writing goes on until close.
  virtual void on_eof() = 0;
  // The backlog became smaller (and may be empty).
  virtual void on_sent() = 0;
  // A system call failed; the owner is expected to abort() the stream.
  virtual void on_error(IoStep step, int error_number) = 0;
  // The end has begun; on_closed comes in a later dispatch.
  virtual void on_joining() {}
  // Nothing is in flight any more; the last event. The descriptor may be closed now.
  virtual void on_closed() = 0;

 protected:
  ~StreamEvents() = default;
};

class Stream : public base::ListNode<DirtyListTag> {
 public:
  Stream(Context& context, StreamEvents& events, int fd);

  // Readers with memory of their own (BufferedProtocol): next_buffer is asked first.
  void set_reads_into_buffers(bool on) { reads_into_buffers_ = on; }

  void start_reading();
  void pause_reading();
  void resume_reading();
  bool reading_paused() const { return reading_paused_; }

  // `holder`: where the Python socket keeps its number; see op::Descriptor::follow.
  void follow(const int* holder) { descriptor_.follow(holder); }
  // Spares asking the kernel for it.
  void set_family(int family) { descriptor_.set_family(family); }

  // Queues; push() follows. Also while a close waits for the backlog; after that the segment is
  // dropped.
  void append(Segment segment);
  // Sends what was appended now, or gathers it: Context's policy, but for 16 KiB or more, and when
  // `at_once` says that somebody else may write to the socket. May raise on_error, which drops the
  // backlog.
  void push(bool at_once = false);
  // Both; a segment that goes out whole at once is never queued.
  void write(Segment segment, bool at_once = false);
  // Sends what can be sent now, without waiting for the end of the turn.
  void flush_now();
  // The same for who goes on with the socket by himself: also what waits behind a send that the
  // kernel has ended and nobody has dispatched. May raise on_sent and on_error.
  void settle();
  // Its writer waits for that.
  void drain() {
    if (linked() && context_.few_write()) flush_now();
  }
  size_t backlog_bytes() const { return outgoing_ ? outgoing_->queue.backlog_bytes() : 0; }
  const Traffic& traffic() const { return traffic_; }
  // Somebody else has sent on the same socket, in our stead.
  void count_foreign_send(size_t size) { traffic_.sent(size); }
  // Shuts the sending side down after the backlog is sent. Returns how that ended where there is no
  // backlog: ENOTCONN after a reset that nothing has read yet.
  base::Result write_eof();

  // Stops reading; on_closed after the backlog is sent.
  void close();
  // Drops the backlog; on_closed soon.
  void abort();
  // As abort, but no further event ever; for the end of the loop.
  void abandon();
  // In the child of a fork, after the reactor was abandoned: closed, without any event.
  void forget();
  // In the child of a fork, after the reactor started over: what a send that is under way leaves
  // in the queue is the parent's to send, unless this process goes on with it.
  void start_over() { under_way_at_fork_ = send_under_way(); }

  bool open() const { return state_ == State::open; }
  bool closed() const { return state_ == State::closed; }
  int fd() const { return descriptor_.fd; }
  int number() const { return descriptor_.number(); }

 private:
  friend struct Context;
  enum class State : uint8_t { open, flushing, joining, closed };

  void arm_reading();
  void on_recv(const op::Completion& completion);
  void take_received(const op::Completion& completion);
  void on_readable(const op::Completion& completion);
  void take_readable(const op::Completion& completion);
  void receive_in_a_row();
  size_t receive_directly();
  void count_received(size_t size);
  void receive(base::Result result, std::span<const std::byte> data);
  void deliver(std::span<const std::byte> data);
  void fill_buffers(std::span<const std::byte> data);
  void keep_for_later(std::span<const std::byte> data);
  void post_later();
  void deliver_end(base::Result result);
  int reason_of(int error_number);
  bool all_idle();
  void judge_bulk(size_t size, size_t capacity);
  void keep(base::Result result, std::span<const std::byte> data);
  void on_later(const op::Completion& completion);
  void take_kept();
  void after_read(bool sends);
  bool read_under_way();
  void stop_reading();

  bool may_send_now(size_t size, bool at_once);
  bool queue_after(const op::Attempt& attempt, Segment segment);
  void flush_direct();
  bool goes_on_after(const op::Attempt& attempt);
  void flush_through_reactor();
  bool load_send();
  void on_send(const op::Completion& completion);
  // Nothing is taken any more.
  bool ended() const { return state_ == State::joining || state_ == State::closed; }
  bool nothing_waits() const { return !outgoing_ || outgoing_->queue.empty(); }
  bool waits_for_room() const { return outgoing_ && !outgoing_->room.idle(); }
  bool send_under_way() const { return outgoing_ && !outgoing_->send.idle(); }
  bool write_pending() { return send_under_way() || waits_for_room() || sends_after_read_; }
  void describe_waiting();
  void drop_waiting();
  void let_go_of_outgoing();
  void wait_for_room();
  void on_room(const op::Completion& completion);
  void sent(base::Result result);
  void count_sent(size_t size);
  void log_sent(size_t size);
  void send_quietly();
  void write_failed(int error_number);
  void after_backlog();
  base::Result shut_down();

  void begin_join();
  void end_of_operation();

  // Calls visit(operation) for each that was made.
  template <class Visit>
  void for_each_operation(Visit visit) {
    for (op::Operation* operation :
         {static_cast<op::Operation*>(&recv_), static_cast<op::Operation*>(poll_.get()),
          static_cast<op::Operation*>(outgoing_ ? &outgoing_->send : nullptr),
          static_cast<op::Operation*>(outgoing_ ? &outgoing_->room : nullptr),
          static_cast<op::Operation*>(&later_)}) {
      if (operation) visit(*operation);
    }
  }

  Context& context_;
  StreamEvents* events_;
  op::Descriptor descriptor_;
  State state_ = State::open;
  bool reading_started_ = false;
  bool reading_paused_ = false;
  bool receiving_ = false;   // what a receive brought is being delivered
  bool read_ended_ = false;  // EOF or an error was reported
  bool reads_into_buffers_ = false;
  bool bulk_ = false;
  bool eof_wanted_ = false;
  bool shut_down_ = false;
  bool settling_ = false;           // what follows a send goes directly
  bool sends_after_read_ = false;   // the peer hung up, and what a receive tells comes first
  bool under_way_at_fork_ = false;  // the send, in the copy of it that a child has
  uint8_t streak_ = 0;              // consecutive receives that speak for changing `bulk_`
  int16_t reason_told_ = 0;         // the errno of a receive that came home to a closing stream
  uint32_t delivery_turn_ = static_cast<uint32_t>(-1);  // when data was delivered last
  SentAtOnce sent_at_once_;

  // Data that arrived while reading was paused, and the end that may have followed it.
  struct Kept {
    std::vector<std::byte> data;
    bool has_end = false;
    base::Result end{0};
  };
  std::unique_ptr<Kept> kept_;

  Traffic traffic_;
  // Here while something waits to be sent or is under way: most connections are idle, and there may
  // be very many.
  struct Outgoing {
    explicit Outgoing(Stream& stream)
        : send(stream, stream.descriptor_),
          room(stream, stream.descriptor_, op::Direction::write, op::Readiness::by_epoll_set) {}
    WriteQueue queue;
    op::Completes<op::Send, &Stream::on_send> send;
    op::Completes<op::Poll, &Stream::on_room> room;
    // A few small segments are sent from here, a head and a short body perhaps: to describe them to
    // the kernel is dearer by 120 ns.
    std::array<std::byte, 384> joined;
  };
  static_assert(sizeof(Outgoing) <= 1032, "what is larger malloc finds more slowly");
  std::unique_ptr<Outgoing> outgoing_;
  op::Completes<op::Recv, &Stream::on_recv> recv_{*this, descriptor_};
  op::Completes<op::Notice, &Stream::on_later> later_{*this, descriptor_};
  using PollToRead = op::Completes<op::Poll, &Stream::on_readable>;
  std::unique_ptr<PollToRead> poll_;  // made when first needed
};

}  // namespace rloop::net
