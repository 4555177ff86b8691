// Faults between the core and the real kernel.
//
// System calls on the near sockets are short, interrupted or refused when the sequence says so. The
// ring is reached at io_uring_enter: entries that the core has published there are shortened, or
// replaced by a NOP whose completion is then given the errno that the sequence wants (so an
// operation ends without having done anything); enters are interrupted, held back, take fewer
// entries than they were given, or are refused for good. All of that a kernel may do: a fault that
// it never makes (an "again" from a socket with room, on an edge-triggered set) is not made here.
#pragma once

#include <liburing.h>

#include <map>
#include <optional>

#include "hunt/system_calls.hpp"

namespace rloop::hunt {

class FaultLayer final : public SystemCalls {
 public:
  // Of one socket.
  struct Faults {
    int refuse_send = 0, refuse_recv = 0;
    size_t most_sent = SIZE_MAX, most_received = SIZE_MAX;
  };

  std::map<int, Faults> near;  // only these sockets are meddled with
  // The next entry of this socket ends with this errno, or is this short.
  int refused_fd = -1, refused_errno = 0;
  unsigned shortest = 0;
  int hold = 0;               // enters that do nothing
  int interruptions = 0;      // waits that end with EINTR
  unsigned most_entries = 0;  // of the next enter; 0: all
  bool refuse_ring = false;
  void forget_all();

  ssize_t send(int fd, const void* bytes, size_t size, int flags) override;
  ssize_t sendmsg(int fd, const msghdr* message, int flags) override;
  ssize_t recv(int fd, void* bytes, size_t size, int flags) override;
  int close(int fd) override;
  int epoll_wait(int set, epoll_event* events, int most, int timeout_ms) override;
  int io_uring_queue_init_params(unsigned entries, io_uring* ring,
                                 io_uring_params* params) override;
  void io_uring_queue_exit(io_uring* ring) override;
  int io_uring_enter2(unsigned fd, unsigned to_submit, unsigned wanted, unsigned flags,
                      sigset_t* argument, size_t size) override;

 private:
  Faults* find(int fd);
  void change_entries();
  void change_completions();

  std::optional<io_uring> ring_;      // where its memory is mapped
  std::map<uint64_t, int> replaced_;  // entries that are NOPs, and the errno they end with
};

}  // namespace rloop::hunt
