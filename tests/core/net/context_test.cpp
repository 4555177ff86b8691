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

constexpr size_t kPair = 2, kMany = 10;
constexpr size_t kMoreThanAGroup = 30;

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
  void many_wrote(size_t to_run = kMany) {
    context_.begin_turn(kMany);
    for (net::SentAtOnce& other : others_)
      context_.may_send_now(other);
    context_.begin_turn(to_run);
  }
  // What was gathered and submitted reaches the wire.
  void finish_sends() {
    context_.flush_dirty();
    for (int round = 0; reactor_.sending() && round < 10; ++round) {
      reactor_.send(1);
      reactor_.dispatch_all();
    }
  }

  std::array<net::SentAtOnce, kMany> others_;
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

TEST_F(ContextTest, AStreamForWhichThereWasNoMemoryIsSentByTheNextFlush) {
  connect(3);
  for (auto& connection : connections_)
    connection->write("x");
  reactor_.run_out_of_memory();
  EXPECT_THROW(context_.flush_dirty(), std::bad_alloc);
  EXPECT_TRUE(context_.has_dirty());
  context_.flush_dirty();
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
  context_.begin_turn(kPair);
  for (auto& connection : connections_)
    connection->write("x");
  for (size_t i = 0; i < 4; ++i)
    EXPECT_EQ(read_available(peers_[i].get()), "x");
  EXPECT_EQ(read_available(peers_[4].get()), "") << "a broadcast is gathered";
  EXPECT_TRUE(context_.has_dirty());
  context_.flush_dirty();
  EXPECT_EQ(read_available(peers_[5].get()), "x");
}

TEST_F(ContextTest, WhereManyWroteBeforeAllGather) {
  connect(6);
  many_wrote();
  for (auto& connection : connections_)
    connection->write("x");
  EXPECT_EQ(read_available(peers_[0].get()), "") << "the head of an answer would travel alone";
  finish_sends();
  context_.begin_turn(kMany);  // nobody writes
  context_.begin_turn(kMany);
  connections_[0]->write("y");
  EXPECT_EQ(read_available(peers_[0].get()), "") << "the last turn in which any did counts";
  finish_sends();
  context_.begin_turn(kMany);
  connections_[1]->write("z");
  EXPECT_EQ(read_available(peers_[1].get()), "z") << "one was few";
}

TEST_F(ContextTest, MoreThanAPairAreMany) {
  connect(3);
  context_.begin_turn(kMany);
  for (size_t count : {2, 3, 3, 2, 1}) {
    bool many_before = !context_.few_write();
    for (size_t i = 0; i < count; ++i) {
      connections_[i]->write("x");
      EXPECT_EQ(read_available(peers_[i].get()), many_before ? "" : "x") << count;
    }
    finish_sends();
    for (base::UniqueFd& peer : peers_)
      read_available(peer.get());
    context_.begin_turn(kMany);
    EXPECT_EQ(context_.few_write(), count <= 2);
  }
}

TEST_F(ContextTest, ATurnWithLittleToRunSendsAtOnceAfterOneInWhichManyWrote) {
  connect(6);
  many_wrote(kPair);
  connections_[0]->write("x");
  EXPECT_TRUE(context_.few_write());
  EXPECT_EQ(read_available(peers_[0].get()), "x") << "its handler may block, or end the process";
  for (auto& connection : connections_)
    connection->write("y");
  EXPECT_EQ(read_available(peers_[3].get()), "y");
  EXPECT_EQ(read_available(peers_[4].get()), "") << "a broadcast is gathered";
  EXPECT_FALSE(context_.few_write());
  finish_sends();
}

TEST_F(ContextTest, WhatASocketWritesOnAndOnIsGathered) {
  connect(1);
  context_.begin_turn(kPair);
  for (int i = 0; i < 10; ++i)
    connections_[0]->write("x");
  EXPECT_EQ(read_available(peers_[0].get()), "xxxxxxxx");
  context_.begin_turn(kPair);
  context_.flush_dirty();
  EXPECT_EQ(read_available(peers_[0].get()), "xx");
  connections_[0]->write("y");
  EXPECT_EQ(read_available(peers_[0].get()), "y");
}

TEST_F(ContextTest, AGroupIsHandedOverWhenItIsFull) {
  connect(kMoreThanAGroup);
  many_wrote();
  size_t before = reactor_.submit_count;
  for (auto& connection : connections_)
    connection->write("x");
  EXPECT_EQ(reactor_.submit_count, before + 20U);
  EXPECT_EQ(reactor_.flush_count, 1U);
  context_.flush_dirty();
  EXPECT_EQ(reactor_.submit_count, before + kMoreThanAGroup);
  finish_sends();
}

