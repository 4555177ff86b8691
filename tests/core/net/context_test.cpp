// When sockets send: inside write(), in groups, or before the wait; directly or through the ring.
//
// Where few write, a write leaves at once; where many do, writes are handed over in groups, and
// when one has waited long. Owners act inside the flush (abort another stream, write again), and
// the list survives it. On a reactor whose kernel is a script.
#include "net/context.hpp"

#include <gtest/gtest.h>

#include <array>

#include "conformance/connection.hpp"
#include "net/fake_reactor.hpp"
#include "net/test_clock.hpp"

namespace rloop::test {
namespace {

class ContextTest : public testing::Test {
 protected:
  void SetUp() override { context_.reactor = &reactor_; }
  void TearDown() override {
    for (auto& connection : connections_) {
      connection->upcall = nullptr;
      connection->stream.abort();
    }
    reactor_.run_cancels();
    reactor_.dispatch_all();
    for (auto& connection : connections_)
      EXPECT_TRUE(connection->closed());
  }
  void connect(int count) {
    for (int i = 0; i < count; ++i) {
      SocketPair pair = unix_pair();
      connections_.push_back(std::make_unique<Connection>(context_, std::move(pair.near)));
      peers_.push_back(std::move(pair.far));
    }
  }

  // The next turn, after one in which many sockets wrote.
  void many_wrote() {
    context_.begin_turn();
    for (net::SentAtOnce& other : others_)
      context_.may_send_now(other);
    context_.begin_turn();
  }
  // What was gathered and submitted reaches the wire.
  void finish_sends() {
    context_.flush_dirty();
    reactor_.send(1);
    reactor_.dispatch_all();
  }

