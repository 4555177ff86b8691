// The writing half of a stream and its end, on a reactor whose kernel is a script.
//
// Late cancels, short sends, an end at every moment. What can happen in every order is in
// stream_orders.cpp, what real engines do in conformance/.
#include "net/stream.hpp"

#include <gtest/gtest.h>

#include "net/stream_fixture.hpp"

namespace rloop::test {
namespace {

TEST_F(StreamTest, CloseWaitsForTheSendInFlight) {
  connection_->write("backlog");
  settle();
  ASSERT_TRUE(reactor_.sending());
  stream().close();
  settle();
  EXPECT_FALSE(connection_->closed());
  reactor_.send(3);
  settle();
  EXPECT_FALSE(connection_->closed()) << "a short send is continued";
  reactor_.send(100);
  settle();
  EXPECT_TRUE(connection_->closed());
  EXPECT_EQ(reactor_.wire, "backlog");
}

TEST_F(StreamTest, AbortWaitsForTheSendAndTheReceiveInFlight) {
  stream().start_reading();
  connection_->write("backlog");
  settle();
  stream().abort();
  settle();
  EXPECT_FALSE(connection_->closed());
  EXPECT_EQ(connection_->held, 1) << "the kernel may still read it";
  reactor_.fail_send(ECANCELED);
  settle();
  EXPECT_FALSE(connection_->closed()) << "the receive is still in flight";
  reactor_.run_cancels();
  settle();
  EXPECT_TRUE(connection_->closed());
  EXPECT_EQ(connection_->held, 0);
}

TEST_F(StreamTest, AnAbortLeavesTheSendInFlightAlone) {
  // Written while a send came home: dirty, and in flight again at once.
  connection_->upcall = [&](Event event) {
    if (event == Event::sent && reactor_.wire == "a") connection_->write("b");
  };
  connection_->write("a");
  settle();
  reactor_.send(1);
  reactor_.dispatch_all();
  ASSERT_TRUE(reactor_.sending());
  stream().abort();
  EXPECT_TRUE(reactor_.sending());
  reactor_.send(1);
  reactor_.run_cancels();
  settle();
  EXPECT_EQ(reactor_.wire, "ab");
  EXPECT_TRUE(connection_->closed());
  EXPECT_EQ(stream().traffic().bytes_out, 2U);
}

TEST_F(StreamTest, AnAbortedCopySendsNothingOfWhatWasUnderWayAtTheFork) {
  connection_->write("a");
  settle();
  ASSERT_TRUE(reactor_.sending());
  connection_->write("b");
  stream().start_over();
  read_available(far_.get());  // there is room
  stream().abort();
  reactor_.send(1);
  settle();
  EXPECT_EQ(reactor_.wire, "a");
  EXPECT_EQ(read_available(far_.get()), "") << "the rest is the parent's";
  EXPECT_TRUE(connection_->closed());
}

TEST_F(StreamTest, ACopyThatGoesOnSendsAllAlsoWhenItAborts) {
  connection_->write("a");
  settle();
  connection_->write("b");
  stream().start_over();
  read_available(far_.get());  // there is room
  reactor_.send(1);
  reactor_.dispatch_all();
  ASSERT_TRUE(reactor_.sending());
  connection_->write("c");
  stream().abort();
  reactor_.send(1);
  settle();
  EXPECT_EQ(reactor_.wire, "ab");
  EXPECT_EQ(read_available(far_.get()), "c") << "as an abort in the middle of a turn does";
  EXPECT_TRUE(connection_->closed());
}

TEST_F(StreamTest, ASendThatWasStoppedIsSentAgain) {
  connection_->write("once");
  settle();
  reactor_.fail_send(ECANCELED);
  settle();
  ASSERT_TRUE(reactor_.sending());
  reactor_.send(100);
  settle();
  EXPECT_EQ(reactor_.wire, "once");
}

TEST_F(StreamTest, AFailedWriteDropsTheBacklog) {
  connection_->aborts_on_error = false;
  connection_->write("lost");
  settle();
  connection_->write("lost too");
  reactor_.fail_send(EPIPE);
  settle();
  EXPECT_EQ(connection_->error, EPIPE);
  EXPECT_EQ(stream().backlog_bytes(), 0U);
  EXPECT_EQ(connection_->held, 0);
}

TEST_F(StreamTest, AFailedWriteEndsACloseThatWaitedForIt) {
  connection_->aborts_on_error = false;
  connection_->write("lost");
  settle();
  stream().close();
  reactor_.fail_send(EPIPE);
  settle();
  EXPECT_TRUE(connection_->closed());
}

TEST_F(StreamTest, AWriteAfterTheEndIsDropped) {
  stream().abort();
  connection_->write("too late");
  EXPECT_EQ(connection_->held, 0);
  settle();
  EXPECT_TRUE(connection_->closed());
  connection_->write("later still");
  EXPECT_EQ(connection_->held, 0);
  connection_.reset();
}

TEST_F(StreamTest, ManySegmentsLeaveInAFewSends) {
  std::string expected;
  for (int i = 0; i < 40; ++i) {
    std::string segment = std::to_string(i) + std::string(20, ',');
    expected += segment;
    connection_->write(segment);
  }
  settle();
  int sends = 0;
  for (; reactor_.sending(); ++sends) {
    reactor_.send(1000);
    settle();
  }
  EXPECT_EQ(reactor_.wire, expected);
  EXPECT_EQ(sends, 3) << "at most 16 ranges each";
}

TEST_F(StreamTest, SmallSegmentsLeaveAsOne) {
  for (const char* segment : {"head", "body", "tail"})
    connection_->write(segment);
  settle();
  ASSERT_TRUE(reactor_.sending());
  reactor_.send(6);
  connection_->write(" and more");
  settle();
  reactor_.send(100);
  settle();
  EXPECT_EQ(reactor_.wire, "headbodytail and more");
  EXPECT_FALSE(reactor_.sending());
  EXPECT_EQ(connection_->held, 0);
}

// The ring's sends do not wait for room: they come home with "again", and a poll waits.
class RoomTest : public StreamTest {
 protected:
  void SetUp() override {
    StreamTest::SetUp();
    reactor_.sends_wait = false;
  }
  // The far end reads; how much there was.
  size_t drain() { return read_available(far_.get()).size(); }
  // With unread data, so that the far end resets.
  void hang_up_under_a_backlog() {
    stream().start_reading();
    connection_->write("lost");
    settle();
    far_.reset();
    reactor_.make_room(POLLOUT | POLLHUP);
    settle();
    EXPECT_EQ(connection_->error, 0);
    EXPECT_FALSE(reactor_.waiting_for_room());
  }
};

TEST_F(RoomTest, AWriteThatFindsNoRoomWaitsForItAndGoesOn) {
  connection_->write("kept");
  settle();
  EXPECT_TRUE(reactor_.waiting_for_room());
  connection_->write(" in order");
  reactor_.make_room();  // a hang-up that looks like room
  settle();
  EXPECT_TRUE(reactor_.waiting_for_room()) << "again is no end";
  EXPECT_EQ(connection_->error, 0);
  drain();
  reactor_.make_room();
  settle();
  EXPECT_EQ(read_available(far_.get()), "kept in order");
  EXPECT_EQ(connection_->held, 0);
  EXPECT_FALSE(reactor_.waiting_for_room());
}

TEST_F(RoomTest, ASendOfTheRingThatComesHomeWithAgainWaitsForRoom) {
  reactor_.sends_wait = true;
  connection_->write("kept");
  settle();
  ASSERT_TRUE(reactor_.sending());
  reactor_.sends_wait = false;
  reactor_.fail_send(EAGAIN);
  settle();
  EXPECT_FALSE(reactor_.sending());
  EXPECT_TRUE(reactor_.waiting_for_room());
  EXPECT_EQ(connection_->error, 0);
  drain();
  reactor_.make_room();
  settle();
  EXPECT_EQ(read_available(far_.get()), "kept");
}

TEST_F(RoomTest, AfterAHangUpWhatAReceiveTellsComesFirst) {
  hang_up_under_a_backlog();
  reactor_.receive();
  settle();
  EXPECT_EQ(connection_->error, ECONNRESET);
  EXPECT_TRUE(connection_->closed());
}

TEST_F(RoomTest, AfterAHangUpAPauseLetsTheSendGo) {
  hang_up_under_a_backlog();
  stream().pause_reading();
  reactor_.fail_receive(ECANCELED);
  settle();
  EXPECT_EQ(connection_->error, EPIPE);
  EXPECT_TRUE(connection_->closed());
}

TEST_F(RoomTest, AfterAHangUpACloseLetsTheSendGo) {
  hang_up_under_a_backlog();
  stream().close();
  EXPECT_EQ(connection_->error, EPIPE);
  reactor_.run_cancels();
  settle();
  EXPECT_TRUE(connection_->closed());
}

TEST_F(RoomTest, ACloseWaitsForRoomToo) {
  connection_->write("last words");
  settle();
  stream().close();
  settle();
  EXPECT_FALSE(connection_->closed());
  drain();
  reactor_.make_room();
  settle();
  EXPECT_TRUE(connection_->closed());
  EXPECT_EQ(read_available(far_.get()), "last words");
}

TEST_F(RoomTest, AnAbortEndsTheWaitForRoom) {
  connection_->write("lost");
  settle();
  stream().abort();
  settle();
  EXPECT_FALSE(connection_->closed()) << "the poll is in flight";
  reactor_.run_cancels();
  settle();
  EXPECT_TRUE(connection_->closed());
  EXPECT_EQ(connection_->held, 0);
}

TEST_F(StreamTest, NoReceiveThatMeansAgainIsAnEnd) {
  stream().start_reading();
  for (int error : {EAGAIN, EINTR, ECANCELED, ENOBUFS}) {
    reactor_.fail_receive(error);
    settle();
    EXPECT_TRUE(reactor_.receiving());
  }
  write_all(far_.get(), "all the same");
  reactor_.receive();
  settle();
  EXPECT_EQ(connection_->received, "all the same");
  EXPECT_EQ(connection_->error, 0);
}

TEST_F(StreamTest, NothingIsSentToANumberThatItsHolderGaveUp) {
  int number = stream().fd();
  stream().follow(&number);
  read_available(far_.get());  // there is room
  number = -1;
  connection_->write("for nobody else");
  settle();
  EXPECT_EQ(connection_->error, EBADF);
  EXPECT_EQ(read_available(far_.get()), "");
  stream().follow(nullptr);
}

TEST_F(StreamTest, AWriteBetweenAnAbortAndTheEndDoesNotBringItBackIntoTheGroup) {
  connection_->write("what the kernel has no room for");
  ASSERT_TRUE(context_.has_dirty());
  stream().abort();
  connection_->write("too late");
  EXPECT_FALSE(context_.has_dirty());
  settle();
  EXPECT_TRUE(connection_->closed());
}

TEST_F(StreamTest, StatisticsCountMessagesAndBytes) {
  stream().start_reading();
  write_all(far_.get(), "12345");
  reactor_.receive();
  connection_->write("123");
  settle();
  reactor_.send(100);
  settle();
  const net::Traffic& traffic = stream().traffic();
  EXPECT_EQ(traffic.messages_in, 1U);
  EXPECT_EQ(traffic.bytes_in, 5U);
  EXPECT_EQ(traffic.messages_out, 1U);
  EXPECT_EQ(traffic.bytes_out, 3U);
}

using StreamDeathTest = StreamTest;

TEST_F(StreamDeathTest, MustNotDieWithAnOperationInFlight) {
  EXPECT_DEATH(
      {
        stream().start_reading();
        connection_.reset();
      },
      "destroyed while in flight");
}

TEST_F(StreamDeathTest, MustNotDieDirty) {
  EXPECT_DEATH(
      {
        connection_->write("x");
        connection_.reset();
      },
      "destroyed while linked");
}

}  // namespace
}  // namespace rloop::test
