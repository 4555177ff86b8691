// A message of an owner to itself: complete in the next dispatch, without the kernel.
//
// For what asyncio does with call_soon inside a transport: deliver kept data after
// resume_reading, end a close after its caller has returned. Only Reactor::post takes it.
#pragma once

#include "op/op.hpp"

namespace rloop::op {

class Notice : public Operation {
 public:
  explicit Notice(Descriptor& descriptor) : Operation(descriptor, Direction::read) {}

  void prepare(io_uring_sqe& /*sqe*/) override { never(); }
  Attempt attempt(std::span<std::byte> /*scratch*/) override { never(); }

 private:
  [[noreturn]] static void never() {
    base::assertion_failed("a notice is posted, never submitted", __FILE__, __LINE__);
  }
};

}  // namespace rloop::op
