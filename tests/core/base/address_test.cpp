// Socket addresses: numeric hosts without a resolver, and their text.
//
// What asyncio hands to getaddrinfo only when it has to: IPv4 and IPv6 literals with zones, the two
// ends of a socket, and the names of AF_UNIX. Uses the loopback interface's name, nothing else of
// the machine.
#include "base/address.hpp"

#include <gtest/gtest.h>
#include <net/if.h>

#include "base/fd.hpp"

namespace rloop::base {
namespace {

TEST(AddressTest, ParsesNumericHosts) {
  std::optional<Address> v4 = Address::parse("127.0.0.1", 80);
  ASSERT_TRUE(v4);
  EXPECT_EQ(v4->family(), AF_INET);
  EXPECT_EQ(v4->to_string(), "127.0.0.1:80");
  std::optional<Address> v6 = Address::parse("::1", 8080);
  ASSERT_TRUE(v6);
  EXPECT_EQ(v6->family(), AF_INET6);
  EXPECT_EQ(v6->to_string(), "[::1]:8080");
  EXPECT_EQ(v6->host(), "::1");
  EXPECT_EQ(v6->port(), 8080);
}

TEST(AddressTest, UnixPathsAndAbstractNames) {
  std::optional<Address> path = Address::unix_path("/tmp/socket");
  ASSERT_TRUE(path);
  EXPECT_EQ(path->to_string(), "unix:/tmp/socket");
  std::optional<Address> name = Address::unix_path(std::string_view("\0name", 5));
  ASSERT_TRUE(name);
  EXPECT_EQ(name->to_string(), "unix:@name");
  EXPECT_EQ(name->length(), offsetof(sockaddr_un, sun_path) + 5);
  EXPECT_TRUE(Address::unix_path(std::string(108, 'x')));
  EXPECT_FALSE(Address::unix_path(std::string(109, 'x')));
}

TEST(AddressTest, APathThatFillsTheFieldIsReadToItsEnd) {
  // The kernel reports one byte more, for a NUL that the field has no room for.
  sockaddr_un un{};
  un.sun_family = AF_UNIX;
  std::memset(un.sun_path, 'p', sizeof(un.sun_path));
  std::byte bytes[sizeof(un) + 1] = {};
  std::memcpy(bytes, &un, sizeof(un));
  bytes[sizeof(un)] = std::byte{'x'};
  EXPECT_EQ(Address::from_bytes(bytes).unix_name(), std::string(108, 'p'));
  EXPECT_EQ(Address::unix_path("")->unix_name(), "");
  EXPECT_EQ(Address::parse("127.0.0.1", 1)->unix_name(), "");
}

TEST(AddressTest, WhatTheKernelWroteIsTheSameAddress) {
  Address address = *Address::parse("127.0.0.1", 80);
  auto* bytes = reinterpret_cast<const std::byte*>(address.data());
  EXPECT_EQ(Address::from_bytes({bytes, address.length()}), address);
  EXPECT_FALSE(Address::from_bytes({bytes, address.length()}) == *Address::parse("127.0.0.1", 81));
  EXPECT_EQ(Address::from_bytes({}).family(), AF_UNSPEC);
  EXPECT_EQ(Address::from_bytes({}).length(), 0U);
}

TEST(AddressTest, ShortAndLongOnesAreCopiedMovedAndAssigned) {
  const Address small = *Address::parse("127.0.0.1", 80);
  const Address large = *Address::unix_path(std::string(100, 'x'));
  for (const Address& from : {small, large, Address()}) {
    for (const Address& to : {small, large, Address()}) {
      Address copy = to;
      copy = from;
      EXPECT_EQ(copy, from);
      Address moved = std::move(copy);
      EXPECT_EQ(moved, from);
      copy = to;  // what was moved from may be used again
      EXPECT_EQ(copy, to);
      moved = std::move(copy);
      EXPECT_EQ(moved, to);
      Address& same = moved;
      moved = same;
      EXPECT_EQ(moved, to);
    }
  }
  EXPECT_FALSE(small == large);
  EXPECT_LE(sizeof(Address), 32U) << "every connection has two";
}

TEST(AddressTest, AnUnconnectedSocketHasNoRemoteEnd) {
  UniqueFd fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  Address remote = *Address::parse("127.0.0.1", 80);
  EXPECT_TRUE(Address::remote(fd.get(), remote).is(ENOTCONN));
  EXPECT_EQ(remote.length(), 0U);
}

TEST(AddressTest, RefusesNamesAndTheWrongFamily) {
  EXPECT_FALSE(Address::parse("localhost", 1));
  EXPECT_FALSE(Address::parse("", 1));
  EXPECT_FALSE(Address::parse("1.2.3", 1));
  EXPECT_FALSE(Address::parse("::1", 1, AF_INET));
  EXPECT_FALSE(Address::parse("127.0.0.1", 1, AF_INET6));
  EXPECT_TRUE(Address::parse("::1", 1, AF_INET6));
}

TEST(AddressTest, AZoneIsAnInterfaceNameOrIndex) {
  uint32_t index = ::if_nametoindex("lo");
  if (index == 0) GTEST_SKIP() << "no loopback interface in this network namespace";
  std::optional<Address> named = Address::parse("fe80::1%lo", 5);
  ASSERT_TRUE(named);
  EXPECT_EQ(named->as<sockaddr_in6>().sin6_scope_id, index);
  EXPECT_EQ(named->host(), "fe80::1%lo");
  EXPECT_EQ(named->bare_host(), "fe80::1");
  EXPECT_EQ(Address::parse("fe80::1%7777", 5)->as<sockaddr_in6>().sin6_scope_id, 7777U);
  EXPECT_EQ(Address::parse("fe80::1%7777", 5)->host(), "fe80::1%7777");
  EXPECT_FALSE(Address::parse("fe80::1%nosuchinterface", 5));
  EXPECT_FALSE(Address::parse("fe80::1%", 5));
}

TEST(AddressTest, AsksTheSocketForItsEnds) {
  int pair[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
  UniqueFd one(pair[0]), two(pair[1]);
  Address address;
  ASSERT_TRUE(Address::local(one.get(), address).ok());
  EXPECT_EQ(address.family(), AF_UNIX);
  EXPECT_EQ(address.to_string(), "unix:(unnamed)");
  EXPECT_EQ(address.host(), "");
  EXPECT_EQ(address.bare_host(), "");
  EXPECT_EQ(address.port(), 0);
  EXPECT_TRUE(Address::remote(-1, address).is(EBADF));
}

TEST(AddressTest, AnAbstractNameIsPrintedWithAnAt) {
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM, 0));
  sockaddr_un wanted{.sun_family = AF_UNIX, .sun_path = {'\0', 'a', 'b'}};
  std::string name = "rloop-test-" + std::to_string(::getpid());
  name.copy(wanted.sun_path + 1, sizeof(wanted.sun_path) - 1);
  auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  ASSERT_EQ(::bind(fd.get(), reinterpret_cast<sockaddr*>(&wanted), length), 0);
  Address address;
  ASSERT_TRUE(Address::local(fd.get(), address).ok());
  EXPECT_EQ(address.to_string(), "unix:@" + name);
}

TEST(AddressTest, AnEmptyAddressHasNoFamily) {
  EXPECT_EQ(Address().family(), AF_UNSPEC);
}

}  // namespace
}  // namespace rloop::base
