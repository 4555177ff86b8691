// Read the 8-byte counter of an eventfd: how another thread wakes the loop.
//
// On the ring a READ that stays in flight across turns. Completion: result = 8; the counter is
// reset by the read and its value is nobody's business.
#pragma once

#include "op/op.hpp"

namespace rloop::op {

class ReadEvent : public Operation {
 public:
  explicit ReadEvent(Descriptor& descriptor) : Operation(descriptor, Direction::read) {}

  void prepare(io_uring_sqe& sqe) override;
  Attempt attempt(std::span<std::byte> scratch) override;

 private:
  uint64_t counter_ = 0;
};

}  // namespace rloop::op
