// The two verbs of a receive.
//
// prepare asks for a buffer of the kernel's choice, once or many times; attempt fills the scratch
// and says whether more can be expected, which spares the epoll engine a system call. The data's
// way to a stream is in conformance/reading_test.cpp.
#include "op/recv.hpp"

#include <gtest/gtest.h>
#include <liburing.h>

#include <array>
#include <cerrno>

#include "conformance/owners.hpp"
#include "conformance/sockets.hpp"

namespace rloop::op {
namespace {

TEST(RecvTest, PreparesAReceiveIntoAKernelSelectedBuffer) {
  Descriptor descriptor(5);
  test::Receiver receiver(descriptor);
  for (bool multishot : {false, true}) {
    io_uring_sqe sqe{};  // as io_uring_get_sqe gives it
    receiver.operation.set_multishot(multishot);
    receiver.operation.prepare(sqe);
    EXPECT_EQ(sqe.opcode, IORING_OP_RECV);
    EXPECT_EQ(sqe.fd, 5);
    EXPECT_TRUE(sqe.flags & IOSQE_BUFFER_SELECT);
    EXPECT_EQ(sqe.buf_group, kReceiveBufferGroup);
    EXPECT_EQ(sqe.ioprio & IORING_RECV_MULTISHOT, multishot ? IORING_RECV_MULTISHOT : 0);
  }
}

TEST(RecvTest, AnAttemptGivesDataEndOrAgain) {
  test::SocketPair pair = test::unix_pair();
  Descriptor descriptor(pair.near.get());
  test::Receiver receiver(descriptor);
  std::array<std::byte, 4> scratch;
  EXPECT_TRUE(receiver.operation.attempt(scratch).result.is_again());
  test::write_all(pair.far.get(), "abcdef");
  Attempt full = receiver.operation.attempt(scratch);
  EXPECT_EQ(full.result.value(), 4);
  EXPECT_EQ(full.data.size(), 4U);
  EXPECT_FALSE(full.drained);
  Attempt rest = receiver.operation.attempt(scratch);
  EXPECT_EQ(rest.result.value(), 2);
  EXPECT_TRUE(rest.drained);
  EXPECT_FALSE(rest.ended);
  pair.far.reset();
  Attempt end = receiver.operation.attempt(scratch);
  EXPECT_TRUE(end.result.ok());
  EXPECT_TRUE(end.ended);
}

TEST(RecvTest, AFailedAttemptSaysNothingAboutWhatTheSocketHolds) {
  test::SocketPair pair = test::unix_pair();
  test::write_all(pair.far.get(), "abc");
  Descriptor descriptor(-1);  // fails in another way than "again"
  test::Receiver receiver(descriptor);
  std::array<std::byte, 4> scratch;
  Attempt failed = receiver.operation.attempt(scratch);
  EXPECT_TRUE(failed.result.is(EBADF));
  EXPECT_FALSE(failed.drained);
}

}  // namespace
}  // namespace rloop::op
