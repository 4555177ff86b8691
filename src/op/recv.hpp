// Receive into memory that the reactor lends: a kernel-selected buffer, or the scratch.
//
// On the ring it is a receive with buffer selection from group 0, multishot (6.0) where the
// capability says so: one submission, a completion per filled buffer, until one comes without
// `more`. -ENOBUFS means that every buffer is out; re-submit after the batch. Attempted, it is one
// recv(2) into the scratch. Completion: result = bytes, 0 = end of stream; data = the bytes.
#pragma once

#include "op/op.hpp"

namespace rloop::op {

class Recv : public Operation {
 public:
  explicit Recv(Descriptor& descriptor)
      : Operation(descriptor, Direction::read, Replay::unless_lost, kReceiveBufferGroup) {}

  void prepare(io_uring_sqe& sqe) override;
  Attempt attempt(std::span<std::byte> scratch) override;
};

}  // namespace rloop::op
