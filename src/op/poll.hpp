// Wait until a descriptor is ready in one direction; whoever waits does the system call.
//
// For bulk receives (recv(2) straight into the reader's memory), for the user's own sockets
// (sock_recv and friends: nothing is consumed, so a cancel loses no byte) and for connects
// (writable, then SO_ERROR). One shot; on the ring POLL_ADD, which completes at once when the
// descriptor is ready already. Errors and hang-ups count as ready: the system call reports them.
// Completion: result >= 0; from a ring or an epoll set the events as poll(2) names them. After a
// short or empty read the handler says descriptor().note_short() or mark_drained(), which is what
// the epoll reactor knows of it.
#pragma once

#include "op/op.hpp"

namespace rloop::op {

class Poll : public Operation {
 public:
  Poll(Descriptor& descriptor, Direction direction, Readiness readiness = Readiness::by_engine)
      : Operation(descriptor, direction) {
    set_readiness(readiness);
  }

  void prepare(io_uring_sqe& sqe) override;
  // Reactors attempt an operation only when its descriptor is ready, which is all it asks. But
  // that a socket can be written to is a guess at first, so for writing the kernel is asked.
  Attempt attempt(std::span<std::byte> scratch) override;
};

}  // namespace rloop::op
