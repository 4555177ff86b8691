// The reading half, the writing half, and the end; see stream.hpp.
#include "net/stream.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/log.hpp"

namespace rloop::net {
namespace {

// A write of this size on an idle stream goes out at once: deferring keeps a batch of large
// objects alive and sends them cold, 2.8 times the cost (KERNEL.md 0b).
constexpr size_t kSendAtOnce_bytes = 16 * 1024;
// So many full (short) receives in a row switch a stream to bulk (and back).
constexpr uint8_t kBulkStreak = 2;
constexpr uint8_t kSmallStreak = 4;
// Into a reader's own memory a stream receives again at once while each receive brings so much:
// asking the kernel for readiness in between would only cost. In all not more than a reader with
// one large buffer takes at once, so that others get their turn.
constexpr size_t kMuch_bytes = 64 * 1024;
constexpr size_t kMostInARow_bytes = 512 * 1024;

}  // namespace

Stream::Stream(Context& context, StreamEvents& events, int fd)
    : context_(context), events_(&events), descriptor_(fd) {}

// --- reading ---------------------------------------------------------------------------------

void Stream::start_reading() {
  reading_started_ = true;
  arm_reading();
}

void Stream::pause_reading() {
  reading_paused_ = true;
}

void Stream::resume_reading() {
  reading_paused_ = false;
  if (!kept_) return arm_reading();
  // As with asyncio, data comes in a later turn and not inside resume_reading().
  post_later();
}

void Stream::arm_reading() {
  if (state_ != State::open || !reading_started_ || reading_paused_ || read_ended_) return;
  if (!recv_.idle() || (poll_ && !poll_->idle()) || (kept_ && kept_->has_end)) return;
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
  if (state_ != State::open) return end_of_operation();
  base::Result result = completion.result;
  if (result.is(ECANCELED) || result.is(ENOBUFS)) return arm_reading();
  size_t size = completion.data.size();
  if (!bulk_ && context_.reactor->capabilities().ring) {
    judge_bulk(size, context_.reactor->config().buffer_size);
    if (bulk_ && completion.more) context_.reactor->cancel(recv_);
  }
  receive(result, completion.data);
  if (state_ != State::open) return end_of_operation();
  // A pause is acted upon only when data still comes: short pauses cost nothing.
  if (reading_paused_ && completion.more) context_.reactor->cancel(recv_);
  arm_reading();
}

void Stream::on_readable(const op::Completion& completion) {
  if (state_ != State::open) return end_of_operation();
  if (reading_paused_ || completion.result.is(ECANCELED)) return arm_reading();
  if (!completion.result.ok()) {
    receive(completion.result, {});
    return;
  }
  size_t received = 0;
  do {
    size_t size = receive_directly();
    if (size < kMuch_bytes) break;
    received += size;
  } while (received < kMostInARow_bytes);
  if (state_ != State::open) return end_of_operation();
  arm_reading();
}

// One recv(2) into the reader's memory or the scratch. Answers the bytes that came if the reader
// may be given more in the same turn, else 0. (A reader without memory of its own is not: what is
// given to a StreamReader in one turn piles up in cold memory, which costs five times the receive.)
size_t Stream::receive_directly() {
  std::span<std::byte> memory = context_.reactor->scratch();
  bool own_memory = reads_into_buffers_;
  if (own_memory) {
    memory = events_->next_buffer(0);
    if (state_ != State::open || memory.empty()) return 0;  // a failed reader is asked again
  }
  ++context_.reactor->statistics().syscalls;
  ssize_t received = ::recv(descriptor_.fd, memory.data(), memory.size(), MSG_DONTWAIT);
  base::Result result = base::Result::from_call(received);
  size_t size = received > 0 ? static_cast<size_t>(received) : 0;
  if (result.is_again()) {
    descriptor_.mark_drained(op::Direction::read);
  } else if (size < memory.size()) {
    descriptor_.note_short(op::Direction::read);
  }
  if (own_memory && size == 0) events_->on_buffer_unused();
  if (result.is_again() || result.is(EINTR)) return 0;
  if (bulk_) judge_bulk(size, context_.reactor->config().buffer_size);
  if (own_memory && size > 0) {
    reactor::Statistics& statistics = context_.reactor->statistics();
    ++statistics.messages_in;
    statistics.bytes_in += size;
    delivery_turn_ = context_.turn;
    events_->on_buffer_filled(size);
  } else {
    receive(result, memory.first(size));
  }
  bool wants_more = own_memory && reads_into_buffers_ && state_ == State::open &&
                    !reading_paused_ && !kept_ && !context_.reactor->interrupted();
  return wants_more ? size : 0;
}

// Bulk streams fill whole buffers: they are better off without the copy out of cold pool memory.
void Stream::judge_bulk(size_t size, size_t capacity) {
  bool speaks_for_change = bulk_ ? size < capacity : size == capacity;
  streak_ = speaks_for_change ? static_cast<uint8_t>(streak_ + 1) : 0;
  if (streak_ < (bulk_ ? kSmallStreak : kBulkStreak)) return;
  bulk_ = !bulk_;
  streak_ = 0;
}

void Stream::receive(base::Result result, std::span<const std::byte> data) {
  if (!data.empty()) {
    reactor::Statistics& statistics = context_.reactor->statistics();
    ++statistics.messages_in;
    statistics.bytes_in += data.size();
  }
  if (reading_paused_ || kept_) return keep(result, data);
  if (!data.empty()) return deliver(data);
  if (delivery_turn_ != context_.turn) return deliver_end(result);
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

void Stream::deliver(std::span<const std::byte> data) {
  delivery_turn_ = context_.turn;
  if (reads_into_buffers_) return fill_buffers(data);
  events_->on_data(data);
}

// Lent data for a reader with memory of its own: copied piece by piece. The reader may change its
// kind, pause, close, or run another receive of the loop (which re-uses the scratch) in between:
// what lies in the scratch, or does not fit the first piece, is taken to safety first.
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
    if (state_ != State::open) return;
    if (own.empty()) return keep_for_later(data);
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
  if (state_ != State::open) return end_of_operation();
  if (reading_paused_) return;
  if (!kept_) return arm_reading();
  std::vector<std::byte> data = std::exchange(kept_->data, {});
  if (!kept_->has_end) kept_.reset();  // else it stands: nothing is received behind the end
  if (!data.empty()) {
    deliver(data);
    if (state_ != State::open) return end_of_operation();
    if (kept_ && !reading_paused_) return post_later();  // the end has a turn of its own
  }
  if (reading_paused_) return;
  if (!kept_) return arm_reading();
  base::Result end = kept_->end;
  kept_.reset();
  deliver_end(end);
  if (state_ != State::open) end_of_operation();
}

void Stream::stop_reading() {
  context_.reactor->cancel(recv_);
  if (poll_) context_.reactor->cancel(*poll_);
}

// --- writing ---------------------------------------------------------------------------------

void Stream::write(Segment segment) {
  if (state_ == State::joining || state_ == State::closed) return;
  bool large = segment.size >= kSendAtOnce_bytes;
  bool idle = queue_.empty();
  queue_.append(std::move(segment));
  if (!send_.idle()) return;  // goes out when the send in flight completes
  if ((large && idle) || !context_.loop_running) return flush_direct();
  if (!linked()) context_.dirty.push_back(*this);
}

void Stream::flush_now() {
  if (linked()) unlink();
  flush_direct();
}

bool Stream::load_send() {
  if (queue_.empty() || !send_.idle() || state_ == State::joining || state_ == State::closed) {
    return false;
  }
  send_.set_range_count(queue_.describe(send_.ranges(queue_.segment_count())));
  return true;
}

// Tries until the kernel takes no more; the rest waits in the reactor.
void Stream::flush_direct() {
  while (load_send()) {
    ++context_.reactor->statistics().syscalls;
    op::Attempt attempt = send_.attempt({});
    if (attempt.result.is_again() || (attempt.result.ok() && attempt.drained)) {
      if (attempt.result.ok()) sent(attempt.result);
      descriptor_.mark_drained(op::Direction::write);
      if (load_send()) context_.reactor->submit(send_);
      return;
    }
    sent(attempt.result);
    // What was written inside on_error waits for the next turn, or it would fail here for ever.
    if (!attempt.result.ok() && !attempt.result.is(EINTR)) return;
  }
}

void Stream::flush_through_ring() {
  if (load_send()) context_.reactor->submit(send_);
}

void Stream::on_send(const op::Completion& completion) {
  if (state_ == State::joining || state_ == State::closed) return end_of_operation();
  // Cancelled because the loop stopped: nothing was sent, and it is sent again.
  if (!completion.result.is(ECANCELED)) sent(completion.result);
  flush_through_ring();
}

void Stream::sent(base::Result result) {
  if (result.is(EINTR)) return;
  if (!result.ok()) return write_failed(result.error_number());
  count_sent(static_cast<size_t>(result.value()));
  events_->on_sent();
  if (queue_.empty()) after_backlog();
}

void Stream::count_sent(size_t size) {
  reactor::Statistics& statistics = context_.reactor->statistics();
  ++statistics.messages_out;
  statistics.bytes_out += size;
  base::log(base::LogLevel::trace, "transport", "TCP wrote ", size, " bytes [fd=", descriptor_.fd,
            "]");
  queue_.consume(size);
}

// What waits will never be sent. The owner is expected to abort; if it does not, nothing is tried
// again, and a close that waited for the backlog still ends.
void Stream::write_failed(int error_number) {
  queue_.clear();
  events_->on_error(IoStep::write, error_number);
  if (queue_.empty() && state_ == State::flushing) begin_join();
}

void Stream::write_eof() {
  eof_wanted_ = true;
  if (queue_.empty()) after_backlog();
}

void Stream::after_backlog() {
  if (state_ == State::flushing) return begin_join();
  if (state_ != State::open || !eof_wanted_ || shut_down_) return;
  shut_down_ = true;
  // shutdown(2) never blocks; through the ring it would start a worker thread (44 us).
  ++context_.reactor->statistics().syscalls;
  ::shutdown(descriptor_.fd, SHUT_WR);
  base::log(base::LogLevel::debug, "transport",
            "TCP writer shutdown completed [fd=", descriptor_.fd, "]");
}

// --- the end ---------------------------------------------------------------------------------

void Stream::close() {
  if (state_ != State::open) return;
  state_ = State::flushing;
  stop_reading();
  if (!queue_.empty() && send_.idle()) flush_now();
  if (queue_.empty() && state_ == State::flushing) begin_join();
}

void Stream::abort() {
  if (state_ == State::joining || state_ == State::closed) return;
  // asyncio sends inside write(): only what the kernel refused is lost.
  if (linked()) send_quietly();
  stop_reading();
  context_.reactor->cancel(send_);
  begin_join();
}

// What the kernel takes now, without an event.
void Stream::send_quietly() {
  unlink();
  while (load_send()) {
    ++context_.reactor->statistics().syscalls;
    base::Result result = send_.attempt({}).result;
    if (result.is(EINTR)) continue;
    if (!result.ok()) return;
    count_sent(static_cast<size_t>(result.value()));
  }
}

void Stream::abandon() {
  struct Silence final : StreamEvents {
    void on_data(std::span<const std::byte>) override {}
    std::span<std::byte> next_buffer(size_t) override { return {}; }
    void on_buffer_filled(size_t) override {}
    void on_eof() override {}
    void on_sent() override {}
    void on_error(IoStep, int) override {}
    void on_closed() override {}
  };
  static Silence silence;
  events_ = &silence;
  abort();
}

void Stream::forget() {
  state_ = State::closed;
  if (linked()) unlink();
}

void Stream::begin_join() {
  if (state_ == State::joining || state_ == State::closed) return;
  state_ = State::joining;
  if (linked()) unlink();
  for_each_operation([&](op::Operation& one) { context_.reactor->hasten(one); });
  events_->on_joining();
  stop_reading();
  // Posted, not called: the end comes after the caller has returned.
  if (all_idle()) context_.reactor->post(later_, base::Result(0));
}

bool Stream::all_idle() {
  bool idle = true;
  for_each_operation([&](op::Operation& one) { idle = idle && one.idle(); });
  return idle;
}

// The last thing that a completion handler does once the stream is not open any more: the last
// operation that comes home ends the stream. (A close(2) with operations in flight sends no FIN.)
void Stream::end_of_operation() {
  if (state_ != State::joining || !all_idle()) return;
  state_ = State::closed;
  queue_.clear();
  context_.reactor->forget(descriptor_);
  events_->on_closed();
}

}  // namespace rloop::net
