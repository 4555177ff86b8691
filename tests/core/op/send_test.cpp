// The two verbs of a send, with one range and with several.
//
// One range is a SEND, several are a SENDMSG. An attempt may take less than it was given and says
// so; no attempt raises SIGPIPE. The ranges belong to the reactor while the send is in flight, and
// changing them then is fatal.
#include "op/send.hpp"

#include <gtest/gtest.h>
#include <liburing.h>

#include "conformance/owners.hpp"
#include "conformance/sockets.hpp"

namespace rloop::op {
namespace {

TEST(SendTest, OneRangeIsASendAndSeveralAreASendmsg) {
  Descriptor descriptor(5);
  test::Sender sender(descriptor);
  std::string one = "one", two = "two";
  sender.operation.ranges()[0] = {one.data(), one.size()};
  sender.operation.ranges()[1] = {two.data(), two.size()};
  io_uring_sqe sqe{};  // as io_uring_get_sqe gives it
  sender.operation.set_range_count(1);
  sender.operation.prepare(sqe);
  EXPECT_EQ(sqe.opcode, IORING_OP_SEND);
  EXPECT_EQ(sqe.len, 3U);
  EXPECT_TRUE(sqe.msg_flags & MSG_DONTWAIT) << "room is not waited for in the ring";
  sender.operation.set_range_count(2);
  sender.operation.prepare(sqe);
  EXPECT_EQ(sqe.opcode, IORING_OP_SENDMSG);
  EXPECT_EQ(reinterpret_cast<const msghdr*>(sqe.addr)->msg_iovlen, 2U);
  EXPECT_EQ(sender.operation.replay(), Replay::no) << "what went out must be known";
}

TEST(SendTest, AnAttemptSaysWhenTheSocketTookLess) {
  test::SocketPair pair = test::unix_pair();
  test::shrink_buffers(pair);
  Descriptor descriptor(pair.near.get());
  test::Sender sender(descriptor);
  std::string small = "small", large = test::pattern(1 << 20);
  sender.operation.ranges()[0] = {small.data(), small.size()};
  sender.operation.ranges()[1] = {large.data(), large.size()};
  sender.operation.set_range_count(1);
  Attempt all = sender.operation.attempt({});
  EXPECT_EQ(all.result.value(), 5);
  EXPECT_FALSE(all.drained);
  sender.operation.set_range_count(2);
  Attempt some = sender.operation.attempt({});
  ASSERT_TRUE(some.result.ok());
  EXPECT_TRUE(some.drained);
  EXPECT_TRUE(sender.operation.attempt({}).result.is_again());
  std::string expected =
      small + (small + large).substr(0, static_cast<size_t>(some.result.value()));
  EXPECT_EQ(test::read_available(pair.far.get()), expected);
}

TEST(SendTest, AClosedPeerIsAnErrorAndNoSignal) {
  test::SocketPair pair = test::unix_pair();
  pair.far.reset();
  Descriptor descriptor(pair.near.get());
  test::Sender sender(descriptor);
  const std::string bytes = "x";
  test::load(sender, bytes);
  Attempt failed = sender.operation.attempt({});
  EXPECT_TRUE(failed.result.is(EPIPE));
  EXPECT_FALSE(failed.drained);
}

TEST(SendDeathTest, ItsRangesMustNotBeChangedInFlight) {
  Descriptor descriptor(-1);
  test::Sender sender(descriptor);
  sender.operation.set_state(State::in_flight);
  EXPECT_DEATH(sender.operation.ranges(), "a send was changed while in flight");
  sender.operation.set_state(State::idle);
}

}  // namespace
}  // namespace rloop::op
