// Send a few byte ranges of one stream, in order.
//
// One range is a SEND, several are one SENDMSG (slower for one: the kernel copies msghdr and
// iovec in). It never waits for room, on the ring either: what the kernel does not take at once is
// the owner's again, by a short result or "again". The ranges must stay untouched until the final
// completion; iovec and msghdr live here, those for several ranges from the first time on that
// there are several (most connections never have them). Never two sends in flight on one socket:
// they interleave. Completion: result = bytes sent. Not replayable: what went out must be known.
#pragma once

#include <sys/socket.h>
#include <sys/uio.h>

#include <array>
#include <memory>

#include "op/op.hpp"

namespace rloop::op {

class Send : public Operation {
 public:
  // Enough to merge what a protocol writes in one callback; more leaves with the next send.
  static constexpr size_t kMaxRanges = 16;

  explicit Send(Descriptor& descriptor) : Operation(descriptor, Direction::write, Replay::no) {}

  // Where the caller writes the ranges before it submits: room for `wanted` of them, at most
  // kMaxRanges.
  std::span<iovec> ranges(size_t wanted);
  void set_range_count(size_t count) { count_ = static_cast<uint32_t>(count); }

  void prepare(io_uring_sqe& sqe) override;
  Attempt attempt(std::span<std::byte> scratch) override;

 private:
  struct Several {
    std::array<iovec, kMaxRanges> ranges;
    msghdr message{};
  };
  iovec* latest_ranges() { return uses_several_ ? several_->ranges.data() : &one_; }
  const msghdr& message_of_all();

  uint32_t count_ = 0;
  bool uses_several_ = false;  // the caller's latest ranges lie there
  iovec one_;
  std::unique_ptr<Several> several_;
};

}  // namespace rloop::op
