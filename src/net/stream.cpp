// The writing half, and the end; see stream.hpp.
#include "net/stream.hpp"

#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <new>
#include <utility>

#include "base/log.hpp"

namespace rloop::net {
namespace {

// A write of this size on an idle stream goes out at once: deferring keeps a batch of large
// objects alive and sends them cold, 2.8 times the cost (KERNEL.md 0b).
constexpr size_t kSendAtOnce_bytes = 16 * 1024;

}  // namespace

Stream::Stream(Context& context, StreamEvents& events, int fd)
    : context_(context), events_(&events), descriptor_(fd) {}

// --- writing ---------------------------------------------------------------------------------

void Stream::append(Segment segment) {
  if (ended()) return;
  if (!outgoing_) outgoing_ = std::make_unique<Outgoing>(*this);
  outgoing_->queue.append(std::move(segment));
}

// Who has nothing waiting and may send now needs no queue: only what the kernel does not take is
// queued.
void Stream::write(Segment segment, bool at_once) {
  bool goes_past_queue =
      segment.size > 0 && !outgoing_ && !linked() && !write_pending() && !ended();
  if (!goes_past_queue) {
    append(std::move(segment));
    return push(at_once);
  }
  if (!may_send_now(segment.size, at_once)) {
    append(std::move(segment));
    return context_.gather(*this);
  }
  ++context_.reactor->statistics().syscalls;
  op::Attempt attempt = op::Send::attempt_one(descriptor_, segment.data, segment.size);
  bool took_all = attempt.result.ok() && !attempt.drained;
  if (!took_all && !queue_after(attempt, std::move(segment))) return;
  if (goes_on_after(attempt)) flush_direct();
}

// Whether there was memory. Without it nothing was sent and the caller is told, or the connection
// is lost, where a part has gone.
bool Stream::queue_after(const op::Attempt& attempt, Segment segment) {
  try {
    append(std::move(segment));
    return true;
  } catch (const std::bad_alloc&) {
    if (!attempt.result.ok()) throw;
    write_failed(ENOMEM);
    return false;
  }
}

void Stream::push(bool at_once) {
  if (nothing_waits() || write_pending()) return;  // goes out when what is pending completes
  // What an abort has dropped lies here until the end, and must not bring the stream into a list.
  if (ended()) return;
  if (may_send_now(backlog_bytes(), at_once)) return flush_now();
  if (!linked()) context_.gather(*this);
}

bool Stream::may_send_now(size_t size, bool at_once) {
  if (size >= kSendAtOnce_bytes || at_once) return true;
  return !linked() && context_.may_send_now(sent_at_once_);
}

void Stream::flush_now() {
  if (linked()) unlink();
  flush_direct();
}

void Stream::settle() {
  if (ended()) return;
  if (send_under_way()) {
    bool outer = std::exchange(settling_, true);
    context_.reactor->settle(outgoing_->send);
    settling_ = outer;
  }
  flush_now();
}

bool Stream::load_send() {
  if (nothing_waits() || write_pending() || ended()) {
    return false;
  }
  describe_waiting();
  return true;
}

void Stream::describe_waiting() {
  op::Send& send = outgoing_->send;
  const WriteQueue& queue = outgoing_->queue;
  size_t count = queue.describe(send.ranges());
  if (count > 1 && queue.backlog_bytes() <= outgoing_->joined.size()) {
    queue.copy(outgoing_->joined);
    send.ranges()[0] = {.iov_base = outgoing_->joined.data(), .iov_len = queue.backlog_bytes()};
    count = 1;
  }
  send.set_range_count(count);
}

// What is under way belongs to the reactor.
void Stream::let_go_of_outgoing() {
  if (nothing_waits() && !send_under_way() && !waits_for_room()) outgoing_.reset();
}

void Stream::drop_waiting() {
  if (outgoing_) outgoing_->queue.clear();
}

// Tries until the kernel takes no more; the rest waits for room.
void Stream::flush_direct() {
  while (load_send()) {
    ++context_.reactor->statistics().syscalls;
    if (!goes_on_after(outgoing_->send.attempt({}))) return;
  }
  let_go_of_outgoing();
}

// Whether another attempt may follow. The rest of what is cut short waits for room, and what was
// written inside on_error for the next turn, or it would fail here for ever.
bool Stream::goes_on_after(const op::Attempt& attempt) {
  if (attempt.result.is_again() || attempt.drained) {
    if (attempt.result.ok()) sent(attempt.result);
    descriptor_.mark_drained(op::Direction::write);
    wait_for_room();
    return false;
  }
  sent(attempt.result);
  return attempt.result.ok() || attempt.result.is(EINTR);
}

void Stream::flush_through_reactor() {
  if (load_send()) context_.reactor->submit(outgoing_->send);
}

void Stream::on_send(const op::Completion& completion) {
  if (state_ == State::joining) {
    // Aborted while it was under way: asyncio would have sent it, and what came after it, in
    // write().
    if (completion.result.ok()) count_sent(static_cast<size_t>(completion.result.value()));
    bool sends_rest = completion.result.ok() || completion.result.is(ECANCELED);
    if (sends_rest && !under_way_at_fork_) send_quietly();
    return end_of_operation();
  }
  if (state_ == State::closed) return;
  under_way_at_fork_ = false;  // this process goes on with it
  if (completion.result.is_again()) return wait_for_room();
  // Cancelled because the loop stopped: nothing was sent, and it is sent again.
  if (!completion.result.is(ECANCELED)) sent(completion.result);
  if (settling_) return flush_direct();
  flush_through_reactor();
  let_go_of_outgoing();  // last: it holds the operation that this completes
}

// The epoll reactor tries the send itself when there is room. The ring's own poll would end at the
// peer's half-close, so there an epoll set waits for POLLOUT alone.
void Stream::wait_for_room() {
  if (context_.reactor->sends_wait_for_room()) return flush_through_reactor();
  if (nothing_waits() || ended()) return;
  if (!waits_for_room()) context_.reactor->submit(outgoing_->room);
}

// What cannot be waited for (no memory, max_user_watches, a socket that the program closed) fails.
void Stream::on_room(const op::Completion& completion) {
  if (state_ == State::joining) return end_of_operation();
  base::Result result = completion.result;
  bool failed = !result.ok() && !result.is_again() && !result.is(EINTR) && !result.is(ECANCELED);
  if (failed) return write_failed(result.error_number());
  // As asyncio, which reads first: only the receive says what came, and that it was a reset. After
  // a hang-up it always comes home (POLLERR alone may be about the socket's error queue).
  bool hung_up = result.ok() && result.value() & POLLHUP;
  sends_after_read_ = hung_up && state_ == State::open && read_under_way();
  if (!sends_after_read_) flush_direct();
}

void Stream::sent(base::Result result) {
  if (result.is(EINTR)) return;
  if (!result.ok()) return write_failed(result.error_number());
  count_sent(static_cast<size_t>(result.value()));
  log_sent(static_cast<size_t>(result.value()));
  events_->on_sent();
  if (nothing_waits()) after_backlog();
}

void Stream::count_sent(size_t size) {
  traffic_.sent(size);
  if (outgoing_) outgoing_->queue.consume(size);
}

// Once nothing is half done: log handlers are user code, which may write.
void Stream::log_sent(size_t size) {
  base::log(base::LogLevel::trace, "transport", "TCP wrote ", size, " bytes [fd=", descriptor_.fd,
            "]");
}

// What waits will never be sent. The owner is expected to abort; if it does not, nothing is tried
// again, and a close that waited for the backlog still ends.
void Stream::write_failed(int error_number) {
  drop_waiting();
  events_->on_error(IoStep::write, reason_of(error_number));
  if (nothing_waits() && state_ == State::flushing) begin_join();
}

base::Result Stream::write_eof() {
  eof_wanted_ = true;
  return nothing_waits() && state_ == State::open ? shut_down() : base::Result();
}

void Stream::after_backlog() {
  if (state_ == State::flushing) return begin_join();
  // Should it fail, the connection has ended, which its reading half reports.
  if (state_ == State::open && eof_wanted_) shut_down();
}

// shutdown(2) never blocks; through the ring it would start a worker thread (44 us).
base::Result Stream::shut_down() {
  if (std::exchange(shut_down_, true)) return base::Result();
  ++context_.reactor->statistics().syscalls;
  auto result = base::Result::from_call(::shutdown(descriptor_.number(), SHUT_WR));
  if (result.ok()) {
    base::log(base::LogLevel::debug, "transport",
              "TCP writer shutdown completed [fd=", descriptor_.fd, "]");
  }
  return result;
}

// --- the end ---------------------------------------------------------------------------------

void Stream::close() {
  if (state_ != State::open) return;
  state_ = State::flushing;
  sends_after_read_ = false;
  stop_reading();
  // Nobody tells when the socket that the program closed has room.
  if (!nothing_waits() && descriptor_.number() < 0) {
    return events_->on_error(IoStep::write, EBADF);
  }
  if (!nothing_waits()) flush_now();
  if (nothing_waits() && state_ == State::flushing) begin_join();
}

void Stream::abort() {
  if (ended()) return;
  // asyncio sends inside write(): only what the kernel refused is lost.
  if (linked() && !send_under_way()) send_quietly();
  stop_reading();
  if (outgoing_) context_.reactor->cancel(outgoing_->send);
  begin_join();
}

// What the kernel takes now, without an event. Nothing is in flight.
void Stream::send_quietly() {
  size_t all = 0;
  while (!nothing_waits()) {
    describe_waiting();
    ++context_.reactor->statistics().syscalls;
    base::Result result = outgoing_->send.attempt({}).result;
    if (result.is(EINTR)) continue;
    if (!result.ok()) break;
    count_sent(static_cast<size_t>(result.value()));
    all += static_cast<size_t>(result.value());
  }
  if (all > 0) log_sent(all);
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
  if (ended()) return;
  state_ = State::joining;
  if (linked()) unlink();
  for_each_operation([&](op::Operation& one) { context_.reactor->hasten(one); });
  events_->on_joining();
  stop_reading();
  if (outgoing_) context_.reactor->cancel(outgoing_->room);
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
  outgoing_.reset();
  context_.reactor->forget(descriptor_);
  events_->on_closed();
}

}  // namespace rloop::net
