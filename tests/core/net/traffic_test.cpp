// What sockets count, and how it adds up.
#include "net/traffic.hpp"

#include <gtest/gtest.h>

namespace rloop::net {
namespace {

TEST(TrafficTest, MessagesAndBytesOfSeveralSocketsAddUp) {
  Traffic one, other;
  one.received(5);
  one.received(0);  // an empty datagram is a message
  one.sent(7);
  other.sent(1);
  other += one;
  EXPECT_EQ(other.messages_in, 2U);
  EXPECT_EQ(other.bytes_in, 5U);
  EXPECT_EQ(other.messages_out, 2U);
  EXPECT_EQ(other.bytes_out, 8U);
}

}  // namespace
}  // namespace rloop::net
