// The two verbs of an accept.
//
// prepare is read back from the submission entry, attempt is tried on a real listener. What an
// engine makes of them, with bursts, cancels and exhausted descriptors, is in
// conformance/accept_test.cpp.
#include "op/accept.hpp"

#include <gtest/gtest.h>
#include <liburing.h>

#include "conformance/owners.hpp"
#include "conformance/sockets.hpp"

namespace rloop::op {
namespace {

TEST(AcceptTest, PreparesOneOrManyWithoutAnAddress) {
  Descriptor descriptor(5);
  test::Acceptor acceptor(descriptor);
  for (bool multishot : {false, true}) {
    io_uring_sqe sqe;
    acceptor.operation.set_multishot(multishot);
    acceptor.operation.prepare(sqe);
    EXPECT_EQ(sqe.opcode, IORING_OP_ACCEPT);
    EXPECT_EQ(sqe.addr, 0U) << "a shared address would be overwritten";
    EXPECT_EQ(sqe.accept_flags, static_cast<uint32_t>(SOCK_NONBLOCK | SOCK_CLOEXEC));
    EXPECT_EQ(sqe.ioprio & IORING_ACCEPT_MULTISHOT, multishot ? IORING_ACCEPT_MULTISHOT : 0);
  }
}

TEST(AcceptTest, AnAttemptGivesADescriptorOrAgain) {
  test::TestListener listener = test::listen_on_loopback();
  Descriptor descriptor(listener.fd.get());
  test::Acceptor acceptor(descriptor);
  EXPECT_TRUE(acceptor.operation.attempt({}).result.is_again());
  base::UniqueFd client = test::connect_to(listener);
  Attempt attempt = acceptor.operation.attempt({});
  ASSERT_TRUE(attempt.result.ok());
  base::UniqueFd connection(attempt.result.value());
  EXPECT_FALSE(attempt.ended);
}

}  // namespace
}  // namespace rloop::op
