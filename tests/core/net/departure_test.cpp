// Streams that write in pieces: a head and a body, twice in a row, and from then on together.
//
// What the peer can receive after each write says whether the kernel keeps it for more to come,
// which is no longer than the handler runs. On a reactor whose kernel is a script, over TCP.
#include <gtest/gtest.h>

#include <array>

#include "conformance/connection.hpp"
#include "net/context.hpp"
#include "net/fake_reactor.hpp"

namespace rloop::test {
namespace {

class DepartureTest : public testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    context_.reactor = &reactor_;
    if (!GetParam()) reactor_.mask_ring();
    context_.longest_between_pieces = static_cast<uint64_t>(-1);  // however busy the machine is
    SocketPair pair = tcp_pair();
    connection_ = std::make_unique<Connection>(context_, std::move(pair.near));
    far_ = std::move(pair.far);
  }
  void TearDown() override {
    connection_->upcall = nullptr;
    stream().abort();
    reactor_.run_cancels();
    reactor_.dispatch_all();
    EXPECT_TRUE(connection_->closed());
  }

  net::Stream& stream() { return connection_->stream; }
  std::string received() { return read_available(far_.get()); }
  void next_turn() {
    context_.flush_dirty();
    context_.begin_turn();
  }
  // A turn in which it writes so often.
  void turn_of(int writes) {
    next_turn();
    for (int i = 0; i < writes; ++i)
      connection_->write("x");
  }
  // From the next turn on two writes are expected.
  void learn() {
    turn_of(2);
    turn_of(2);
    next_turn();
    received();
  }

  reactor::Statistics statistics_;
  FakeReactor reactor_{statistics_};
  net::Context context_;
  std::unique_ptr<Connection> connection_;
  base::UniqueFd far_;
};

INSTANTIATE_TEST_SUITE_P(Engines, DepartureTest, testing::Bool(),
                         [](const auto& given) { return given.param ? "ring" : "epoll"; });

TEST_P(DepartureTest, PiecesLeaveTogetherWithTheLastOne) {
  learn();
  for (int i = 0; i < 3; ++i) {
    connection_->write("head ");
    EXPECT_EQ(received(), "");
    connection_->write("body");
    EXPECT_EQ(received(), "head body");
    EXPECT_FALSE(context_.has_gathered());
    next_turn();
  }
}

TEST_P(DepartureTest, TheyAreTheKernelsWhenWriteReturns) {
  learn();
  connection_->write("head");
  EXPECT_EQ(stream().backlog_bytes(), 0U);
  EXPECT_EQ(connection_->held, 0);
  base::UniqueFd copy(::dup(stream().number()));
  write_all(copy.get(), "body");
  EXPECT_EQ(received(), "headbody");
}

TEST_P(DepartureTest, PiecesLeaveOneByOneUntilItIsAHabit) {
  for (int writes : {2, 1, 2, 3, 2, 2}) {
    next_turn();
    for (int i = 0; i < writes; ++i) {
      connection_->write("x");
      EXPECT_EQ(received(), "x");
    }
  }
  next_turn();
  connection_->write("x");
  EXPECT_EQ(received(), "");
}

TEST_P(DepartureTest, PiecesThatComeSlowlyAreNone) {
  context_.longest_between_pieces = 0;
  for (int i = 0; i < 5; ++i) {
    next_turn();
    for (int k = 0; k < 2; ++k) {
      connection_->write("progress");
      EXPECT_EQ(received(), "progress");
    }
  }
}

TEST_P(DepartureTest, PiecesAmongThoseOfOthersAreNone) {
  SocketPair pair = tcp_pair();
  Connection other(context_, std::move(pair.near));
  for (int i = 0; i < 5; ++i) {
    next_turn();
    for (int k = 0; k < 2; ++k) {
      connection_->write("a");
      other.write("b");
      EXPECT_EQ(received() + read_available(pair.far.get()), "ab");
    }
  }
  other.stream.abort();
  reactor_.run_cancels();
  reactor_.dispatch_all();
}

TEST_P(DepartureTest, OneWhoseRestDoesNotComeLeavesWithItsHandlerAndIsNotTrustedForLong) {
  learn();
  connection_->write("head");
  EXPECT_TRUE(context_.has_gathered());
  context_.hand_over_if_due();
  EXPECT_EQ(received(), "head");
  EXPECT_FALSE(context_.has_gathered());
  connection_->write("body");
  EXPECT_EQ(received(), "body");
  for (int i = 0; i < 10; ++i) {
    next_turn();
    for (int k = 0; k < 2; ++k) {
      connection_->write("x");
      EXPECT_EQ(received(), "x");
    }
  }
  for (int i = 0; i < 100; ++i)
    turn_of(2);
  received();
  next_turn();
  connection_->write("x");
  EXPECT_EQ(received(), "") << "it may become a habit again";
}

