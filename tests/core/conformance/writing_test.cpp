// Streams that write and end, on every engine: big streams, backlog, half-close, close, abort.
//
// A close delivers the backlog and then the end; an abort drops it; nothing is closed before the
// last operation has come home, and every segment is released exactly once. Buffers are made small
// where a send has to stay in flight.
#include <fcntl.h>

#include <array>

#include "conformance/connection.hpp"

namespace rloop::test {
namespace {

class WritingTest : public ConnectionTest {};
class ClosingTest : public ConnectionTest {};
INSTANTIATE_TEST_SUITE_P(Engines, WritingTest, every_engine(), engine_name);
INSTANTIATE_TEST_SUITE_P(Engines, ClosingTest, every_engine(), engine_name);

TEST_P(WritingTest, WhereManyWriteItsWritesAreGathered) {
  connect_and_read(unix_pair());
  std::array<net::SentAtOnce, 5> others;
  context_.begin_turn(/*to_run=*/others.size());
  for (net::SentAtOnce& other : others)
    context_.may_send_now(other);
  near_->write("one ");
  near_->write("two ");
  near_->write("three");
  EXPECT_EQ(near_->stream.backlog_bytes(), 13U);
  ASSERT_TRUE(run_until([&] { return far_->received.size() == 13; }));
  EXPECT_EQ(far_->received, "one two three");
  EXPECT_EQ(near_->stream.backlog_bytes(), 0U);
  EXPECT_EQ(near_->held, 0);
  EXPECT_EQ(near_->stream.traffic().messages_out, 1U);
}

// The peer has said all it has to say (nc -N), and reads the long answer slowly. Its half-close is
// a hang-up to every poll that asks for one.
TEST_P(WritingTest, APeerThatHasClosedItsHalfGetsTheWholeAnswer) {
  enum class End { before, during };
  for (bool tcp : {true, false}) {
    for (End end : {End::before, End::during}) {
      SocketPair pair = tcp ? tcp_pair() : unix_pair();
      shrink_buffers(pair);
      base::UniqueFd peer = std::move(pair.far);
      Connection connection(context_, std::move(pair.near));
      connection.stream.start_reading();
      if (end == End::before) ::shutdown(peer.get(), SHUT_WR);
      turns(3);
      const std::string answer = pattern(2 << 20);
      for (size_t i = 0; i < 8; ++i) {
        connection.write(answer.substr(i * answer.size() / 8, answer.size() / 8));
        turns(1);
      }
      if (end == End::during) ::shutdown(peer.get(), SHUT_WR);
      turns(20);  // the peer sleeps
      connection.stream.close();
      std::string received;
      ASSERT_TRUE(run_until([&] {
        received += read_available(peer.get());
        return connection.closed();
      }));
      received += read_to_end(peer.get());
      EXPECT_TRUE(received == answer) << received.size() << " of " << answer.size();
      EXPECT_EQ(connection.error, 0);
      EXPECT_EQ(connection.held, 0);
    }
  }
}

TEST_P(WritingTest, ALargeWriteOnAnIdleStreamLeavesAtOnce) {
  connect_and_read(tcp_pair());
  near_->write(pattern(20'000));
  EXPECT_EQ(near_->stream.backlog_bytes(), 0U);
  ASSERT_TRUE(run_until([&] { return far_->received.size() == 20'000; }));
}

TEST_P(WritingTest, MegabytesInBothDirectionsArriveInOrder) {
  for (bool tcp : {true, false}) {
    connect_and_read(tcp ? tcp_pair() : unix_pair());
    const std::string there = pattern(3 << 20, 3), back = pattern(3 << 20, 4);
    size_t there_written = 0, back_written = 0;
    auto feed = [](Connection& from, const std::string& bytes, size_t& written) {
      while (written < bytes.size() && from.stream.backlog_bytes() < 300'000) {
        size_t size = 1 + (written * 7919) % 70'000;
        std::string piece = bytes.substr(written, size);
        written += piece.size();
        from.write(std::move(piece));
      }
    };
    ASSERT_TRUE(run_until([&] {
      feed(*near_, there, there_written);
      feed(*far_, back, back_written);
      return far_->received.size() == there.size() && near_->received.size() == back.size();
    }));
    EXPECT_TRUE(far_->received == there);
    EXPECT_TRUE(near_->received == back);
    near_->stream.close();
    far_->stream.close();
    ASSERT_TRUE(run_until([&] { return near_->closed() && far_->closed(); }));
  }
}

TEST_P(WritingTest, AThousandSmallSegmentsStayInOrder) {
  SocketPair pair = tcp_pair();
  shrink_buffers(pair);
  connect_and_read(std::move(pair));
  std::string expected;
  for (unsigned i = 0; i < 1000; ++i) {
    std::string piece = pattern(1 + i % 100, i);
    expected += piece;
    near_->write(std::move(piece));
    if (i % 100 == 99) turn();
  }
  ASSERT_TRUE(run_until([&] { return far_->received.size() == expected.size(); }));
  EXPECT_EQ(far_->received, expected);
}

TEST_P(WritingTest, ManyStreamsThatWriteInOneTurnAllArrive) {
  constexpr size_t kStreams = 50;  // more than are sent to directly
  std::vector<std::unique_ptr<Connection>> writers;
  std::vector<base::UniqueFd> peers;
  for (size_t i = 0; i < kStreams; ++i) {
    SocketPair pair = unix_pair();
    writers.push_back(std::make_unique<Connection>(context_, std::move(pair.near)));
    writers.back()->write(pattern(100, static_cast<unsigned>(i)));
    peers.push_back(std::move(pair.far));
  }
  for (auto& writer : writers) {
    ASSERT_TRUE(run_until([&] { return writer->stream.backlog_bytes() == 0; }));
    writer->stream.close();
  }
  for (size_t i = 0; i < kStreams; ++i) {
    EXPECT_EQ(read_to_end_in_turns(peers[i].get()), pattern(100, static_cast<unsigned>(i)));
    EXPECT_TRUE(writers[i]->closed());
  }
}

TEST_P(WritingTest, AWriteFromInsideOnSentIsSent) {
  connect_and_read(unix_pair());
  int left = 20;
  near_->upcall = [&](Event event) {
    if (event == Event::sent && left-- > 0) near_->write(left % 2 ? pattern(17'000, 1) : "small");
  };
  near_->write("first");
  ASSERT_TRUE(run_until([&] { return far_->received.size() == 5 + 10 * 5 + 10 * 17'000; }));
}

TEST_P(WritingTest, HalfCloseLetsTheAnswerThrough) {
  connect_and_read(tcp_pair());
  far_->upcall = [&](Event event) {
    if (event != Event::eof) return;
    far_->write("answer to " + far_->received);
    far_->stream.close();
  };
  near_->write("question");
  near_->stream.write_eof();
  ASSERT_TRUE(run_until([&] { return near_->eof && far_->closed(); }));
  EXPECT_EQ(near_->received, "answer to question");
  EXPECT_TRUE(near_->stream.open());
}

TEST_P(WritingTest, TheEndOfWritingFollowsTheBacklog) {
  SocketPair pair = tcp_pair();
  shrink_buffers(pair);
  connect(std::move(pair));
  const std::string bytes = pattern(500'000);
  near_->write(bytes);
  near_->stream.write_eof();
  EXPECT_GT(near_->stream.backlog_bytes(), 0U);
  turns(5);
  far_->stream.start_reading();
  ASSERT_TRUE(run_until([&] { return far_->eof; }));
  EXPECT_EQ(far_->received, bytes);
  EXPECT_TRUE(near_->stream.open());
}

TEST_P(WritingTest, AWriteToAClosedPeerIsAnErrorOfWriting) {
  connect(unix_pair());
  far_->stream.abort();
  ASSERT_TRUE(run_until([&] { return far_->closed(); }));
  near_->write("nobody");
  ASSERT_TRUE(run_until([&] { return near_->closed(); }));
  EXPECT_EQ(near_->error, EPIPE);
}

// --- the end --------------------------------------------------------------------------------

TEST_P(ClosingTest, ACloseDeliversTheBacklogAndThenTheEnd) {
  SocketPair pair = tcp_pair();
  shrink_buffers(pair);
  connect(std::move(pair));
  const std::string bytes = pattern(300'000);
  near_->write(bytes);
  near_->stream.close();
  EXPECT_FALSE(near_->stream.open());
  turns(5);
  EXPECT_FALSE(near_->closed()) << "the backlog is not sent yet";
  far_->stream.start_reading();
  ASSERT_TRUE(run_until([&] { return far_->eof && near_->closed(); }));
  EXPECT_EQ(far_->received, bytes);
}

TEST_P(ClosingTest, AnIdleCloseEndsInALaterDispatch) {
  connect_and_read(unix_pair());
  turns(2);
  near_->stream.close();
  EXPECT_FALSE(near_->closed()) << "never inside close()";
  ASSERT_TRUE(run_until([&] { return near_->closed() && far_->eof; }));
}

TEST_P(ClosingTest, AnAbortWithASendInFlightReleasesTheSegments) {
  SocketPair pair = tcp_pair();
  shrink_buffers(pair);
  connect_and_read(std::move(pair));
  far_->stream.pause_reading();
  near_->write(pattern(2 << 20));
  near_->write("more");
  turns(5);
  EXPECT_GT(near_->stream.backlog_bytes(), 0U);
  near_->stream.abort();
  EXPECT_GT(near_->held, 0) << "the kernel may still read it";
  ASSERT_TRUE(run_until([&] { return near_->closed(); }));
  EXPECT_EQ(near_->held, 0);
}

TEST_P(ClosingTest, ACloseMayBecomeAnAbort) {
  SocketPair pair = tcp_pair();
  shrink_buffers(pair);
  connect(std::move(pair));
  near_->write(pattern(2 << 20));
  turns(3);
  near_->stream.close();
  turns(3);
  near_->stream.abort();
  near_->stream.close();
  near_->stream.abort();
  ASSERT_TRUE(run_until([&] { return near_->closed(); }));
  turns(3);
  EXPECT_EQ(near_->closed_count, 1);
}

TEST_P(ClosingTest, AClosedStreamReportsNoMoreData) {
  connect_and_read(unix_pair());
  turns(2);
  near_->upcall = [&](Event event) {
    if (event == Event::data) near_->stream.close();
  };
  far_->write("first");
  turn();
  far_->write("second");
  ASSERT_TRUE(run_until([&] { return near_->closed(); }));
  EXPECT_TRUE(near_->received == "first" || near_->received == "firstsecond");
  size_t size = near_->received.size();
  turns(3);
  EXPECT_EQ(near_->received.size(), size);
}

TEST_P(ClosingTest, ADescriptorThatLivesOnInACopyReachesNobody) {
  // A child of a fork, or socket.dup(), keeps the file open: close(2) alone then takes nothing out
  // of an epoll set.
  SocketPair pair = unix_pair();
  base::UniqueFd copy(::fcntl(pair.near.get(), F_DUPFD_CLOEXEC, 0));
  near_ = std::make_unique<Connection>(context_, std::move(pair.near));
  near_->stream.start_reading();
  turns(2);
  near_->stream.close();
  ASSERT_TRUE(run_until([&] { return near_->closed(); }));
  near_.reset();
  write_all(pair.far.get(), "to the copy");
  turns(3);
  EXPECT_EQ(read_available(copy.get()), "to the copy");
}

TEST_P(ClosingTest, AStreamWithEverythingInFlightMayBeDeletedInItsLastEvent) {
  // Whichever of its operations comes home last: nothing touches the stream after on_closed.
  for (bool send : {false, true}) {
    SocketPair pair = tcp_pair();
    auto connection = std::make_unique<Connection>(context_, std::move(pair.near));
    bool closed = false;
    connection->stream.start_reading();
    connection->upcall = [&](Event event) {
      if (event != Event::closed) return;
      closed = true;
      std::function<void(Event)> self = std::move(connection->upcall);
      connection.reset();
    };
    if (send) connection->write(pattern(16 << 20));
    turns(3);
    write_all(pair.far.get(), "on its way");
    connection->stream.abort();
    ASSERT_TRUE(run_until([&] { return closed; }));
  }
}

TEST_P(ClosingTest, AStreamMayBeDeletedInItsLastEvent) {
  SocketPair pair = unix_pair();
  auto* connection = new Connection(context_, std::move(pair.near));
  bool closed = false;
  connection->stream.start_reading();
  connection->upcall = [&closed, connection](Event event) {
    if (event != Event::closed) return;
    closed = true;
    // The upcall itself lives in the connection, so it lets the loop forget it first.
    std::function<void(Event)> self = std::move(connection->upcall);
    delete connection;
  };
  turns(2);
  write_all(pair.far.get(), "x");
  turns(2);
  connection->stream.close();
  ASSERT_TRUE(run_until([&] { return closed; }));
}

}  // namespace
}  // namespace rloop::test
