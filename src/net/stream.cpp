// The writing half, and the end; see stream.hpp.
#include "net/stream.hpp"

#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
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
  if (state_ == State::joining || state_ == State::closed) return;
  queue_.append(std::move(segment));
}

void Stream::push(bool at_once) {
  if (queue_.empty() || write_pending()) return;  // goes out when what is pending completes
  // What an abort has dropped lies here until the end, and must not bring the stream into a list.
  if (state_ == State::joining || state_ == State::closed) return;
  bool large = queue_.backlog_bytes() >= kSendAtOnce_bytes;
  if (large || at_once) return flush_now();
  if (linked()) return;
  if (context_.may_send_now(sent_at_once_)) return flush_direct();
  context_.gather(*this);
}

void Stream::flush_now() {
  if (linked()) unlink();
  flush_direct();
}

void Stream::settle() {
  if (state_ == State::joining || state_ == State::closed) return;
  if (!send_.idle()) {
    bool outer = std::exchange(settling_, true);
    context_.reactor->settle(send_);
    settling_ = outer;
  }
  flush_now();
}

bool Stream::load_send() {
  if (queue_.empty() || write_pending() || state_ == State::joining || state_ == State::closed) {
    return false;
  }
  send_.set_range_count(queue_.describe(send_.ranges(queue_.segment_count())));
  return true;
}

// Tries until the kernel takes no more; the rest waits for room.
void Stream::flush_direct() {
  while (load_send()) {
    ++context_.reactor->statistics().syscalls;
    op::Attempt attempt = send_.attempt({});
    if (attempt.result.is_again() || attempt.drained) {
      if (attempt.result.ok()) sent(attempt.result);
      descriptor_.mark_drained(op::Direction::write);
      return wait_for_room();
    }
    sent(attempt.result);
    // What was written inside on_error waits for the next turn, or it would fail here for ever.
    if (!attempt.result.ok() && !attempt.result.is(EINTR)) return;
  }
}

void Stream::flush_through_reactor() {
  if (load_send()) context_.reactor->submit(send_);
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
}

// The epoll reactor tries the send itself when there is room. The ring's own poll would end at the
// peer's half-close, so there an epoll set waits for POLLOUT alone.
void Stream::wait_for_room() {
  if (context_.reactor->sends_wait_for_room()) return flush_through_reactor();
  if (queue_.empty() || state_ == State::joining || state_ == State::closed) return;
  if (!room_) {
    room_ = std::make_unique<PollForRoom>(*this, descriptor_, op::Direction::write,
                                          op::Readiness::by_epoll_set);
  }
  if (room_->idle()) context_.reactor->submit(*room_);
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
  if (queue_.empty()) after_backlog();
}

void Stream::count_sent(size_t size) {
  traffic_.sent(size);
  queue_.consume(size);
}

// Once nothing is half done: log handlers are user code, which may write.
void Stream::log_sent(size_t size) {
  base::log(base::LogLevel::trace, "transport", "TCP wrote ", size, " bytes [fd=", descriptor_.fd,
            "]");
}

// What waits will never be sent. The owner is expected to abort; if it does not, nothing is tried
// again, and a close that waited for the backlog still ends.
void Stream::write_failed(int error_number) {
  queue_.clear();
  events_->on_error(IoStep::write, reason_of(error_number));
  if (queue_.empty() && state_ == State::flushing) begin_join();
}

base::Result Stream::write_eof() {
  eof_wanted_ = true;
  return queue_.empty() && state_ == State::open ? shut_down() : base::Result();
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
  if (!queue_.empty() && descriptor_.number() < 0) {
    return events_->on_error(IoStep::write, EBADF);
  }
  if (!queue_.empty()) flush_now();
  if (queue_.empty() && state_ == State::flushing) begin_join();
}

void Stream::abort() {
  if (state_ == State::joining || state_ == State::closed) return;
  // asyncio sends inside write(): only what the kernel refused is lost.
  if (linked() && send_.idle()) send_quietly();
  stop_reading();
  context_.reactor->cancel(send_);
  begin_join();
}

// What the kernel takes now, without an event. Nothing is in flight.
void Stream::send_quietly() {
  size_t all = 0;
  while (!queue_.empty()) {
    send_.set_range_count(queue_.describe(send_.ranges(queue_.segment_count())));
    ++context_.reactor->statistics().syscalls;
    base::Result result = send_.attempt({}).result;
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
  if (state_ == State::joining || state_ == State::closed) return;
  state_ = State::joining;
  if (linked()) unlink();
  for_each_operation([&](op::Operation& one) { context_.reactor->hasten(one); });
  events_->on_joining();
  stop_reading();
  if (room_) context_.reactor->cancel(*room_);
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
