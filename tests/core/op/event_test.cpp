// The two verbs of the read that wakes the loop.
//
// An eventfd gives its counter once and then says "again" until the next signal. How it ends a
// wait from another thread is in conformance/turn_test.cpp, how it is armed again in
// reactor/waker_test.cpp.
#include "op/event.hpp"

#include <gtest/gtest.h>
#include <liburing.h>
#include <sys/eventfd.h>

#include "conformance/owners.hpp"

namespace rloop::op {
namespace {

TEST(ReadEventTest, ResetsTheCounter) {
  base::UniqueFd fd(::eventfd(3, EFD_NONBLOCK));
  Descriptor descriptor(fd.get());
  test::Owner<ReadEvent> owner(descriptor);
  Attempt attempt = owner.operation.attempt({});
  EXPECT_EQ(attempt.result.value(), 8);
  EXPECT_TRUE(attempt.drained);
  EXPECT_TRUE(owner.operation.attempt({}).result.is_again());
  io_uring_sqe sqe{};  // as io_uring_get_sqe gives it
  owner.operation.prepare(sqe);
  EXPECT_EQ(sqe.opcode, IORING_OP_READ);
  EXPECT_EQ(sqe.len, 8U);
}

}  // namespace
}  // namespace rloop::op