  std::array<net::SentAtOnce, 10> others_;
  TestClock clock_;
  reactor::Statistics statistics_;
  FakeReactor reactor_{statistics_};
  net::Context context_;
  std::vector<std::unique_ptr<Connection>> connections_;
  std::vector<base::UniqueFd> peers_;
};

TEST_F(ContextTest, AFewDirtyStreamsSendDirectly) {
  connect(2);
  for (auto& connection : connections_)
    connection->write("x");
  context_.flush_dirty();
  EXPECT_EQ(reactor_.submit_count, 0U);
  for (base::UniqueFd& peer : peers_)
    EXPECT_EQ(read_available(peer.get()), "x");
}

TEST_F(ContextTest, ManyDirtyStreamsGoThroughTheRing) {
  connect(3);
  for (auto& connection : connections_)
    connection->write("x");
  context_.flush_dirty();
  EXPECT_EQ(reactor_.submit_count, 3U);
  reactor_.send(1);
  reactor_.dispatch_all();
  EXPECT_EQ(reactor_.wire, "xxx");
}

TEST_F(ContextTest, AStreamThatIsAbortedDuringTheFlushSendsOnce) {
  connect(2);
  connections_[0]->upcall = [&](Event event) {
    if (event == Event::sent) connections_[1]->stream.abort();
  };
  for (auto& connection : connections_)
    connection->write("x");
  context_.flush_dirty();
  EXPECT_EQ(read_available(peers_[0].get()), "x");
  EXPECT_EQ(read_available(peers_[1].get()), "x");
}

TEST_F(ContextTest, AStreamThatWritesDuringTheFlushIsDirtyAgain) {
  connect(1);
  bool again = true;
  connections_[0]->upcall = [&](Event event) {
    if (event == Event::sent && std::exchange(again, false)) connections_[0]->write("y");
  };
  connections_[0]->write("x");
  context_.flush_dirty();
  context_.flush_dirty();
  EXPECT_EQ(read_available(peers_[0].get()), "xy");
  EXPECT_FALSE(context_.has_dirty());
}

TEST_F(ContextTest, TheFirstToWriteInATurnSendAtOnce) {
  connect(6);
  context_.begin_turn();
  for (auto& connection : connections_)
    connection->write("x");
  for (size_t i = 0; i < 4; ++i)
    EXPECT_EQ(read_available(peers_[i].get()), "x");
  EXPECT_EQ(read_available(peers_[4].get()), "") << "a broadcast is gathered";
  EXPECT_TRUE(context_.has_dirty());
  context_.flush_dirty();
  EXPECT_EQ(read_available(peers_[5].get()), "x");
}

TEST_F(ContextTest, WhereManyWroteBeforeOnlyTheFirstSendsAtOnce) {
  connect(6);
  many_wrote();
  for (auto& connection : connections_)
    connection->write("x");
  EXPECT_EQ(read_available(peers_[0].get()), "x");
  EXPECT_EQ(read_available(peers_[1].get()), "");
  finish_sends();
  context_.begin_turn();  // nobody writes
  context_.begin_turn();
  connections_[0]->write("y");
  connections_[1]->write("y");
  EXPECT_EQ(read_available(peers_[1].get()), "") << "the last turn in which any did counts";
  finish_sends();
  context_.begin_turn();
  connections_[1]->write("z");
  EXPECT_EQ(read_available(peers_[1].get()), "yz") << "two are few";
}

TEST_F(ContextTest, WhatASocketWritesOnAndOnIsGathered) {
  connect(1);
  context_.begin_turn();
  for (int i = 0; i < 10; ++i)
    connections_[0]->write("x");
  EXPECT_EQ(read_available(peers_[0].get()), "xxxxxxxx");
  context_.begin_turn();
  context_.flush_dirty();
  EXPECT_EQ(read_available(peers_[0].get()), "xx");
  connections_[0]->write("y");
  EXPECT_EQ(read_available(peers_[0].get()), "y");
}

TEST_F(ContextTest, AGroupIsHandedOverWhenItIsFull) {
  connect(20);
  many_wrote();
  size_t before = reactor_.submit_count;
  for (auto& connection : connections_)
    connection->write("x");
  EXPECT_EQ(reactor_.submit_count, before + 16U);
  EXPECT_EQ(reactor_.flush_count, 1U);
  context_.flush_dirty();
  EXPECT_EQ(reactor_.submit_count, before + 19U) << "all but the first, which left at once";
  finish_sends();
}

TEST_F(ContextTest, WhatHasWaitedLongIsHandedOverBetweenTwoHandlers) {
  connect(4);
  many_wrote();
  size_t before = reactor_.submit_count;
  for (auto& connection : connections_)
    connection->write("x");
  EXPECT_EQ(reactor_.submit_count, before);
  context_.hand_over_if_due();
  EXPECT_EQ(reactor_.submit_count, before) << "no time has passed";
  clock_.advance(300'000);  // a handler that takes long
  context_.hand_over_if_due();
  EXPECT_EQ(reactor_.submit_count, before + 3U);
  EXPECT_EQ(reactor_.flush_count, 1U);
  EXPECT_FALSE(context_.has_dirty());
  finish_sends();
}

TEST_F(ContextTest, WhereThereIsNoRingEachSocketSendsAtOnce) {
  connect(20);
  reactor_.mask_ring();
  many_wrote();
  for (size_t i = 0; i < 20; ++i) {
    connections_[i]->write("x");
    EXPECT_EQ(read_available(peers_[i].get()), "x");
  }
}

TEST_F(ContextTest, ASharedSocketSendsAtOnceInEveryTurn) {
  connect(2);
  many_wrote();
  connections_[1]->write("first");
  connections_[0]->write("a");
  EXPECT_EQ(read_available(peers_[0].get()), "");
  for (int i = 0; i < 6; ++i)
    connections_[0]->write("b", /*at_once=*/true);
  EXPECT_EQ(read_available(peers_[0].get()), "abbbbbb");
}

TEST_F(ContextTest, AWriteOfAnotherThreadDoesNotWaitForTheSleepingLoop) {
  connect(2);
  many_wrote();
  connections_[1]->write("first");
  reactor_.announce_sleep();
  connections_[0]->write("x");
  EXPECT_EQ(read_available(peers_[0].get()), "x");
}

}  // namespace
}  // namespace rloop::test
