// Receiving, sending and the end; see datagram.hpp.
#include "net/datagram.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

namespace rloop::net {
namespace {

// The most that one sendmmsg(2) takes here; a full batch goes out before the end of the turn.
constexpr size_t kSendBatch = 16;
// Room for one datagram of recvmmsg(2). UDP's largest is 65 507 bytes; one between Unix sockets may
// be as large as the send buffer, and asyncio takes 256 KiB.
constexpr size_t kSlot_bytes = 64 * 1024;
constexpr size_t kUnixSlot_bytes = 256 * 1024;
// So many batches are received before others have their turn.
constexpr int kReceiveRounds = 4;
// So many datagrams that answer an error may fail at once; the next one waits for the next turn, or
// an answer to each error would go on for ever.
constexpr size_t kFailingAnswers = 16;

// A sandbox may not know the calls for several datagrams: then one by one.
bool refused(int returned) {
  return returned < 0 && (errno == ENOSYS || errno == EPERM || errno == EACCES);
}

// As recvmmsg(2) without waiting.
int receive_several(int fd, std::span<mmsghdr> messages) {
  int received = ::recvmmsg(fd, messages.data(), static_cast<unsigned>(messages.size()),
                            MSG_DONTWAIT, nullptr);
  if (!refused(received)) return received;
  int count = 0;
  for (mmsghdr& message : messages) {
    ssize_t size = ::recvmsg(fd, &message.msg_hdr, MSG_DONTWAIT);
    if (size < 0) return count > 0 ? count : -1;
    message.msg_len = static_cast<unsigned>(size);
    ++count;
  }
  return count;
}

// As sendmmsg(2) without waiting. A firewall's EPERM comes again, for the first datagram.
int send_several(int fd, std::span<mmsghdr> messages) {
  constexpr int kFlags = MSG_DONTWAIT | MSG_NOSIGNAL;
  int taken = ::sendmmsg(fd, messages.data(), static_cast<unsigned>(messages.size()), kFlags);
  if (!refused(taken)) return taken;
  int count = 0;
  for (const mmsghdr& message : messages) {
    if (::sendmsg(fd, &message.msg_hdr, kFlags) < 0) return count > 0 ? count : -1;
    ++count;
  }
  return count;
}

}  // namespace

// --- receiving -------------------------------------------------------------------------------

void Datagram::start_reading() {
  reading_started_ = true;
  arm_reading();
}

// As of a Stream: nothing more is taken out of the kernel.
void Datagram::pause_reading() {
  reading_paused_ = true;
  if (!receiving_) context_.reactor->cancel(recv_);
}

void Datagram::resume_reading() {
  reading_paused_ = false;
  if (kept_.empty()) return arm_reading();
  if (later_.idle()) context_.reactor->post(later_, base::Result(0));
}

bool Datagram::lends_buffers() const {
  const reactor::Capabilities& can = context_.reactor->capabilities();
  return can.ring && can.buffer_ring && can.multishot_recvmsg &&
         (family_ == AF_INET || family_ == AF_INET6);
}

void Datagram::arm_reading() {
  if (state_ != State::open || !reading_started_ || must_keep()) return;
  if (descriptor_.number() < 0) return;  // the program closed the socket: as asyncio, nothing comes
  if (!recv_.idle() || !poll_.idle()) return;
  if (!lends_buffers()) return context_.reactor->submit(poll_);
  recv_.set_multishot(true);
  context_.reactor->submit(recv_);
}

void Datagram::on_received(const op::Completion& completion) {
  if (state_ != State::open) return end_of_operation();
  if (!completion.data.empty()) {
    op::ReceivedDatagram datagram(completion.data);
    receiving_ = true;
    receive(datagram.payload, datagram.from);
    receiving_ = false;
  } else if (!completion.result.ok() && !completion.result.is(ECANCELED) &&
             !completion.result.is(ENOBUFS) && !completion.result.is_again() &&
             !completion.result.is(EINTR)) {
    receive_error(completion.result.error_number());
  }
  context_.hand_over_if_due();
  if (state_ != State::open) return end_of_operation();
  bool unwanted = reading_paused_ || descriptor_.number() < 0;
  if (unwanted && completion.more) context_.reactor->cancel(recv_);
  arm_reading();
}

void Datagram::on_readable(const op::Completion& completion) {
  if (state_ != State::open) return end_of_operation();
  if (!completion.result.is(ECANCELED) && !must_keep()) receive_batches();
  if (state_ != State::open) return end_of_operation();
  arm_reading();
}

void Datagram::receive_batches() {
  size_t slot = family_ == AF_UNIX ? kUnixSlot_bytes : kSlot_bytes;
  std::span<std::byte> memory = context_.datagram_memory();
  // One by one then: what is delivered may receive into the scratch again.
  if (memory.empty()) {
    memory = context_.reactor->large_scratch();
    slot = std::min(slot, memory.size());
    memory = memory.first(slot);
  }
  for (int round = 0; round < kReceiveRounds; ++round) {
    if (receive_batch(memory, slot) == 0 || reading_paused_) break;
  }
}

// One recvmmsg; the number of datagrams, 0 when there is nothing more to receive now.
size_t Datagram::receive_batch(std::span<std::byte> memory, size_t slot) {
  constexpr size_t kMost = 16;
  size_t count = std::min(kMost, memory.size() / slot);
  std::array<mmsghdr, kMost> headers{};
  std::array<iovec, kMost> ranges;
  std::array<sockaddr_storage, kMost> names;
  for (size_t i = 0; i < count; ++i) {
    ranges[i] = {.iov_base = memory.data() + i * slot, .iov_len = slot};
    headers[i].msg_hdr.msg_name = &names[i];
    headers[i].msg_hdr.msg_namelen = sizeof(names[i]);
    headers[i].msg_hdr.msg_iov = &ranges[i];
    headers[i].msg_hdr.msg_iovlen = 1;
  }
  ++context_.reactor->statistics().syscalls;
  int received = receive_several(descriptor_.number(), std::span(headers).first(count));
  base::Result result = base::Result::from_call(received);
  if (result.is_again()) descriptor_.mark_drained(op::Direction::read);
  if (result.is_again() || result.is(EINTR)) return 0;
  if (!result.ok()) {
    receive_error(result.error_number());
    return state_ == State::open && descriptor_.number() >= 0 ? 1 : 0;
  }
  for (size_t i = 0; i < static_cast<size_t>(received); ++i) {
    if (state_ != State::open) return 0;
    auto* name = reinterpret_cast<const std::byte*>(&names[i]);
    base::Address from = base::Address::from_bytes({name, headers[i].msg_hdr.msg_namelen});
    std::span<const std::byte> data = memory.subspan(i * slot, headers[i].msg_len);
    if (context_.reactor->interrupted()) {
      kept_.push_back({.data = {data.begin(), data.end()}, .from = from});
    } else {
      receive(data, from);
      context_.hand_over_if_due();
    }
  }
  if (!kept_.empty()) {
    if (!reading_paused_ && later_.idle()) context_.reactor->post(later_, base::Result(0));
    return 0;
  }
  return state_ == State::open ? static_cast<size_t>(received) : 0;
}

void Datagram::receive(std::span<const std::byte> data, const base::Address& from) {
  if (descriptor_.number() < 0) return;
  if (!must_keep()) return deliver(data, from);
  kept_.push_back({.data = {data.begin(), data.end()}, .from = from});
}

void Datagram::receive_error(int error_number) {
  if (descriptor_.number() < 0) return;
  if (!must_keep()) return events_->on_error(IoStep::read, error_number);
  kept_.push_back({.data = {}, .from = {}, .error_number = error_number});
}

// What was kept over a pause, or when an exit left the loop in the middle of a batch; or the end.
void Datagram::on_later(const op::Completion& /*completion*/) {
  while (state_ == State::open && !kept_.empty() && !reading_paused_) {
    if (context_.reactor->interrupted()) return context_.reactor->post(later_, base::Result(0));
    Incoming next = std::move(kept_.front());
    kept_.pop_front();
    if (next.error_number != 0) {
      events_->on_error(IoStep::read, next.error_number);
    } else {
      deliver(next.data, next.from);
    }
  }
  if (state_ != State::open) return end_of_operation();
  arm_reading();
}

void Datagram::deliver(std::span<const std::byte> data, const base::Address& from) {
  traffic_.received(data.size());
  events_->on_datagram(data, from);
}

// --- sending ---------------------------------------------------------------------------------

void Datagram::send(Segment segment, const base::Address& to, bool at_once) {
  if (state_ == State::closed) return;
  backlog_bytes_ += segment.size;
  queue_.push_back({std::move(segment), to});
  // asyncio's socket is still open until connection_lost.
  if (state_ == State::joining) {
    int error_number = send_quietly();
    if (error_number != 0) events_->on_error(IoStep::write, error_number);
    return;
  }
  if (!writable_.idle()) return;  // goes out when the socket is writable again
  if (at_once || queue_.size() >= kSendBatch) return flush();
  if (linked()) return;
  if (context_.may_send_now(sent_at_once_)) return flush();
  context_.gather(*this);
}

// As with asyncio, what an error's event sends goes out at once: by a flush within this one.
void Datagram::flush() {
  if (linked()) unlink();
  if (!writable_.idle()) return;
  bool is_inner = std::exchange(flushing_now_, true);
  if (!is_inner) failures_left_ = queue_.size() + kFailingAnswers;
  bool sent_any = false;
  while (!queue_.empty() && writable_.idle() &&
         (state_ == State::open || state_ == State::flushing)) {
    if (failures_left_ == 0) {
      if (!linked()) context_.gather(*this);
      break;
    }
    int error_number = send_batch();
    if (error_number == EAGAIN) {
      descriptor_.mark_drained(op::Direction::write);
      context_.reactor->submit(writable_);
      break;
    }
    sent_any = true;
    if (error_number != 0 && error_number != EINTR) {
      --failures_left_;
      sent(1);  // it never will be: what fails is taken away, the rest goes on
      events_->on_error(IoStep::write, error_number);
    }
  }
  if (is_inner) return;
  flushing_now_ = false;
  if (sent_any && state_ != State::joining && state_ != State::closed) events_->on_sent();
  if (queue_.empty() && state_ == State::flushing) begin_join();
}

// One sendmmsg; its errno, which is that of the first datagram in the queue.
int Datagram::send_batch() {
  std::array<mmsghdr, kSendBatch> headers{};
  std::array<iovec, kSendBatch> ranges;
  size_t count = std::min(kSendBatch, queue_.size());
  for (size_t i = 0; i < count; ++i) {
    Outgoing& outgoing = queue_[i];
    ranges[i] = {.iov_base = const_cast<std::byte*>(outgoing.segment.data),
                 .iov_len = outgoing.segment.size};
    msghdr& header = headers[i].msg_hdr;
    header.msg_iov = &ranges[i];
    header.msg_iovlen = 1;
    if (outgoing.to.length() == 0) continue;
    header.msg_name = const_cast<sockaddr*>(outgoing.to.data());
    header.msg_namelen = outgoing.to.length();
  }
  ++context_.reactor->statistics().syscalls;
  int taken = send_several(descriptor_.number(), std::span(headers).first(count));
  if (taken < 0) return errno;
  for (size_t i = 0; i < static_cast<size_t>(taken); ++i)
    traffic_.sent(queue_[i].segment.size);
  sent(static_cast<size_t>(taken));
  return 0;
}

void Datagram::sent(size_t count) {
  for (size_t i = 0; i < count; ++i) {
    backlog_bytes_ -= queue_.front().segment.size;
    queue_.pop_front();
  }
}

void Datagram::on_writable(const op::Completion& completion) {
  if (state_ == State::joining || state_ == State::closed) return end_of_operation();
  base::Result result = completion.result;
  if (result.is(ECANCELED)) return;
  if (!result.ok() && !result.is_again() && !result.is(EINTR) && !queue_.empty()) {
    sent(1);  // what cannot be waited for (no memory, max_user_watches) never will be
    events_->on_error(IoStep::write, result.error_number());
  }
  flush();
  if (state_ == State::joining) end_of_operation();
}

// --- the end ---------------------------------------------------------------------------------

void Datagram::close() {
  if (state_ != State::open) return;
  state_ = State::flushing;
  context_.reactor->cancel(recv_);
  context_.reactor->cancel(poll_);
  if (flushing_now_) return;  // which ends it
  if (writable_.idle()) flush();
  if (queue_.empty() && state_ == State::flushing) begin_join();
}

void Datagram::abort() {
  if (state_ == State::joining || state_ == State::closed) return;
  // asyncio sends inside sendto(): only what the kernel refused is lost.
  send_quietly();
  begin_join();
}

// What the kernel takes now, without an event; the last error of a datagram that it never will
// take.
int Datagram::send_quietly() {
  int last_error = 0;
  if (!writable_.idle()) return last_error;
  while (!queue_.empty()) {
    int error_number = send_batch();
    if (error_number == EAGAIN) break;
    if (error_number == 0 || error_number == EINTR) continue;
    last_error = error_number;
    sent(1);
  }
  return last_error;
}

void Datagram::abandon() {
  struct Silence final : DatagramEvents {
    void on_datagram(std::span<const std::byte>, const base::Address&) override {}
    void on_error(IoStep, int) override {}
    void on_sent() override {}
    void on_closed() override {}
  };
  static Silence silence;
  events_ = &silence;
  abort();
}

void Datagram::forget() {
  state_ = State::closed;
  if (linked()) unlink();
}

void Datagram::begin_join() {
  if (state_ == State::joining || state_ == State::closed) return;
  state_ = State::joining;
  if (linked()) unlink();
  for (op::Operation* operation : operations())
    context_.reactor->hasten(*operation);
  events_->on_joining();
  context_.reactor->cancel(recv_);
  context_.reactor->cancel(poll_);
  context_.reactor->cancel(writable_);
  // Posted, not called: the end comes after the caller has returned.
  if (all_idle()) context_.reactor->post(later_, base::Result(0));
}

bool Datagram::all_idle() {
  auto all = operations();
  return std::all_of(all.begin(), all.end(), [](op::Operation* one) { return one->idle(); });
}

// The last thing that a completion handler does once the socket is not open any more: the last
// operation that comes home ends it.
void Datagram::end_of_operation() {
  if (state_ != State::joining || !all_idle()) return;
  state_ = State::closed;
  queue_.clear();
  kept_.clear();
  backlog_bytes_ = 0;
  context_.reactor->forget(descriptor_);
  events_->on_closed();
}

}  // namespace rloop::net
