// Implements ring.hpp.
#include "ring.hpp"

#include <signal.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>

#include "reactor/uring/compat.hpp"
#include "sockets.hpp"

namespace limit {
namespace {

constexpr unsigned kSetupFlags = IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE |
                                 IORING_SETUP_CLAMP | IORING_SETUP_SINGLE_ISSUER |
                                 IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG;
constexpr unsigned kSubmissions = 1024;
constexpr unsigned kCompletions = 4096;
constexpr unsigned kFewestCompletions = 1024;  // a smaller memory-lock limit has no ring
constexpr unsigned kOfferedFirst = 32;

char* map_memory(std::size_t bytes) {
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) {
    fail("mmap of the buffers");
  }
  return static_cast<char*>(memory);
}

}  // namespace

Ring::Ring() {
  unsigned submissions = kSubmissions;
  unsigned completions = kCompletions;
  for (;;) {
    io_uring_params params{};
    params.flags = kSetupFlags;
    params.cq_entries = completions;
    const int error = io_uring_queue_init_params(submissions, &ring_, &params);
    if (error == 0) {
      break;
    }
    if (error != -ENOMEM || completions == kFewestCompletions) {
      fail("there is no io_uring here", -error);
    }
    submissions /= 2;
    completions /= 2;
  }
  rloop::reactor::fill_submission_array(ring_);
  if ((ring_.features & rloop::reactor::kFeatureNoIowait) != 0) {
    flags_ |= rloop::reactor::kEnterNoIowait;
  }
  if (io_uring_register_ring_fd(&ring_) == 1) {
    flags_ |= IORING_ENTER_REGISTERED_RING;
  }
}

io_uring_sqe& Ring::entry() {
  io_uring_sqe* sqe = io_uring_get_sqe(&ring_);
  if (sqe == nullptr) {
    const unsigned queued = rloop::reactor::publish_submissions(ring_);
    io_uring_enter2(static_cast<unsigned>(ring_.enter_ring_fd), queued, 0,
                    flags_ & ~unsigned{IORING_ENTER_GETEVENTS}, nullptr, _NSIG / 8);
    sqe = io_uring_get_sqe(&ring_);
  }
  if (sqe == nullptr) {
    fail("the submission queue stays full", EBUSY);
  }
  return *sqe;
}

void Ring::enter() {
  const unsigned queued = rloop::reactor::publish_submissions(ring_);
  const int returned = io_uring_enter2(static_cast<unsigned>(ring_.enter_ring_fd), queued, 1,
                                       flags_, nullptr, _NSIG / 8);
  if (returned < 0 && returned != -EINTR && returned != -EAGAIN && returned != -EBUSY) {
    fail("io_uring_enter", -returned);
  }
}

Buffers::Buffers(Ring& ring, unsigned count)
    : memory_(map_memory(count * kBytes)),
      entries_(reinterpret_cast<io_uring_buf_ring*>(map_memory(count * sizeof(io_uring_buf)))),
      count_(count),
      offered_(std::min(count, kOfferedFirst)) {
  io_uring_buf_reg registration{};
  registration.ring_addr = reinterpret_cast<std::uintptr_t>(entries_);
  registration.ring_entries = count;
  registration.bgid = kGroup;
  const int error = io_uring_register_buf_ring(ring.raw(), &registration, 0);
  if (error < 0) {
    fail("registering the buffers", -error);
  }
  io_uring_buf_ring_init(entries_);
  for (unsigned id = 0; id < offered_; ++id) {
    add(static_cast<std::uint16_t>(id));
  }
  publish();
}

Buffers::~Buffers() {
  munmap(memory_, count_ * kBytes);
  munmap(entries_, count_ * sizeof(io_uring_buf));
}

std::uint16_t Buffers::take(const io_uring_cqe& completion) {
  lent_ += 1;
  were_short_ |= lent_ == offered_;
  return static_cast<std::uint16_t>(completion.flags >> IORING_CQE_BUFFER_SHIFT);
}

void Buffers::give_back(std::uint16_t id) {
  lent_ -= 1;
  add(id);
}

bool Buffers::publish() {
  if (were_short_) {
    were_short_ = false;
    for (const unsigned wanted = std::min(count_, offered_ * 2); offered_ < wanted;) {
      add(static_cast<std::uint16_t>(offered_++));
    }
  }
  io_uring_buf_ring_advance(entries_, unpublished_);
  unpublished_ = 0;
  return lent_ < offered_;
}

void Buffers::add(std::uint16_t id) {
  io_uring_buf_ring_add(entries_, data(id), static_cast<unsigned>(kBytes), id,
                        io_uring_buf_ring_mask(count_), unpublished_++);
}

}  // namespace limit
