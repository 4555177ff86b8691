// Accept connections of a listening socket.
//
// On the ring multishot (5.19) where the capability says so: one submission, a completion per
// connection. No peer address is asked for (a shared one would be overwritten; getpeername gives
// it when somebody wants it). New descriptors are non-blocking and close-on-exec. Completion:
// result = the new descriptor, owned by whoever handles the completion. The limit of open files is
// read by the kernel when the SQE is prepared. Not replayable: the kernel waits for connections
// exclusively, and a ring that is being closed (which takes a while when another thread does it)
// would swallow the wake-up that its successor waits for.
#pragma once

#include "op/op.hpp"

namespace rloop::op {

class Accept : public Operation {
 public:
  explicit Accept(Descriptor& descriptor) : Operation(descriptor, Direction::read, Replay::no) {}

  void prepare(io_uring_sqe& sqe) override;
  Attempt attempt(std::span<std::byte> scratch) override;
};

}  // namespace rloop::op
