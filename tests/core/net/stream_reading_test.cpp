// The reading half of a stream, on a reactor whose kernel is a script.
//
// Pauses and late cancels, missing buffers, the change to bulk and back, readers that change their
// kind. What real engines do is in conformance/reading_test.cpp.
#include <gtest/gtest.h>

#include <new>

#include "net/stream.hpp"
#include "net/stream_fixture.hpp"

namespace rloop::test {
namespace {

using StreamReadingTest = StreamTest;

TEST_F(StreamReadingTest, APauseThatEndsInsideADeliveryCostsNothing) {
  connection_->upcall = [&](Event event) {
    if (event != Event::data) return;
    stream().pause_reading();
    stream().resume_reading();
  };
  stream().start_reading();
  size_t submits = reactor_.submit_count;
  for (int i = 0; i < 5; ++i) {
    write_all(far_.get(), "x");
    reactor_.receive();
    settle();
  }
  reactor_.run_cancels();
  settle();
  EXPECT_EQ(reactor_.submit_count, submits) << "nothing was cancelled and nothing armed again";
  EXPECT_EQ(connection_->received, "xxxxx");
}

TEST_F(StreamReadingTest, APauseTakesNothingMoreOutOfTheKernel) {
  stream().start_reading();
  stream().pause_reading();
  reactor_.run_cancels();
  settle();
  write_all(far_.get(), "for whoever else holds the socket");
  reactor_.receive();
  settle();
  EXPECT_FALSE(reactor_.receiving());
  EXPECT_EQ(read_available(stream().fd()), "for whoever else holds the socket");
}

TEST_F(StreamReadingTest, AResumeWhileTheCancelIsUnderWayArmsAgainAfterIt) {
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

TEST_F(StreamReadingTest, DataThatWonTheRaceAgainstACancelIsKept) {
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

TEST_F(StreamReadingTest, WithoutBuffersItAsksAgain) {
  stream().start_reading();
  write_all(far_.get(), "waits in the socket");
  reactor_.fail_receive(ENOBUFS);
  settle();
  reactor_.receive();
  settle();
  EXPECT_EQ(connection_->received, "waits in the socket");
}

TEST_F(StreamReadingTest, FullBuffersMakeItPollAndShortOnesBringItBack) {
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

TEST_F(StreamReadingTest, AReaderThatChangesItsKindGetsTheRestInTheNewWay) {
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

TEST_F(StreamReadingTest, AReaderThatPausesAndResumesWhenItIsAskedForMemorySeesOneEnd) {
  reactor_.mask_ring();
  int ends = 0;
  connection_->upcall = [&](Event event) { ends += event == Event::eof; };
  connection_->asked = [&] {
    stream().pause_reading();
    stream().resume_reading();
  };
  connection_->own_buffer.resize(4);
  stream().set_reads_into_buffers(true);
  stream().start_reading();
  ::shutdown(far_.get(), SHUT_WR);
  for (int round = 0; round < 3; ++round) {
    reactor_.receive();
    settle();
  }
  EXPECT_EQ(ends, 1);
}

TEST_F(StreamReadingTest, AResumeInsideTheLastEventWakesNothing) {
  stream().start_reading();
  write_all(far_.get(), "kept");
  reactor_.receive();
  stream().pause_reading();
  settle();
  connection_->upcall = [&](Event event) {
    if (event == Event::closed) stream().resume_reading();
    EXPECT_FALSE(event == Event::closed && reactor_.has_undispatched());
  };
  stream().abort();
  reactor_.run_cancels();
  settle();
  EXPECT_TRUE(connection_->closed());
}

TEST_F(StreamReadingTest, ADeliveryThatLacksMemoryIsNotUnderWayForEver) {
  reactor_.mask_ring();
  connection_->own_buffer.resize(8);
  connection_->asked = [] { throw std::bad_alloc(); };
  stream().set_reads_into_buffers(true);
  stream().start_reading();
  write_all(far_.get(), "received");
  reactor_.receive();
  EXPECT_THROW(settle(), std::bad_alloc);
  connection_->asked = nullptr;
  stream().pause_reading();
  stream().resume_reading();
  reactor_.receive();
  settle();
  EXPECT_EQ(connection_->received, "received");
}

}  // namespace
}  // namespace rloop::test
