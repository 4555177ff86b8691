// Send a few byte ranges of one stream, in order.
//
// One range is a SEND, several are one SENDMSG (slower for one: the kernel copies msghdr and
// iovec in). On the ring MSG_WAITALL makes the kernel go on until all is sent (5.19), so a short
// result only follows a cancel or an error. The ranges must stay untouched until the final
// completion; iovec and msghdr live here. Never two sends in flight on one socket: they
// interleave. Completion: result = bytes sent. Not replayable: what went out must be known.
#pragma once

#include <sys/socket.h>
#include <sys/uio.h>

#include <array>

#include "op/op.hpp"

namespace rloop::op {

class Send : public Operation {
 public:
  // Enough to merge what a protocol writes in one callback; more leaves with the next send.
  static constexpr size_t kMaxRanges = 16;

  explicit Send(Descriptor& descriptor) : Operation(descriptor, Direction::write, Replay::no) {}

  // Where the caller writes the ranges before it submits; count <= kMaxRanges.
  std::span<iovec> ranges() {
    RLOOP_ASSERT(idle(), "a send was changed while in flight");
    return ranges_;
  }
  void set_range_count(size_t count) { message_.msg_iovlen = count; }

  void prepare(io_uring_sqe& sqe) override;
  Attempt attempt(std::span<std::byte> scratch) override;

 private:
  std::array<iovec, kMaxRanges> ranges_;
  msghdr message_{};
};

}  // namespace rloop::op
