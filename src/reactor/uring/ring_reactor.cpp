// Submission, collection and dispatch; see ring_reactor.hpp. The ring's life: ring_lifecycle.cpp.
#include "reactor/uring/ring_reactor.hpp"

#include <sys/epoll.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

#include "absl/cleanup/cleanup.h"
#include "base/log.hpp"
#include "op/recv_datagram.hpp"

namespace rloop::reactor {
namespace {

int make_epoll() {
  int fd = ::epoll_create1(EPOLL_CLOEXEC);
  if (fd < 0) throw std::system_error(errno, std::generic_category(), "epoll_create1");
  return fd;
}

}  // namespace

RingReactor::RingReactor(const Config& config, Statistics& statistics)
    : Reactor(config, statistics),
      watch_fd_(make_epoll()),
      watches_(watch_fd_.get(), 0, statistics),
      watch_descriptor_(watch_fd_.get()),
      waker_(*this, /*blocking=*/true) {
  const Probe& probe = probe_io_uring();
  if (!probe.capabilities.ring) {
    throw std::system_error(probe.error_number, std::generic_category(), probe.reason);
  }
  capabilities_ = probe.capabilities.masked_by(config.allowed);
}

RingReactor::~RingReactor() {
  put_ring_away();
  take_back_in_flight();
  end_own_operations();
}

// Without a ring. Watchers that are told may submit one, so they are cancelled after that.
void RingReactor::end_own_operations() {
  ending_ = true;
  do {
    while (has_undispatched())
      dispatch();
    for (op::Operation* own : {&waker_.operation(), static_cast<op::Operation*>(&watch_poll_)}) {
      if (own->state() == op::State::queued) cancel(*own);
    }
  } while (has_undispatched());
}

void RingReactor::submit(op::Operation& operation) {
  if (dead_) return;
  RLOOP_ASSERT(operation.idle(), "an operation was submitted while in flight");
  if (operation.waits_in_epoll_set()) return watch_once(operation);
  make_room_for_one();
  uint16_t group = operation.buffer_group();
  base::Result provided(0);
  if (group != op::kNoBufferGroup && !registered_[group]) provided = provide_buffers(group);
  operation.set_state(op::State::queued);
  queued_.push_back(operation);
  rouse();
  if (!provided.ok()) [[unlikely]] {
    stop_lending(group, provided);
    tell_refusals();  // last: whoever handles the log line is user code
  }
}

// What an operation may lack memory for, before anything of it has changed.
void RingReactor::make_room_for_one() {
  if (cancels_.capacity() <= busy_count_) cancels_.reserve(busy_count_ * 2 + 16);
  expect_arrival();
  ++statistics_.submitted;
}

// A poll in the ring would hold the user's file open: closing the socket would send no FIN.
void RingReactor::watch_once(op::Operation& operation) {
  base::Result result = poll_watch_set();
  make_room_for_one();
  operation.set_state(op::State::in_flight);
  if (result.ok()) result = watches_.wait_once(operation);
  if (!result.ok()) return arrive(operation, result, 0, true);
  operation.descriptor().in_watch_set = true;
}

// Before anything is put into the set: this may lack memory as well, and who waits there would
// never be told.
base::Result RingReactor::poll_watch_set() {
  base::Result result = open_watch_set();
  if (result.ok() && watch_poll_.idle()) submit(watch_poll_);
  return result;
}

void RingReactor::cancel(op::Operation& operation) {
  if (operation.waits_in_epoll_set()) {
    if (operation.state() != op::State::in_flight) return;
    watches_.remove(operation);
    return arrive(operation, base::Result::error(ECANCELED), 0, true);
  }
  if (operation.state() == op::State::queued) {
    operation.unlink();
    arrive(operation, base::Result::error(ECANCELED), 0, true);
  } else if (operation.state() == op::State::in_flight && !operation.cancel_requested()) {
    operation.set_cancel_requested(true);
    cancels_.push_back(&operation);
    rouse();
  }
}

// What was submitted and does not wait has its completion in the ring's memory, which only the
// ring's own thread may read.
void RingReactor::settle(op::Operation& operation) {
  if (operation.state() == op::State::queued) cancel(operation);
  bool is_ours = ring_.is_open() && ::pthread_equal(owner_pthread_, ::pthread_self());
  if (operation.state() == op::State::in_flight && is_ours) {
    flush();
    while (operation.state() == op::State::in_flight && ring_.has_completions()) {
      if (!collect_completions()) break;
    }
  }
  if (operation.state() == op::State::finishing) bring_home_now(operation);
}

void RingReactor::forget(op::Descriptor& descriptor) {
  if (!descriptor.in_watch_set) return;
  descriptor.in_watch_set = false;
  if (descriptor.number() >= 0) watches_.forget(descriptor.fd);
}

base::Result RingReactor::watch(int fd, op::Direction direction, Watcher& watcher) {
  if (dead_) return base::Result::error(EBADF);
  base::Result result = poll_watch_set();
  return result.ok() ? watches_.watch(fd, direction, watcher) : result;
}

bool RingReactor::unwatch(int fd, op::Direction direction) {
  return watches_.unwatch(fd, direction);
}

bool RingReactor::needs_poll() {
  if (direct_ && watches_wait_alone()) return is_time_to_look(watched_at_);
  return !ring_.is_open() || has_unsubmitted() || ring_.has_completions() ||
         ring_.kernel_has_work();
}

// An enter runs some twenty of the completions that wait (Linux 6.13 and newer).
bool RingReactor::may_have_more() const {
  if (direct_) return watch_count_ == kMaxBatch;
  return ring_.is_open() && (ring_.has_completions() || ring_.kernel_has_work());
}

void RingReactor::prepare_wait(int64_t timeout_ns) {
  wait_enters_ = direct_ = false;
  waited_ = base::Result::error(EBADF);  // as epoll's, in the child of a fork
  if (owner_thread_ == 0) return;
  waited_ = base::Result(0);
  if (!ring_.is_open()) {
    if (!wants_ring(timeout_ns)) return;
    waited_ = open_ring();
    if (!waited_.ok()) return;
    if (has_refusals()) timeout_ns = 0;  // they are told after the wait
  }
  wait_timeout_ns_ = has_undispatched() ? 0 : timeout_ns;
  lingering_.wait_begins(wait_timeout_ns_);
  direct_ = waits_directly();
  if (direct_) {
    ++statistics_.syscalls;
    return;
  }
  prepare_cancels();
  prepare_queued();
  wait_enters_ = wait_timeout_ns_ != 0 || ring_.has_submissions() || ring_.kernel_has_work();
  if (wait_enters_) ++statistics_.syscalls;
}

void RingReactor::block() {
  if (direct_ || wait_enters_) {
    bool found = lingering_.finds(wait_timeout_ns_, [this] {
      enter(0);
      return !waited_.ok() || (direct_ ? waited_.value() > 0 : ring_.has_completions());
    });
    if (!found) enter(wait_timeout_ns_);
  }
  sleeping_.store(false, std::memory_order_relaxed);
}

void RingReactor::enter(int64_t timeout_ns) {
  waited_ = direct_ ? epoll_wait_.wait(watch_fd_.get(), *watch_events_, timeout_ns)
                    : ring_.enter(timeout_ns);
}

base::Result RingReactor::collect() {
  statistics_.syscalls += lingering_.take_extra_calls();
  tell_refusals();
  if (direct_) return collect_watches();
  if (ring_.is_open()) collect_completions();
  return waited_;
}

void RingReactor::flush() {
  // A ring takes submissions from its own thread only; what another one gathered while that is
  // awake goes out with its turn.
  if (!::pthread_equal(owner_pthread_, ::pthread_self())) return;
  if (!ring_.is_open() && (queued_.empty() || !open_ring().ok())) return;
  prepare_queued();
  if (!ring_.has_submissions()) return;
  ++statistics_.syscalls;
  ring_.submit();
}

void RingReactor::prepare_queued() {
  while (!queued_.empty()) {
    io_uring_sqe* sqe = ring_.next_submission();
    if (!sqe) return;  // the kernel wants completions consumed first; the rest goes next turn
    op::Operation& operation = queued_.pop_front();
    operation.prepare(*sqe);
    io_uring_sqe_set_data(sqe, &operation);
    operation.set_state(op::State::in_flight);
    in_flight_.push_back(operation);
  }
}

void RingReactor::prepare_cancels() {
  size_t prepared =
      0;  // in the order of the requests: connections end in the order of their closes
  for (; prepared < cancels_.size(); ++prepared) {
    io_uring_sqe* sqe = ring_.next_submission();
    if (!sqe) break;
    io_uring_prep_cancel64(sqe, reinterpret_cast<uint64_t>(cancels_[prepared]), 0);
    sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
    io_uring_sqe_set_data64(sqe, kNobody);
  }
  cancels_.erase(cancels_.begin(), cancels_.begin() + static_cast<ptrdiff_t>(prepared));
}

bool RingReactor::collect_completions() {
  if (!make_room_for_batch()) return false;  // they stay in the ring until there is memory
  ring_.consume(kMaxBatch, [this](uint64_t user_data, int result, uint32_t flags) {
    if (user_data != kNobody) collect_one(user_data, result, flags);
  });
  return true;
}

void RingReactor::collect_one(uint64_t user_data, int result, uint32_t flags) {
  auto& operation = *reinterpret_cast<op::Operation*>(user_data);
  bool final = !(flags & IORING_CQE_F_MORE);
  if (final) {
    operation.unlink();
    forget_cancel(operation);
  }
  if (flags & IORING_CQE_F_BUFFER) {
    buffers_[operation.buffer_group()]->take(
        static_cast<uint16_t>(flags >> IORING_CQE_BUFFER_SHIFT));
    ++statistics_.buffers_lent;
  }
  if (result == -ENOBUFS && operation.takes_buffers()) {
    ++statistics_.buffers_short;
    auto& buffers = buffers_[operation.buffer_group()];
    if (buffers) buffers->note_short();
  }
  arrive(operation, base::Result(result), flags, final);
}

void RingReactor::forget_cancel(op::Operation& operation) {
  if (operation.cancel_requested()) std::erase(cancels_, &operation);
}

void RingReactor::dispatch() {
  run_batch(begin_batch());
}

void RingReactor::run_batch() {
  absl::Cleanup publish = [this] {
    if (dead_) return;
    for (std::optional<BufferRing>& buffers : buffers_)
      if (buffers) buffers->publish();
  };
  for (Arrival arrival; next_arrival(arrival);) {
    op::Completion completion{.result = arrival.result,
                              .more = (arrival.flags & IORING_CQE_F_MORE) != 0};
    if (!(arrival.flags & IORING_CQE_F_BUFFER)) {
      bring_home(*arrival.operation, completion);
      continue;
    }
    auto id = static_cast<uint16_t>(arrival.flags >> IORING_CQE_BUFFER_SHIFT);
    size_t size = arrival.result.ok() ? static_cast<size_t>(arrival.result.value()) : 0;
    BufferRing& buffers = *buffers_[arrival.operation->buffer_group()];
    completion.data = std::span<const std::byte>(buffers.pool().buffer(id)).first(size);
    absl::Cleanup give_back = [&] {
      if (dead_) return;  // forked inside the completion: they are the parent's
      buffers.give_back(id);
      ++statistics_.buffers_returned;
    };
    bring_home(*arrival.operation, completion);
  }
}

void RingReactor::wake() {
  if (sleeping_.exchange(false)) waker_.signal();
}

std::unique_ptr<Reactor> make_ring_reactor(const Config& config, Statistics& statistics) {
  return std::make_unique<RingReactor>(config, statistics);
}

}  // namespace rloop::reactor
