// The state machine of a stream, on a reactor whose kernel is a script: one situation per test.
//
// Late cancels, short sends, missing buffers, the change to bulk and back, an end at every moment.
// What can happen in every order is in stream_orders.cpp, what real engines do in conformance/.
// The socket's sending side is full, so that every send is the script's.
#include "net/stream.hpp"

#include <gtest/gtest.h>

#include "conformance/connection.hpp"
#include "net/fake_reactor.hpp"

namespace rloop::test {
namespace {

class StreamTest : public testing::Test {
 protected:
  void SetUp() override {
    context_.reactor = &reactor_;
    SocketPair pair = unix_pair();
    fill(pair.near.get());
    far_ = std::move(pair.far);
    connection_ = std::make_unique<Connection>(context_, std::move(pair.near));
  }
  void TearDown() override {
    if (!connection_ || connection_->closed()) return;
    connection_->upcall = nullptr;
    connection_->stream.abort();
    settle();
    reactor_.run_cancels();
    settle();
    EXPECT_EQ(connection_->closed_count, 1);
  }
  net::Stream& stream() { return connection_->stream; }
  void settle() {
    context_.flush_dirty();
    reactor_.dispatch_all();
  }

  reactor::Statistics statistics_;
  FakeReactor reactor_{statistics_};
  net::Context context_;
  base::UniqueFd far_;
  std::unique_ptr<Connection> connection_;
};

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

TEST_F(StreamTest, APauseWithoutDataCostsNothing) {
  stream().start_reading();
  size_t submits = reactor_.submit_count;
  for (int i = 0; i < 5; ++i) {
    stream().pause_reading();
    stream().resume_reading();
  }
  reactor_.run_cancels();
  settle();
  EXPECT_EQ(reactor_.submit_count, submits) << "nothing was cancelled and nothing armed again";
}

TEST_F(StreamTest, AResumeWhileTheCancelIsUnderWayArmsAgainAfterIt) {
  stream().start_reading();
  stream().pause_reading();
  write_all(far_.get(), "kept");
  reactor_.receive();
  settle();
  EXPECT_EQ(connection_->received, "");
  stream().resume_reading();
  settle();
  EXPECT_EQ(connection_->received, "kept");
  reactor_.run_cancels();
  settle();
  EXPECT_TRUE(reactor_.receiving()) << "ECANCELED is not the end";
  write_all(far_.get(), " more");
  reactor_.receive();
  settle();
  EXPECT_EQ(connection_->received, "kept more");
}

TEST_F(StreamTest, DataThatWonTheRaceAgainstACancelIsKept) {
  stream().start_reading();
  stream().pause_reading();
  write_all(far_.get(), "one");
  reactor_.receive();
  settle();  // the stream asks for a cancel
  write_all(far_.get(), "two");
  reactor_.run_cancels();
  settle();
  EXPECT_EQ(connection_->received, "");
  stream().resume_reading();
  settle();
  EXPECT_EQ(connection_->received, "onetwo");
}

TEST_F(StreamTest, WithoutBuffersItAsksAgain) {
  stream().start_reading();
  write_all(far_.get(), "waits in the socket");
  reactor_.fail_receive(ENOBUFS);
  settle();
  reactor_.receive();
  settle();
  EXPECT_EQ(connection_->received, "waits in the socket");
}

TEST_F(StreamTest, FullBuffersMakeItPollAndShortOnesBringItBack) {
  stream().start_reading();
  size_t buffer = reactor_.config().buffer_size;
  std::string expected;
  uint64_t syscalls = statistics_.syscalls;
  for (unsigned i = 0; i < 12; ++i) {
    std::string piece = pattern(i < 6 ? 2 * buffer : 3, i);
    expected += piece;
    write_all(far_.get(), piece);
    for (int round = 0; round < 4; ++round) {
      reactor_.receive();
      reactor_.run_cancels();
      settle();
    }
    EXPECT_EQ(connection_->received, expected);
  }
  EXPECT_GT(statistics_.syscalls, syscalls) << "it received by itself for a while";
  syscalls = statistics_.syscalls;
  write_all(far_.get(), "x");
  reactor_.receive();
  settle();
  EXPECT_EQ(statistics_.syscalls, syscalls) << "and it is back";
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
    expected += std::to_string(i) + ",";
    connection_->write(std::to_string(i) + ",");
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

TEST_F(StreamTest, AReaderThatChangesItsKindGetsTheRestInTheNewWay) {
  // start_tls: the protocol that reads into buffers takes over inside the event.
  stream().start_reading();
  connection_->own_buffer.resize(4);
  std::vector<Event> events;
  connection_->upcall = [&](Event event) {
    events.push_back(event);
    stream().set_reads_into_buffers(true);
  };
  for (const char* text : {"plain", "secret"}) {
    write_all(far_.get(), text);
    reactor_.receive();
    settle();
  }
  EXPECT_EQ(connection_->received, "plainsecret");
  EXPECT_EQ(events, (std::vector{Event::data, Event::buffer, Event::buffer}));
}

TEST_F(StreamTest, StatisticsCountMessagesAndBytes) {
  stream().start_reading();
  write_all(far_.get(), "12345");
  reactor_.receive();
  connection_->write("123");
  settle();
  reactor_.send(100);
  settle();
  EXPECT_EQ(statistics_.messages_in, 1U);
  EXPECT_EQ(statistics_.bytes_in, 5U);
  EXPECT_EQ(statistics_.messages_out, 1U);
  EXPECT_EQ(statistics_.bytes_out, 3U);
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
