// The life of the ring behind a RingReactor: made, followed to another thread, ended, left behind.
//
// A ring belongs to the thread that attached (KERNEL.md 1), and is made by the first wait that
// needs it. attach_to_thread ends the one of another thread, and what was in flight waits for the
// next. quiesce ends what could not follow; drain ends everything; abandon lets go in the child of
// a fork. The turn itself is in ring_reactor.cpp.
#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <new>
#include <system_error>
#include <utility>

#include "base/log.hpp"
#include "op/recv_datagram.hpp"
#include "reactor/uring/ring_reactor.hpp"
#include "reactor/uring/ring_supply.hpp"

namespace rloop::reactor {
namespace {

// gettid(2) itself: its function is as young as glibc 2.30, and wheels are for 2.28.
pid_t this_thread() {
  return static_cast<pid_t>(::syscall(SYS_gettid));
}

}  // namespace

base::Result RingReactor::attach_to_thread() {
  watched_at_ = 0;  // the first turn looks at what is watched
  base::Result renewed = open_watch_set();
  if (renewed.ok()) renewed = complete_watch_set();
  if (renewed.ok()) renewed = waker_.open_again();
  if (!renewed.ok()) return renewed;
  pid_t thread = this_thread();
  if (ring_.is_open() && thread != owner_thread_) {
    // Completions that are in the ring's memory count; the rest has not happened.
    collect_all();
    ring_.close();
    take_back_in_flight();
    ++statistics_.ring_rebuilds;
    base::log(base::LogLevel::debug, "reactor", "ring rebuilt: the loop moved from thread ",
              owner_thread_, " to thread ", thread);
  }
  owner_thread_ = thread;
  owner_pthread_ = ::pthread_self();
  // A sandbox may have been set up since the last run.
  base::Result usable = ring_.is_open() ? ring_.enter(0) : hold_place();
  if (!usable.ok()) return usable;
  waker_.arm();
  return base::Result(0);
}

// The ring is made later, when the program may have taken every descriptor that it can get.
base::Result RingReactor::hold_place() {
  if (place_.valid()) return base::Result(0);
  place_.reset(::fcntl(watch_fd_.get(), F_DUPFD_CLOEXEC, 0));
  if (place_.valid()) return base::Result(0);
  return base::Result::error(errno == EINVAL ? EMFILE : errno);  // where the limit is none at all
}

// Whether a wait needs what only a ring can do. Making one, and ending it, costs more than all else
// that a short run does, and many runs only call something. What the program watches is looked at
// until there is one; a run that goes on gets it.
bool RingReactor::wants_ring(int64_t timeout_ns) {
  constexpr int kMostWaits = 32;
  if (timeout_ns != 0 && !has_undispatched()) return true;
  size_t own_count = (waker_.operation().idle() ? 0 : 1) + (watch_poll_.idle() ? 0 : 1);
  if (busy_count_ > own_count || ++waits_without_ring_ > kMostWaits) return true;
  pollfd watched{.fd = watch_fd_.get(), .events = POLLIN, .revents = 0};
  ++statistics_.syscalls;
  return ::poll(&watched, 1, 0) != 0;
}

base::Result RingReactor::open_ring() {
  place_.reset();
  waits_without_ring_ = 0;
  for (bool& registered : registered_)
    registered = false;
  base::Result result = supply_ring(ring_, config_.sq_entries, config_.cq_entries, capabilities_);
  if (!result.ok()) return result;
  for (uint16_t group = 0; group < op::kBufferGroups; ++group) {
    if (!buffers_[group] || !lends(group)) continue;
    base::Result registered = register_buffers(group);
    if (!registered.ok()) stop_lending(group, registered);
  }
  return result;
}

// When the first receive of a group is wanted, and for each ring after that.
base::Result RingReactor::provide_buffers(uint16_t group) {
  std::optional<BufferRing>& buffers = buffers_[group];
  if (!buffers) {
    bool streams = group == op::kReceiveBufferGroup;
    try {
      buffers.emplace(streams ? config_.buffer_count : config_.datagram_count,
                      streams ? config_.buffer_size : op::RecvDatagram::kBufferSize, group);
    } catch (const std::system_error& error) {
      return base::Result::error(error.code().value());
    }
  }
  if (!ring_.is_open() || owner_thread_ != this_thread()) return base::Result(0);
  return register_buffers(group);
}

base::Result RingReactor::register_buffers(uint16_t group) {
  base::Result result(0);
  do {
    result = buffers_[group]->register_with(ring_);
  } while (result.is(ENOMEM) && ring_memory_may_come_back());
  registered_[group] = result.ok();
  return result;
}

// The capability by which owners know whether to submit receives of a group.
bool& RingReactor::lends(uint16_t group) {
  return group == op::kReceiveBufferGroup ? capabilities_.buffer_ring
                                          : capabilities_.multishot_recvmsg;
}

// Receives that find no group end with ENOBUFS, and whoever reads the capability then polls.
void RingReactor::stop_lending(uint16_t group, base::Result why) {
  lends(group) = false;
  refusals_[group] = why;
}

// After a wait that does not block: whoever handles the log line is user code, and what that
// schedules must not come between the look at what there is to do and a wait that does.
void RingReactor::tell_refusals() {
  for (uint16_t group = 0; group < op::kBufferGroups; ++group) {
    base::Result why = std::exchange(refusals_[group], base::Result(0));
    if (!why.ok()) [[unlikely]]
      tell_refusal(group, why);
  }
}

void RingReactor::tell_refusal(uint16_t group, base::Result why) {
  const char* what = group == op::kReceiveBufferGroup
                         ? "io_uring works without its buffer ring, which is slower: "
                         : "datagrams are received without lent buffers, which is slower: ";
  base::log(base::LogLevel::warning, "reactor", what,
            why.is(ENOMEM) ? explain_memory_limit()
                           : explain_refusal(why.error_number(), "io_uring_register"));
}

void RingReactor::collect_all() {
  while (ring_.has_completions()) {
    if (!collect_completions()) throw std::bad_alloc();
  }
}

// The end of the ring: the thread's next loop gets it if this is the thread and nothing of ours is
// left in it.
void RingReactor::put_ring_away() {
  if (!ring_.is_open()) return;
  bool clean = owner_thread_ == this_thread() && in_flight_.empty();
  while (ring_.has_completions() && collect_completions()) {
  }
  for (std::optional<BufferRing>& buffers : buffers_) {
    if (clean && buffers) clean = buffers->unregister_from(ring_).ok();
  }
  if (clean) return keep_ring(std::move(ring_));
  ring_.close();
}

// After the ring is gone: what was in flight waits for the next ring, what was to be cancelled is.
// One whose result is not known, and that cannot be repeated without it, ends with `unknown`.
// `completions_lost`: with the ring, of whichever operations.
void RingReactor::take_back_in_flight(base::Result unknown, bool completions_lost) {
  cancels_.clear();
  OperationList again;
  in_flight_.for_each([&](op::Operation& operation) {
    bool must_know = completions_lost
                         ? operation.replay() != op::Replay::yes
                         : operation.replay() == op::Replay::no && !operation.cancel_requested();
    if (must_know) {
      operation.unlink();
      arrive(operation, unknown, 0, true);
    } else {
      take_back(operation, again);
    }
  });
  again.splice_back(queued_);
  queued_.splice_back(again);
}

void RingReactor::take_back(op::Operation& operation, OperationList& again) {
  operation.unlink();
  if (operation.cancel_requested()) {
    arrive(operation, base::Result::error(ECANCELED), 0, true);
  } else {
    operation.set_state(op::State::queued);
    again.push_back(operation);
  }
}

// What is prepared and was never submitted has not happened.
void RingReactor::take_back_unsubmitted() {
  OperationList again;
  ring_.for_each_submission([&](uint64_t user_data) {
    if (user_data != kNobody) take_back(*reinterpret_cast<op::Operation*>(user_data), again);
  });
  again.splice_back(queued_);
  queued_.splice_back(again);
}

// Nothing happens in a ring outside our own enter, and a send ends when it is submitted: what has
// a completion in the ring's memory has happened, what the kernel did not take has not. Completions
// that overflowed are out of reach, and the bytes that they brought: a receive that went on behind
// them would leave a hole.
void RingReactor::give_up(base::Result why) {
  bool completions_lost = false;
  if (ring_.is_open()) {
    completions_lost = ring_.has_overflowed();
    collect_all();
    take_back_unsubmitted();
    ring_.close();
  }
  take_back_in_flight(why, completions_lost);
}

bool RingReactor::unreplayable_in_flight() {
  bool found = false;
  in_flight_.for_each(
      [&](op::Operation& operation) { found = found || operation.replay() == op::Replay::no; });
  return found;
}

// A send whose progress is unknown cannot be taken to another ring, nor completions that overflowed
// into kernel memory. All end at once when asked to.
void RingReactor::quiesce() {
  if (!ring_.is_open()) return;
  constexpr int kMaxRounds = 1000;
  for (int round = 0; round < kMaxRounds; ++round) {
    if (!unreplayable_in_flight() && !ring_.kernel_has_work()) break;
    in_flight_.for_each([this](op::Operation& operation) {
      if (operation.replay() == op::Replay::no) cancel(operation);
    });
    prepare_cancels();
    ++statistics_.syscalls;
    if (!ring_.enter(0).ok()) break;
    collect_completions();
  }
}

void RingReactor::move_to(Reactor& other) {
  RLOOP_ASSERT(in_flight_.empty() && !ring_.is_open(), "a reactor with a ring cannot be replaced");
  end_own_operations();
  watches_.move_to(other);
  while (!queued_.empty()) {
    op::Operation& operation = queued_.pop_front();
    other.take_over(operation);
  }
}

size_t RingReactor::drain(int64_t limit_ns) {
  ending_ = true;
  watches_.take_waiting([this](op::Operation& operation) {
    arrive(operation, base::Result::error(ECANCELED), 0, true);
  });
  while (!queued_.empty())
    cancel(queued_.front());
  if (ring_.is_open() && owner_thread_ != this_thread()) {
    // Another thread's ring cannot be entered. Nothing happens in it without its thread, so
    // closing it ends every operation.
    collect_all();
    ring_.close();
    in_flight_.for_each([](op::Operation& operation) { operation.set_cancel_requested(true); });
    take_back_in_flight();
  }
  int64_t deadline_ns = base::now_ns() + limit_ns;
  while (!in_flight_.empty() && base::now_ns() < deadline_ns) {
    in_flight_.for_each([this](op::Operation& operation) { cancel(operation); });
    prepare_cancels();
    ++statistics_.syscalls;
    base::Result entered = ring_.enter(10'000'000);
    if (!entered.ok()) give_up(entered);
    if (ring_.is_open()) collect_completions();
    while (has_undispatched())
      dispatch();
    while (!queued_.empty())
      cancel(queued_.front());
  }
  while (has_undispatched())
    dispatch();
  size_t left = 0;
  in_flight_.for_each([&](op::Operation&) { ++left; });
  return left;
}

// In the child of a fork there is none at first.
base::Result RingReactor::open_watch_set() {
  if (watch_fd_.valid()) return base::Result(0);
  watch_fd_.reset(::epoll_create1(EPOLL_CLOEXEC));
  if (!watch_fd_.valid()) return base::Result::error(errno);
  watch_descriptor_.fd = watch_fd_.get();
  watches_.adopt_set(watch_fd_.get());
  (void)complete_watch_set();  // whoever runs the loop is told
  if (watch_poll_.idle()) submit(watch_poll_);
  return base::Result(0);
}

base::Result RingReactor::complete_watch_set() {
  return watches_.complete([this](op::Operation& operation, base::Result failure) {
    arrive(operation, failure, 0, true);
  });
}

void RingReactor::let_go_of_descriptors() {
  owner_thread_ = 0;  // nobody, until somebody attaches
  owner_pthread_ = {};
  ring_.abandon();
  place_.reset();
  for (bool& registered : registered_)
    registered = false;
  for (std::optional<BufferRing>& buffers : buffers_)
    if (buffers) buffers->abandon();
  watch_fd_.reset();
  watches_.forget_set();
  waker_watched_ = direct_ = false;
  watch_count_ = 0;
  waker_.close();
  sleeping_.store(false, std::memory_order_relaxed);
}

void RingReactor::start_over() {
  let_go_of_descriptors();
  take_back_in_flight();
}

void RingReactor::abandon() {
  auto forget = [](op::Operation& operation) {
    operation.unlink();
    operation.set_state(op::State::idle);
  };
  queued_.for_each(forget);
  in_flight_.for_each(forget);
  watches_.take_waiting([](op::Operation& operation) { operation.set_state(op::State::idle); });
  cancels_.clear();
  die();
  let_go_of_descriptors();
}

}  // namespace rloop::reactor
