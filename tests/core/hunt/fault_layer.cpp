// Calls that are meddled with, and the rest passed on; see fault_layer.hpp.
#include "hunt/fault_layer.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace rloop::hunt {
void FaultLayer::forget_all() {
  for (auto& [fd, faults] : near)
    faults = {};
  refused_fd = -1;
  shortest = most_entries = 0;
  hold = interruptions = 0;
}

FaultLayer::Faults* FaultLayer::find(int fd) {
  auto found = near.find(fd);
  return found == near.end() ? nullptr : &found->second;
}

ssize_t FaultLayer::send(int fd, const void* bytes, size_t size, int flags) {
  if (Faults* faults = find(fd)) {
    size = std::min(size, std::exchange(faults->most_sent, SIZE_MAX));
    if (int error = std::exchange(faults->refuse_send, 0)) return refused(error);
  }
  return SystemCalls::send(fd, bytes, size, flags);
}

ssize_t FaultLayer::sendmsg(int fd, const msghdr* message, int flags) {
  Faults* faults = find(fd);
  if (!faults) return SystemCalls::sendmsg(fd, message, flags);
  size_t most = std::exchange(faults->most_sent, SIZE_MAX);
  if (int error = std::exchange(faults->refuse_send, 0)) return refused(error);
  if (most == SIZE_MAX) return SystemCalls::sendmsg(fd, message, flags);
  return SystemCalls::send(fd, message->msg_iov->iov_base,
                           std::min(most, message->msg_iov->iov_len), flags);
}

ssize_t FaultLayer::recv(int fd, void* bytes, size_t size, int flags) {
  if (Faults* faults = find(fd)) {
    size = std::min(size, std::exchange(faults->most_received, SIZE_MAX));
    if (int error = std::exchange(faults->refuse_recv, 0)) return refused(error);
  }
  return SystemCalls::recv(fd, bytes, size, flags);
}

int FaultLayer::close(int fd) {
  near.erase(fd);
  return SystemCalls::close(fd);
}

int FaultLayer::epoll_wait(int set, epoll_event* events, int most, int timeout_ms) {
  if (interruptions > 0) {
    --interruptions;
    // An event at a time is a kernel's right as well.
    if (interruptions % 2 == 0) return refused(EINTR);
    most = 1;
  }
  return SystemCalls::epoll_wait(set, events, most, timeout_ms);
}

int FaultLayer::io_uring_queue_init_params(unsigned entries, io_uring* ring,
                                           io_uring_params* params) {
  if (refuse_ring) return -EPERM;
  int result = SystemCalls::io_uring_queue_init_params(entries, ring, params);
  if (result >= 0) ring_ = *ring;
  replaced_.clear();
  return result;
}

void FaultLayer::io_uring_queue_exit(io_uring* ring) {
  ring_.reset();
  SystemCalls::io_uring_queue_exit(ring);
}

int FaultLayer::io_uring_enter2(unsigned fd, unsigned to_submit, unsigned wanted, unsigned flags,
                                sigset_t* argument, size_t size) {
  bool ours = ring_ && static_cast<unsigned>(ring_->ring_fd) == fd;
  if (!ours) return SystemCalls::io_uring_enter2(fd, to_submit, wanted, flags, argument, size);
  if (refuse_ring) return -EPERM;
  if (hold > 0) {
    --hold;
    return 0;
  }
  if (interruptions > 0) {
    static constexpr int kErrors[] = {EINTR, EAGAIN, EBUSY};
    return -kErrors[interruptions-- % 3];
  }
  change_entries();
  unsigned most = std::exchange(most_entries, 0);
  if (most > 0) to_submit = std::min(to_submit, most);
  int result = SystemCalls::io_uring_enter2(fd, to_submit, wanted, flags, argument, size);
  change_completions();
  return result;
}

void FaultLayer::change_entries() {
  if (refused_fd < 0 && shortest == 0) return;
  io_uring_sq& queue = ring_->sq;
  unsigned mask = *queue.kring_entries - 1;
  for (unsigned i = *queue.khead; i != *queue.ktail; ++i) {
    io_uring_sqe& entry = queue.sqes[i & mask];
    bool sends = entry.opcode == IORING_OP_SEND || entry.opcode == IORING_OP_SENDMSG;
    if (!sends && entry.opcode != IORING_OP_RECV) continue;
    if (entry.opcode == IORING_OP_SEND && shortest > 0) {
      entry.len = std::min(entry.len, std::exchange(shortest, 0));
    }
    if (entry.fd != refused_fd) continue;
    refused_fd = -1;
    int error = refused_errno;
    if (error == ENOBUFS && sends) error = EAGAIN;
    replaced_[entry.user_data] = error;
    uint64_t user_data = entry.user_data;
    std::memset(&entry, 0, sizeof(entry));
    entry.opcode = IORING_OP_NOP;
    entry.user_data = user_data;
  }
}

void FaultLayer::change_completions() {
  if (replaced_.empty()) return;
  io_uring_cq& queue = ring_->cq;
  unsigned mask = *queue.kring_entries - 1;
  for (unsigned i = *queue.khead; i != io_uring_smp_load_acquire(queue.ktail); ++i) {
    io_uring_cqe& completion = queue.cqes[i & mask];
    auto found = replaced_.find(completion.user_data);
    if (found == replaced_.end()) continue;
    completion.res = -found->second;
    replaced_.erase(found);
  }
}

}  // namespace rloop::hunt
