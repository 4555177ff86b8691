// The reading half of a Stream; see stream.hpp.
//
// Receives into lent buffers or the reader's own memory, the change to bulk and back, pauses and
// what came meanwhile, the end of the data.
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "net/stream.hpp"

namespace rloop::net {
namespace {

// So many full (short) receives in a row switch a stream to bulk (and back).
constexpr uint8_t kBulkStreak = 2;
constexpr uint8_t kSmallStreak = 4;

// Nothing was received, and nothing is wrong: whoever still wants data asks again.
bool means_again(base::Result result) {
  return result.is_again() || result.is(EINTR) || result.is(ECANCELED);
}

// It is an error, and the connection's.
bool tells_reason(base::Result result) {
  return !result.ok() && !means_again(result) && !result.is(ENOBUFS);
}

}  // namespace

void Stream::start_reading() {
  reading_started_ = true;
  arm_reading();
}

// Nothing more is taken out of the kernel: the program may hand the socket on. (Inside a delivery
// on_recv sees to it, and a pause that ends there costs nothing.)
void Stream::pause_reading() {
  reading_paused_ = true;
  if (!receiving_) context_.reactor->cancel(recv_);
}

void Stream::resume_reading() {
  reading_paused_ = false;
  if (state_ != State::open) return;  // what was kept is nobody's any more
  if (!kept_) return arm_reading();
  // As with asyncio, data comes in a later turn and not inside resume_reading().
  post_later();
}

void Stream::arm_reading() {
  if (state_ != State::open || !reading_started_ || reading_paused_ || read_ended_) return;
  if (descriptor_.number() < 0) return;  // the program closed the socket: as asyncio, no end comes
  if (!recv_.idle() || (poll_ && !poll_->idle())) return;
  // Inside a delivery: whoever delivers goes on, if it was not the end.
  if (receiving_) return;
  // What was kept comes first: on_later goes on from there.
  if (kept_) return;
  reactor::Reactor& reactor = *context_.reactor;
  const reactor::Capabilities& can = reactor.capabilities();
  bool lends_buffers = can.ring ? can.buffer_ring : !reads_into_buffers_;
  if (bulk_ || !lends_buffers) {
    if (!poll_) poll_ = std::make_unique<PollToRead>(*this, descriptor_, op::Direction::read);
    return reactor.submit(*poll_);
  }
  recv_.set_multishot(can.multishot_recv);
  reactor.submit(recv_);
}

void Stream::on_recv(const op::Completion& completion) {
  bool sends = std::exchange(sends_after_read_, false);
  if (state_ == State::open) {
    take_received(completion);
  } else if (tells_reason(completion.result)) {
    reason_told_ = static_cast<int16_t>(completion.result.error_number());
  }
  after_read(sends);
}

void Stream::take_received(const op::Completion& completion) {
  if (descriptor_.number() < 0) {  // nothing that came since is anybody's
    if (completion.more) context_.reactor->cancel(recv_);
    return;
  }
  base::Result result = completion.result;
  if (means_again(result) || result.is(ENOBUFS)) return arm_reading();
  size_t size = completion.data.size();
  if (!bulk_) {
    const reactor::Config& config = context_.reactor->config();
    judge_bulk(size, context_.reactor->capabilities().ring ? config.buffer_size : config.much);
    if (bulk_ && completion.more) context_.reactor->cancel(recv_);
  }
  {
    absl::Cleanup delivered = [this] { receiving_ = false; };  // also for want of memory
    receiving_ = true;
    receive(result, completion.data);
  }
  if (state_ != State::open) return;
  if (reading_paused_ && completion.more) context_.reactor->cancel(recv_);
  arm_reading();
}

void Stream::on_readable(const op::Completion& completion) {
  bool sends = std::exchange(sends_after_read_, false);
  if (state_ == State::open) take_readable(completion);
  after_read(sends);
}

void Stream::take_readable(const op::Completion& completion) {
  if (reading_paused_ || kept_ || means_again(completion.result)) return arm_reading();
  if (descriptor_.number() < 0) return;
  if (!completion.result.ok()) return receive(completion.result, {});
  receive_in_a_row();
  arm_reading();
}

// What a receive brings comes home: in flight, or kept.
bool Stream::read_under_way() {
  return !recv_.idle() || (poll_ && !poll_->idle()) || (kept_ && !later_.idle());
}

// `sends`: a send has waited for what was read.
void Stream::after_read(bool sends) {
  if (sends && state_ == State::open) flush_direct();
  context_.hand_over_if_due();  // not before: it may run user code, and the data may be lent
  end_of_operation();
}

void Stream::receive_in_a_row() {
  absl::Cleanup delivered = [this] { receiving_ = false; };
  receiving_ = true;
  const reactor::Config& config = context_.reactor->config();
  for (size_t received = 0; received < config.most_in_a_row;) {
    size_t size = receive_directly();
    if (size < config.much) return;
    received += size;
  }
}

// One recv(2) into the reader's memory or the scratch. Answers the bytes that came if the reader
// may be given more in the same turn, else 0. (A reader without memory of its own is not: what is
// given to a StreamReader in one turn piles up in cold memory, which costs five times the receive.)
size_t Stream::receive_directly() {
  std::span<std::byte> memory = context_.reactor->scratch();
  bool own_memory = reads_into_buffers_;
  if (own_memory) {
    memory = events_->next_buffer(0);
    if (state_ == State::closed) return 0;  // in the child of a fork: it is the parent's
    if (memory.empty()) return 0;           // a failed reader is asked again
  } else if (bulk_) {
    std::span<std::byte> place = events_->memory_for_much(memory.size());
    if (!place.empty()) memory = place;
  }
  ++context_.reactor->statistics().syscalls;
  ssize_t received = ::recv(descriptor_.number(), memory.data(), memory.size(), MSG_DONTWAIT);
  base::Result result = base::Result::from_call(received);
  size_t size = received > 0 ? static_cast<size_t>(received) : 0;
  if (result.is_again()) {
    descriptor_.mark_drained(op::Direction::read);
  } else if (result.ok() && size < memory.size()) {
    descriptor_.note_short(op::Direction::read);
  }
  if (size == 0) events_->on_buffer_unused();
  if (result.is_again() || result.is(EINTR)) return 0;
  if (bulk_) judge_bulk(size, context_.reactor->config().buffer_size);
  uint64_t sent_before = traffic_.messages_out;
  if (own_memory && size > 0) {
    count_received(size);
    delivery_turn_ = context_.turn;
    events_->on_buffer_filled(size);
  } else {
    receive(result, memory.first(size));
  }
  bool wants_more = own_memory && reads_into_buffers_ && state_ == State::open &&
                    !reading_paused_ && !kept_ && !context_.reactor->interrupted();
  // A reader that answers has got the whole request, and its peer waits: there is nothing more.
  bool has_answered = traffic_.messages_out != sent_before || !nothing_waits();
  bool took_all = size < memory.size();
  return wants_more && !(took_all && has_answered) ? size : 0;
}

// Bulk streams fill whole buffers: they are better off without the copy out of cold pool memory, or
// out of the scratch.
void Stream::judge_bulk(size_t size, size_t capacity) {
  bool speaks_for_change = bulk_ ? size < capacity : size >= capacity;
  streak_ = speaks_for_change ? static_cast<uint8_t>(streak_ + 1) : 0;
  if (streak_ < (bulk_ ? kSmallStreak : kBulkStreak)) return;
  bulk_ = !bulk_;
  streak_ = 0;
}

void Stream::count_received(size_t size) {
  traffic_.received(size);
  context_.reactor->note_received(size);
}

void Stream::receive(base::Result result, std::span<const std::byte> data) {
  if (!data.empty()) count_received(data.size());
  bool ends_now = state_ != State::open;  // by a reader that closed as it gave its memory
  if (!ends_now && (reading_paused_ || kept_)) return keep(result, data);
  if (!data.empty()) return deliver(data);
  if (ends_now || delivery_turn_ != context_.turn) return deliver_end(result);
  // What data_received has scheduled runs before the end is told, as where a turn reads once.
  keep(result, {});
  post_later();
}

void Stream::deliver_end(base::Result result) {
  read_ended_ = true;
  if (result.ok()) {
    events_->on_eof();
  } else {
    events_->on_error(IoStep::read, result.error_number());
  }
}

// A send over TCP says EPIPE when somebody was told the reason before it: a receive whose end waits
// for its turn. (Over a Unix socket EPIPE is what a send says to begin with.)
int Stream::reason_of(int error_number) {
  if (error_number != EPIPE || descriptor_.family() == AF_UNIX) return error_number;
  if (reason_told_ != 0) return reason_told_;
  base::Result end =
      kept_ && kept_->has_end ? kept_->end : context_.reactor->undispatched_end(recv_);
  return tells_reason(end) ? end.error_number() : error_number;
}

void Stream::deliver(std::span<const std::byte> data) {
  delivery_turn_ = context_.turn;
  if (reads_into_buffers_) return fill_buffers(data);
  events_->on_data(data);
}

// Lent data for a reader with memory of its own: copied piece by piece. The reader may change its
// kind, pause, close, or run another receive of the loop (which re-uses the scratch) in between:
// what lies in the scratch, or does not fit the first piece, is taken to safety first. Memory that
// was given is filled, also by who closes as it gives it: as asyncio, which then receives.
void Stream::fill_buffers(std::span<const std::byte> data) {
  std::vector<std::byte> rest;
  std::span<std::byte> scratch = context_.reactor->scratch();
  if (data.data() >= scratch.data() && data.data() < scratch.data() + scratch.size()) {
    rest.assign(data.begin(), data.end());
    data = rest;
  }
  while (!data.empty()) {
    if (reading_paused_) return keep(base::Result(0), data);
    if (!reads_into_buffers_) return events_->on_data(data);
    std::span<std::byte> own = events_->next_buffer(data.size());
    if (state_ == State::closed) return;  // in the child of a fork
    if (own.empty()) return state_ == State::open ? keep_for_later(data) : void();
    size_t size = std::min(own.size(), data.size());
    std::memcpy(own.data(), data.data(), size);
    data = data.subspan(size);
    if (!data.empty() && rest.empty()) {
      rest.assign(data.begin(), data.end());
      data = rest;
    }
    events_->on_buffer_filled(size);
    if (state_ != State::open) return;
  }
}

// The reader failed without closing (KeyboardInterrupt): it is asked again on the next turn.
void Stream::keep_for_later(std::span<const std::byte> data) {
  keep(base::Result(0), data);
  post_later();
}

void Stream::post_later() {
  if (later_.idle()) context_.reactor->post(later_, base::Result(0));
}

void Stream::keep(base::Result result, std::span<const std::byte> data) {
  if (!kept_) kept_ = std::make_unique<Kept>();
  if (!data.empty()) {
    kept_->data.insert(kept_->data.end(), data.begin(), data.end());
  } else {
    kept_->has_end = true;
    kept_->end = result;
  }
}

// What could not be done in the caller's place: the delivery of kept data, or the end.
void Stream::on_later(const op::Completion& /*completion*/) {
  bool sends = std::exchange(sends_after_read_, false);
  if (state_ == State::open) take_kept();
  after_read(sends);
}

void Stream::take_kept() {
  if (reading_paused_) return;
  if (!kept_) return arm_reading();
  std::vector<std::byte> data = std::exchange(kept_->data, {});
  if (!kept_->has_end) kept_.reset();  // else it stands: nothing is received behind the end
  if (!data.empty()) {
    deliver(data);
    if (state_ != State::open) return;
    if (kept_ && !reading_paused_) return post_later();  // the end has a turn of its own
  }
  if (reading_paused_) return;
  if (!kept_) return arm_reading();
  base::Result end = kept_->end;
  kept_.reset();
  deliver_end(end);
}

void Stream::stop_reading() {
  context_.reactor->cancel(recv_);
  if (poll_) context_.reactor->cancel(*poll_);
}

}  // namespace rloop::net