TEST_P(DepartureTest, PiecesMoreThanUsualLeaveAtOnce) {
  learn();
  for (const char* piece : {"head ", "body ", "more"})
    connection_->write(piece);
  EXPECT_EQ(received(), "head body more");
}

TEST_P(DepartureTest, WhatIsAheadLeavesBeforeTheWait) {
  learn();
  connection_->write("head");
  context_.flush_dirty();
  EXPECT_EQ(received(), "head");
}

TEST_P(DepartureTest, WhatIsAheadLeavesWhenTheLoopStops) {
  learn();
  connection_->write("head");
  context_.flush_dirty_now();
  EXPECT_EQ(received(), "head");
}

TEST_P(DepartureTest, WhatIsAheadLeavesWhenTheWriterIsDrained) {
  learn();
  connection_->write("head");
  stream().flush_if_few_write();
  EXPECT_EQ(received(), "head");
}

TEST_P(DepartureTest, WhatIsAheadLeavesWhenSomebodyGoesOnWithTheSocket) {
  learn();
  connection_->write("head");
  stream().settle();
  EXPECT_EQ(received(), "head");
}

TEST_P(DepartureTest, WhatIsAheadLeavesWhenAnotherIsAhead) {
  SocketPair pair = tcp_pair();
  Connection other(context_, std::move(pair.near));
  for (int i = 0; i < 2; ++i) {
    turn_of(2);
    other.write("y");
    other.write("y");
  }
  next_turn();
  received();
  read_available(pair.far.get());
  connection_->write("head");
  other.write("head");
  EXPECT_EQ(received(), "head");
  EXPECT_EQ(read_available(pair.far.get()), "");
  other.stream.abort();
  EXPECT_EQ(read_available(pair.far.get()), "head");
  EXPECT_FALSE(context_.has_gathered());
  reactor_.run_cancels();
  reactor_.dispatch_all();
}

TEST_P(DepartureTest, ALargePieceIsOneOfThem) {
  for (int i = 0; i < 2; ++i) {
    next_turn();
    connection_->write("head");
    connection_->write(std::string(20'000, 'x'));
    received();
  }
  next_turn();
  connection_->write("head");
  EXPECT_EQ(received(), "");
  connection_->write(std::string(20'000, 'x'));
  EXPECT_EQ(received().size(), 20'004U);
  EXPECT_FALSE(context_.has_gathered());
}

TEST_P(DepartureTest, NothingIsAheadWhereSomebodyElseMayWriteOrNobodyFlushes) {
  learn();
  connection_->write("now", /*at_once=*/true);
  EXPECT_EQ(received(), "now");
  next_turn();
  context_.loop_running = false;
  connection_->write("between two runs");
  EXPECT_EQ(received(), "between two runs");
  context_.loop_running = true;
  reactor_.announce_sleep();
  connection_->write("of another thread");
  EXPECT_EQ(received(), "of another thread");
}

TEST_P(DepartureTest, WhatIsAheadLeavesBeforeTheEnd) {
  learn();
  connection_->write("head");
  stream().close();
  EXPECT_EQ(received(), "head");
  EXPECT_FALSE(context_.has_gathered());
}

TEST_P(DepartureTest, WhatIsAheadLeavesBeforeTheShutdown) {
  learn();
  connection_->write("head");
  EXPECT_TRUE(stream().write_eof().ok());
  EXPECT_EQ(received(), "head");
  EXPECT_TRUE(at_end_of_stream(far_.get()));
  EXPECT_FALSE(context_.has_gathered());
}

TEST_P(DepartureTest, OverAUnixSocketEachPieceLeavesByItself) {
  SocketPair pair = unix_pair();
  Connection local(context_, std::move(pair.near));
  for (int i = 0; i < 5; ++i) {
    next_turn();
    for (int k = 0; k < 2; ++k) {
      local.write("x");
      EXPECT_EQ(read_available(pair.far.get()), "x");
      EXPECT_FALSE(context_.has_gathered());
    }
  }
  local.stream.abort();
  reactor_.run_cancels();
  reactor_.dispatch_all();
}

TEST_P(DepartureTest, PiecesOfAGroupWaitForTheGroup) {
  if (!GetParam()) return;  // there are no groups
  std::array<net::SentAtOnce, 10> others;
  learn();
  for (net::SentAtOnce& other : others)
    context_.may_send_now(other);
  context_.begin_turn();
  context_.may_send_now(others[0]);
  for (const char* piece : {"head ", "body ", "more"})
    connection_->write(piece);
  EXPECT_EQ(received(), "");
  context_.flush_dirty();
  EXPECT_EQ(received(), "head body more");
}

}  // namespace
}  // namespace rloop::test
