// Send a few byte ranges of one stream, in order.
//
// One range is a SEND, several are one SENDMSG (slower for one: the kernel copies msghdr and
// iovec in). It never waits for room, on the ring either: what the kernel does not take at once is
// the owner's again, by a short result or "again". The ranges must stay untouched until the final
// completion; iovec and msghdr live here. Never two sends in flight on one socket: they interleave.
// Completion: result = bytes sent. Not replayable: what went out must be known.
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

  // One range, without an operation.
  static Attempt attempt_one(const Descriptor& descriptor, const void* data, size_t size);

  // Where the caller writes the ranges before it submits.
  std::span<iovec> ranges();
  void set_range_count(size_t count) { count_ = count; }

  void prepare(io_uring_sqe& sqe) override;
  Attempt attempt(std::span<std::byte> scratch) override;

 private:
  const msghdr& message_of_all();

  size_t count_ = 0;
  std::array<iovec, kMaxRanges> ranges_;  // of which `count_` are set
  msghdr message_{};
};

}  // namespace rloop::op