TEST_F(ContextTest, AGroupOfHandlersThatAreNotQuickIsLarger) {
  connect(80);
  for (bool ring : {true, false}) {
    if (!ring) reactor_.mask_ring();
    many_wrote();
    size_t handed_over_after = 0;
    for (size_t i = 0; i < connections_.size() && handed_over_after == 0; ++i) {
      connections_[i]->write("x");
      clock_.advance(10'000);
      context_.hand_over_if_due();
      if (!context_.has_dirty()) handed_over_after = i + 1;
    }
    EXPECT_EQ(handed_over_after, 64U);
    finish_sends();
  }
}

TEST_F(ContextTest, AGroupThatIsFullWaitsForTheRestOfItsLastAnswer) {
  connect(kMoreThanAGroup);
  many_wrote();
  for (auto& connection : connections_) {
    connection->write("head");
    connection->write("body");
  }
  constexpr size_t kAnswer_bytes = 8;
  reactor_.send(kAnswer_bytes);
  reactor_.dispatch_all();
  EXPECT_EQ(reactor_.wire.size(), 20 * kAnswer_bytes) << "whole answers";
  context_.flush_dirty();
  reactor_.send(kAnswer_bytes);
  reactor_.dispatch_all();
  EXPECT_EQ(reactor_.wire.size(), kMoreThanAGroup * kAnswer_bytes);
}

TEST_F(ContextTest, WhatHasWaitedLongIsHandedOverBetweenTwoHandlers) {
  connect(4);
  many_wrote();
  size_t before = reactor_.submit_count;
  for (auto& connection : connections_)
    connection->write("x");
  EXPECT_EQ(reactor_.submit_count, before);
  context_.hand_over_if_due();
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(reactor_.submit_count, before) << "after " << i << " of four quarters";
    clock_.advance(250'000);  // a handler that is not slow
    context_.hand_over_if_due();
  }
  EXPECT_EQ(reactor_.submit_count, before + 4U);
  EXPECT_EQ(reactor_.flush_count, 1U);
  EXPECT_FALSE(context_.has_dirty());
  finish_sends();
}

TEST_F(ContextTest, WhatASlowHandlerHasWrittenLeavesWithIt) {
  connect(3);
  for (bool ring : {true, false}) {
    if (!ring) reactor_.mask_ring();
    many_wrote();
    for (auto& connection : connections_) {
      size_t before = reactor_.submit_count;
      clock_.advance(400'000);
      connection->write("x");
      context_.hand_over_if_due();
      EXPECT_FALSE(context_.has_dirty()) << "the next one may be as slow";
      EXPECT_EQ(reactor_.submit_count, before + (ring ? 1U : 0U));
    }
    connections_[0]->write("y");
    context_.hand_over_if_due();
    EXPECT_EQ(context_.has_dirty(), !ring) << "a send is under way, or this one was quick";
    finish_sends();
  }
}

TEST_F(ContextTest, AHandlerThatNobodyHasTimedCountsAsSlow) {
  connect(6);
  context_.begin_turn(kMany);  // few wrote before
  for (size_t i = 0; i < 4; ++i)
    connections_[i]->write("x");
  clock_.advance(5'000'000);  // of the next handler's work
  connections_[4]->write("y");
  EXPECT_TRUE(context_.has_dirty());
  context_.hand_over_if_due();
  EXPECT_FALSE(context_.has_dirty()) << "the next one may be as slow";
  connections_[5]->write("z");
  context_.hand_over_if_due();
  EXPECT_TRUE(context_.has_dirty()) << "this one was timed, and quick";
  finish_sends();
}

TEST_F(ContextTest, WithoutARingAGroupIsSentDirectlyWhenTheHandlerThatFilledItEnds) {
  connect(kMoreThanAGroup);
  reactor_.mask_ring();
  many_wrote();
  for (size_t i = 0; i < 19; ++i) {
    connections_[i]->write("head ");
    connections_[i]->write("body");
    context_.hand_over_if_due();
  }
  EXPECT_EQ(read_available(peers_[0].get()), "");
  for (size_t i = 19; i < kMoreThanAGroup; ++i)  // one handler
    connections_[i]->write("broadcast");
  EXPECT_EQ(read_available(peers_[0].get()), "") << "nobody's owner is called inside a write";
  context_.hand_over_if_due();
  EXPECT_EQ(reactor_.submit_count, 0U);
  EXPECT_EQ(read_available(peers_[0].get()), "head body");
  EXPECT_EQ(read_available(peers_[kMoreThanAGroup - 1].get()), "broadcast");
  EXPECT_FALSE(context_.has_dirty());
}

TEST_F(ContextTest, WithoutARingWhatHasWaitedLongIsSentBetweenTwoHandlers) {
  connect(2);
  reactor_.mask_ring();
  many_wrote();
  for (auto& connection : connections_)
    connection->write("x");
  context_.hand_over_if_due();
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(read_available(peers_[0].get()), "") << "after " << i << " of four quarters";
    clock_.advance(250'000);  // a handler that is not slow
    context_.hand_over_if_due();
  }
  EXPECT_EQ(read_available(peers_[1].get()), "x");
}

TEST_F(ContextTest, ASharedSocketSendsAtOnceInEveryTurn) {
  connect(1);
  many_wrote();
  connections_[0]->write("a");
  EXPECT_EQ(read_available(peers_[0].get()), "");
  for (int i = 0; i < 6; ++i)
    connections_[0]->write("b", /*at_once=*/true);
  EXPECT_EQ(read_available(peers_[0].get()), "abbbbbb");
}

TEST_F(ContextTest, AWriteOfAnotherThreadDoesNotWaitForTheSleepingLoop) {
  connect(1);
  many_wrote();
  reactor_.announce_sleep();
  connections_[0]->write("x");
  EXPECT_EQ(read_available(peers_[0].get()), "x");
}

}  // namespace
}  // namespace rloop::test
