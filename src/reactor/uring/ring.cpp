// Set-up and entering; see ring.hpp.
#include "reactor/uring/ring.hpp"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>

#include "base/clock.hpp"
#include "reactor/uring/compat.hpp"

namespace rloop::reactor {
namespace {

constexpr unsigned kSetupFlags = IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE |
                                 IORING_SETUP_CLAMP | IORING_SETUP_SINGLE_ISSUER |
                                 IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG;
constexpr unsigned kNeededFeatures = IORING_FEAT_SINGLE_MMAP | IORING_FEAT_NODROP |
                                     IORING_FEAT_SUBMIT_STABLE | IORING_FEAT_FAST_POLL |
                                     IORING_FEAT_EXT_ARG;

std::atomic<int64_t> last_close{0};  // of any ring, ns

}  // namespace

base::Result Ring::open(unsigned sq_entries, unsigned cq_entries,
                        const Capabilities& capabilities) {
  close();
  sq_entries = std::min(sq_entries, cq_entries);
  io_uring_params params{};
  params.flags = kSetupFlags;
  params.cq_entries = cq_entries;
  int error = io_uring_queue_init_params(sq_entries, &ring_, &params);
  if (error < 0) return base::Result(error);
  open_ = true;
  if ((params.features & kNeededFeatures) != kNeededFeatures) {
    close();
    return base::Result::error(EINVAL);
  }
  fill_submission_array(ring_);
  io_uring_ring_dontfork(&ring_);
  allow(capabilities);
  return base::Result(0);
}

void Ring::allow(const Capabilities& capabilities) {
  enter_flags_ = IORING_ENTER_GETEVENTS;
  if (capabilities.no_iowait && (ring_.features & kFeatureNoIowait)) enter_flags_ |= kEnterNoIowait;
}

// The structure of liburing points to the mappings only, never to itself.
Ring& Ring::operator=(Ring&& other) noexcept {
  if (this == &other) return *this;
  close();
  ring_ = other.ring_;
  open_ = std::exchange(other.open_, false);
  enter_flags_ = other.enter_flags_;
  asked_sq_ = other.asked_sq_;
  asked_cq_ = other.asked_cq_;
  enter_count_ = other.enter_count_;
  return *this;
}

void Ring::close() {
  if (!open_) return;
  open_ = false;
  io_uring_queue_exit(&ring_);
  last_close.store(base::now_ns(), std::memory_order_relaxed);
}

int64_t Ring::last_close_ns() {
  return last_close.load(std::memory_order_relaxed);
}

void Ring::abandon() {
  if (!open_) return;
  open_ = false;
  ::close(ring_.ring_fd);
}

io_uring_sqe* Ring::next_submission() {
  io_uring_sqe* sqe = io_uring_get_sqe(&ring_);
  if (sqe) return sqe;
  enter(0);
  return io_uring_get_sqe(&ring_);
}

bool Ring::has_submissions() const {
  return ring_.sq.sqe_tail != io_uring_smp_load_acquire(ring_.sq.khead);
}

bool Ring::kernel_has_work() const {
  return reactor::kernel_has_work(ring_);
}

bool Ring::has_overflowed() const {
  return completions_overflowed(ring_);
}

bool Ring::has_no_iowait() const {
  return (enter_flags_ & kEnterNoIowait) != 0;
}

// An error leaves the entries where they are, for the next enter.
void Ring::submit() {
  unsigned to_submit = publish_submissions(ring_);
  ++enter_count_;
  io_uring_enter2(static_cast<unsigned>(ring_.enter_ring_fd), to_submit, 0,
                  enter_flags_ & ~unsigned{IORING_ENTER_GETEVENTS}, nullptr, _NSIG / 8);
}

base::Result Ring::enter(int64_t timeout_ns) {
  unsigned to_submit = publish_submissions(ring_);
  unsigned wait_count = timeout_ns == 0 || has_completions() ? 0 : 1;
  __kernel_timespec timeout{.tv_sec = timeout_ns / 1'000'000'000,
                            .tv_nsec = timeout_ns % 1'000'000'000};
  io_uring_getevents_arg argument{};
  argument.sigmask_sz = _NSIG / 8;
  argument.ts = reinterpret_cast<uint64_t>(&timeout);
  ++enter_count_;
  int returned;
  if (wait_count == 0 || timeout_ns == base::kNever) {
    returned = io_uring_enter2(static_cast<unsigned>(ring_.enter_ring_fd), to_submit, wait_count,
                               enter_flags_, nullptr, _NSIG / 8);
  } else {
    // Never with a zero timeout: that arms a timer and sleeps, 21 us (KERNEL.md 0).
    returned = io_uring_enter2(static_cast<unsigned>(ring_.enter_ring_fd), to_submit, wait_count,
                               enter_flags_ | IORING_ENTER_EXT_ARG,
                               reinterpret_cast<sigset_t*>(&argument), sizeof(argument));
  }
  switch (returned < 0 ? -returned : 0) {
    case EINTR:
    case ETIME:
    case EAGAIN:
    case EBUSY:
      return base::Result(0);
    default:
      return base::Result(std::min(returned, 0));
  }
}

}  // namespace rloop::reactor
