// The two verbs of a poll.
//
// Reading is attempted only when the descriptor is known to be ready; writing is a guess at first
// and asks the kernel, because a connect that is under way would otherwise look finished. Engines
// are in conformance/.
#include "op/poll.hpp"

#include <gtest/gtest.h>
#include <liburing.h>
#include <poll.h>

#include <cstring>

#include "conformance/owners.hpp"
#include "conformance/sockets.hpp"

namespace rloop::op {
namespace {

TEST(PollTest, PreparesItsDirection) {
  Descriptor descriptor(5);
  test::Poller reader(descriptor, Direction::read), writer(descriptor, Direction::write);
  io_uring_sqe sqe{};  // as io_uring_get_sqe gives it
  reader.operation.prepare(sqe);
  EXPECT_EQ(sqe.opcode, IORING_OP_POLL_ADD);
  EXPECT_TRUE(sqe.poll32_events & POLLIN);
  writer.operation.prepare(sqe);
  EXPECT_TRUE(sqe.poll32_events & POLLOUT);
}

TEST(PollTest, AnAttemptToWriteAsksTheKernel) {
  test::SocketPair pair = test::unix_pair();
  Descriptor descriptor(pair.near.get());
  test::Poller writer(descriptor, Direction::write);
  EXPECT_TRUE(writer.operation.attempt({}).result.ok());
  test::fill(pair.near.get());
  EXPECT_TRUE(writer.operation.attempt({}).result.is_again());
  pair.far.reset();
  EXPECT_TRUE(writer.operation.attempt({}).result.ok()) << "the system call reports the error";
}

}  // namespace
}  // namespace rloop::op
