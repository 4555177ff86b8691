// What only the epoll reactor does: readiness that is remembered, registration once, fairness.
//
// Edge-triggered readiness is lost for good when it is cleared too early, so the edges that carry
// two things at once (data and end, data and hang-up, more than the scratch holds) are each a
// test. What both engines do is in conformance/.
#include "reactor/epoll/epoll_reactor.hpp"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "conformance/connection.hpp"
#include "conformance/owners.hpp"

namespace rloop::test {
namespace {

class EpollReactorTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(reactor_.attach_to_thread().ok());
    context_.reactor = &reactor_;
    turn(context_, 0);
  }
  void TearDown() override { EXPECT_EQ(reactor_.drain(0), 0U); }

  reactor::Statistics statistics_;
  reactor::EpollReactor reactor_{reactor::Config{}, statistics_};
  net::Context context_;
  SocketPair pair_ = tcp_pair();
};

TEST_F(EpollReactorTest, AMessageCostsAWaitAndAReceive) {
  op::Descriptor descriptor(pair_.near.get());
  Receiver receiver(descriptor);
  receiver.operation.set_multishot(true);
  reactor_.submit(receiver.operation);
  turn(context_, 0);
  for (int round = 0; round < 5; ++round) {
    uint64_t syscalls = statistics_.syscalls;
    write_all(pair_.far.get(), "message");
    turn(context_, kPatience_ns);
    EXPECT_EQ(receiver.bytes.size(), static_cast<size_t>(round + 1) * 7);
    EXPECT_EQ(statistics_.syscalls, syscalls + 2) << "no epoll_ctl, no read that learns nothing";
  }
  reactor_.cancel(receiver.operation);
  turn(context_, 0);
  reactor_.forget(descriptor);
}

TEST_F(EpollReactorTest, WhatIsReadyCountsAsUndispatched) {
  SocketPair pairs[] = {tcp_pair(), tcp_pair(), tcp_pair()};
  std::vector<std::unique_ptr<Connection>> connections;
  for (SocketPair& pair : pairs) {
    connections.push_back(std::make_unique<Connection>(context_, std::move(pair.near)));
    connections.back()->stream.start_reading();
    write_all(pair.far.get(), "request");
  }
  ASSERT_TRUE(reactor_.wait(0).ok());
  EXPECT_EQ(reactor_.undispatched_count(10), 3U);
  EXPECT_EQ(reactor_.undispatched_count(2), 2U);
  reactor_.dispatch();
  EXPECT_EQ(reactor_.undispatched_count(10), 0U);
  for (auto& connection : connections) {
    EXPECT_EQ(connection->received, "request");
    connection->stream.close();
  }
  ASSERT_TRUE(run_until(context_, [&] {
    return std::all_of(connections.begin(), connections.end(),
                       [](auto& one) { return one->closed(); });
  }));
}

TEST_F(EpollReactorTest, DataThatFillsTheScratchIsReadAgainWithoutAnotherEdge) {
  reactor::Config config;
  config.scratch_size = 10;
  reactor::EpollReactor reactor(config, statistics_);
  net::Context context(&reactor);
  ASSERT_TRUE(reactor.attach_to_thread().ok());
  Connection connection(context, std::move(pair_.near));
  connection.stream.start_reading();
  write_all(pair_.far.get(), pattern(1000));
  pair_.far.reset();
  ASSERT_TRUE(run_until(context, [&] { return connection.eof; }));
  EXPECT_EQ(connection.received, pattern(1000));
  connection.stream.close();
  ASSERT_TRUE(run_until(context, [&] { return connection.closed(); }));
  EXPECT_EQ(reactor.drain(0), 0U);
}

TEST_F(EpollReactorTest, TheEndIsReadAfterTheHangUpCameWithTheData) {
  // One edge for data and end together: a short read must not hide the end.
  op::Descriptor descriptor(pair_.near.get());
  Receiver receiver(descriptor);
  receiver.operation.set_multishot(true);
  write_all(pair_.far.get(), "last");
  ::shutdown(pair_.far.get(), SHUT_WR);
  reactor_.submit(receiver.operation);
  ASSERT_TRUE(run_until(context_, [&] { return receiver.ended(); }));
  EXPECT_EQ(receiver.bytes, "last");
  EXPECT_TRUE(receiver.results.back().ok());
  reactor_.forget(descriptor);
}

TEST_F(EpollReactorTest, ReadinessOfAnIdleDescriptorIsRemembered) {
  Connection connection(context_, std::move(pair_.near));
  connection.stream.start_reading();
  turn(context_, 0);
  connection.stream.pause_reading();
  write_all(pair_.far.get(), "one");
  for (int i = 0; i < 3; ++i)
    turn(context_, kMillisecond_ns);
  connection.stream.resume_reading();
  ASSERT_TRUE(run_until(context_, [&] { return connection.received == "one"; }));
  connection.stream.close();
  ASSERT_TRUE(run_until(context_, [&] { return connection.closed(); }));
}

TEST_F(EpollReactorTest, ABusyConnectionDoesNotStarveAQuietOne) {
  reactor::Config config;
  config.scratch_size = 64;
  reactor::EpollReactor reactor(config, statistics_);
  net::Context context(&reactor);
  ASSERT_TRUE(reactor.attach_to_thread().ok());
  SocketPair quiet_pair = unix_pair();
  Connection busy(context, std::move(pair_.near)), quiet(context, std::move(quiet_pair.near));
  busy.stream.start_reading();
  quiet.stream.start_reading();
  write_all(pair_.far.get(), pattern(100'000));
  write_all(quiet_pair.far.get(), "me too");
  ASSERT_TRUE(run_until(context, [&] { return quiet.received == "me too"; }));
  EXPECT_LT(busy.received.size(), 10'000U) << "one attempt per descriptor and turn";
  for (Connection* connection : {&busy, &quiet}) {
    connection->stream.abort();
    ASSERT_TRUE(run_until(context, [&] { return connection->closed(); }));
  }
  EXPECT_EQ(reactor.drain(0), 0U);
}

TEST_F(EpollReactorTest, ASocketThatWasPolledByTheUserMayBecomeOwned) {
  // sock_connect, then a transport on the same socket: its number is parked in the watch set.
  {
    op::Descriptor foreign(pair_.near.get(), false);
    Poller poller(foreign, op::Direction::write);
    reactor_.submit(poller.operation);
    ASSERT_TRUE(run_until(context_, [&] { return poller.ended(); }));
  }
  Connection connection(context_, std::move(pair_.near));
  connection.stream.start_reading();
  write_all(pair_.far.get(), "x");
  ASSERT_TRUE(run_until(context_, [&] { return connection.received == "x"; }));
  connection.stream.close();
  ASSERT_TRUE(run_until(context_, [&] { return connection.closed(); }));
}

using EpollReactorDeathTest = EpollReactorTest;

TEST_F(EpollReactorDeathTest, TwoOperationsOfOneDirectionAreRefused) {
  op::Descriptor descriptor(pair_.near.get());
  Poller one(descriptor, op::Direction::read), two(descriptor, op::Direction::read);
  reactor_.submit(one.operation);
  EXPECT_DEATH(reactor_.submit(two.operation), "two operations of one direction");
  reactor_.cancel(one.operation);
  turn(context_, 0);
}

}  // namespace
}  // namespace rloop::test
