// The two verbs of a receive of datagrams, and the layout that both bring home.
//
// prepare asks for buffers of the datagram group, many times; attempt lays a datagram out in the
// scratch as the kernel would in a buffer. Empty and unnamed datagrams are datagrams.
#include "op/recv_datagram.hpp"

#include <gtest/gtest.h>
#include <liburing.h>

#include <string>
#include <vector>

#include "conformance/owners.hpp"
#include "conformance/sockets.hpp"

namespace rloop::op {
namespace {

using Receiving = test::Owner<RecvDatagram>;

std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

TEST(RecvDatagramTest, PreparesAMultishotFromTheDatagramGroup) {
  Descriptor descriptor(5);
  Receiving receiving(descriptor);
  io_uring_sqe sqe{};  // as io_uring_get_sqe gives it
  receiving.operation.prepare(sqe);
  EXPECT_EQ(sqe.opcode, IORING_OP_RECVMSG);
  EXPECT_EQ(sqe.buf_group, kDatagramBufferGroup);
  EXPECT_TRUE(sqe.flags & IOSQE_BUFFER_SELECT);
  EXPECT_TRUE(sqe.ioprio & IORING_RECV_MULTISHOT);
  EXPECT_EQ(receiving.operation.buffer_group(), kDatagramBufferGroup);
}

TEST(RecvDatagramTest, AnAttemptBringsTheAddressAndThePayload) {
  base::UniqueFd sender(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  base::UniqueFd receiver(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  base::Address any = *base::Address::parse("127.0.0.1", 0), from, to;
  ASSERT_EQ(::bind(sender.get(), any.data(), any.length()), 0);
  ASSERT_EQ(::bind(receiver.get(), any.data(), any.length()), 0);
  ASSERT_TRUE(base::Address::local(sender.get(), from).ok());
  ASSERT_TRUE(base::Address::local(receiver.get(), to).ok());
  Descriptor descriptor(receiver.get());
  Receiving receiving(descriptor);
  std::vector<std::byte> scratch(RecvDatagram::kBufferSize);
  EXPECT_TRUE(receiving.operation.attempt(scratch).result.is_again());
  for (const std::string text : {"hello", "", "x"}) {
    ASSERT_GE(::sendto(sender.get(), text.data(), text.size(), 0, to.data(), to.length()), 0);
    Attempt attempt = receiving.operation.attempt(scratch);
    ASSERT_TRUE(attempt.result.ok());
    EXPECT_GT(attempt.result.value(), 0) << "an empty datagram is no end";
    EXPECT_FALSE(attempt.ended);
    ReceivedDatagram datagram(attempt.data);
    EXPECT_EQ(text_of(datagram.payload), text);
    EXPECT_EQ(datagram.from, from);
  }
}

}  // namespace
}  // namespace rloop::op
