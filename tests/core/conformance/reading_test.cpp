// Streams that read, on every engine: order, pauses, bulk, ends, too few buffers.
//
// The far end is plain system calls or a second stream; what matters is that every byte arrives
// once and in order, whatever the reader does in between and however few buffers there are. The
// state machine alone is tested in net/.
#include <sys/socket.h>

#include <algorithm>
#include <cstring>

#include "conformance/connection.hpp"

namespace rloop::test {
namespace {

class ReadingTest : public ConnectionTest {
 protected:
  // Only the near end is a stream; the far end belongs to the test.
  base::UniqueFd read_from(SocketPair pair) {
    near_ = std::make_unique<Connection>(context_, std::move(pair.near));
    near_->stream.start_reading();
    return std::move(pair.far);
  }
  // The same for a reader with `size` bytes of its own.
  base::UniqueFd read_into_memory(SocketPair pair, size_t size) {
    near_ = std::make_unique<Connection>(context_, std::move(pair.near));
    near_->own_buffer.resize(size);
    near_->stream.set_reads_into_buffers(true);
    near_->stream.start_reading();
    return std::move(pair.far);
  }
};
INSTANTIATE_TEST_SUITE_P(Engines, ReadingTest, every_engine(), engine_name);

// recv(2) stops at the urgent mark although data lies behind it.
TEST_P(ReadingTest, DataBehindUrgentDataArrives) {
  connect_and_read(tcp_pair());
  ASSERT_EQ(::send(far_->stream.fd(), "before", 6, 0), 6);
  ASSERT_EQ(::send(far_->stream.fd(), "!", 1, MSG_OOB), 1);
  ASSERT_EQ(::send(far_->stream.fd(), "behind", 6, 0), 6);
  ASSERT_TRUE(run_until([&] { return near_->received.size() == 12; }));
  EXPECT_EQ(near_->received, "beforebehind");
  ::send(far_->stream.fd(), "!", 1, MSG_OOB);
  far_->stream.close();
  ASSERT_TRUE(run_until([&] { return near_->eof; }));
}

TEST_P(ReadingTest, BytesComeInOrderAndThenTheEnd) {
  base::UniqueFd far = read_from(unix_pair());
  std::string expected;
  for (int i = 0; i < 20; ++i) {
    write_all(far.get(), pattern(static_cast<size_t>(1 + i * 37), static_cast<unsigned>(i)));
    expected += pattern(static_cast<size_t>(1 + i * 37), static_cast<unsigned>(i));
    turn();
  }
  far.reset();
  ASSERT_TRUE(run_until([&] { return near_->eof; }));
  EXPECT_EQ(near_->received, expected);
  turns(3);
  EXPECT_TRUE(near_->stream.open()) << "the end of reading does not close";
}

TEST_P(ReadingTest, DataBeforeTheReadingStartsIsNotMissed) {
  SocketPair pair = tcp_pair();
  write_all(pair.far.get(), "early");
  base::UniqueFd far = read_from(std::move(pair));
  ASSERT_TRUE(run_until([&] { return near_->received == "early"; }));
}

TEST_P(ReadingTest, ABurstThatNeedsMoreBuffersThanThereAreLosesNoByte) {
  base::UniqueFd far = read_from(unix_pair());
  const std::string burst = pattern(100'000);
  write_all(far.get(), burst);
  ASSERT_TRUE(run_until([&] { return near_->received.size() == burst.size(); }));
  EXPECT_EQ(near_->received, burst);
}

TEST_P(ReadingTest, ManyConnectionsOverflowTheCompletionsAndLoseNoByte) {
  constexpr size_t kConnections = 60;
  std::vector<std::unique_ptr<Connection>> connections;
  std::vector<base::UniqueFd> peers;
  for (size_t i = 0; i < kConnections; ++i) {
    SocketPair pair = unix_pair();
    connections.push_back(std::make_unique<Connection>(context_, std::move(pair.near)));
    connections.back()->stream.start_reading();
    peers.push_back(std::move(pair.far));
  }
  turns(3);
  for (unsigned round = 0; round < 5; ++round) {
    for (base::UniqueFd& peer : peers)
      write_all(peer.get(), pattern(1000, round));
    turn();
  }
  for (base::UniqueFd& peer : peers)
    peer.reset();
  std::string expected;
  for (unsigned round = 0; round < 5; ++round)
    expected += pattern(1000, round);
  for (auto& connection : connections) {
    ASSERT_TRUE(run_until([&] { return connection->eof; }));
    EXPECT_EQ(connection->received, expected);
    connection->stream.close();
  }
  for (auto& connection : connections) {
    ASSERT_TRUE(run_until([&] { return connection->closed(); }));
  }
}

TEST_P(ReadingTest, APausedStreamDeliversNothingAndLosesNothing) {
  base::UniqueFd far = read_from(unix_pair());
  turns(2);
  near_->stream.pause_reading();
  write_all(far.get(), "one ");
  turns(3);
  write_all(far.get(), "two ");
  turns(3);
  EXPECT_EQ(near_->received, "");
  near_->stream.resume_reading();
  EXPECT_EQ(near_->received, "") << "data comes in a later turn, not inside resume_reading";
  write_all(far.get(), "three");
  ASSERT_TRUE(run_until([&] { return near_->received.size() == 13; }));
  EXPECT_EQ(near_->received, "one two three");
}

TEST_P(ReadingTest, TheEndOfAPausedStreamComesAfterItsData) {
  base::UniqueFd far = read_from(unix_pair());
  turns(2);
  near_->stream.pause_reading();
  write_all(far.get(), "last words");
  turns(3);
  far.reset();
  turns(3);
  EXPECT_FALSE(near_->eof);
  std::vector<Event> events;
  near_->upcall = [&](Event event) { events.push_back(event); };
  near_->stream.resume_reading();
  ASSERT_TRUE(run_until([&] { return near_->eof; }));
  EXPECT_EQ(near_->received, "last words");
  EXPECT_EQ(events.back(), Event::eof);
}

TEST_P(ReadingTest, HundredsOfPausesKeepTheOrder) {
  base::UniqueFd far = read_from(unix_pair());
  const std::string bytes = pattern(400'000);
  size_t written = 0;
  int events = 0;
  near_->upcall = [&](Event event) {
    if (event != Event::data) return;
    if (++events % 2 == 0) near_->stream.pause_reading();
    if (events % 6 == 0) near_->stream.resume_reading();
  };
  for (int round = 0; near_->received.size() < bytes.size(); ++round) {
    ASSERT_LT(round, 100'000);
    if (written < bytes.size()) {
      std::string piece = bytes.substr(written, 1 + static_cast<size_t>(round * 131) % 999);
      ssize_t sent = ::send(far.get(), piece.data(), piece.size(), MSG_DONTWAIT);
      if (sent > 0) written += static_cast<size_t>(sent);
    }
    if (near_->stream.reading_paused() && round % 3 == 0) near_->stream.resume_reading();
    turn();
    if (round % 7 == 0) near_->stream.pause_reading();
    if (round % 7 == 1) near_->stream.resume_reading();
  }
  EXPECT_EQ(near_->received, bytes);
  EXPECT_GT(events, 200);
}

TEST_P(ReadingTest, ABulkStreamSwitchesAndSwitchesBack) {
  base::UniqueFd far = read_from(tcp_pair());
  std::string expected;
  size_t buffer = reactor_->config().buffer_size;
  for (unsigned phase = 0; phase < 6; ++phase) {
    for (unsigned i = 0; i < 8; ++i) {
      // Full buffers in even phases, a few bytes in odd ones.
      std::string piece = pattern(phase % 2 == 0 ? 4 * buffer : 7, phase * 8 + i);
      write_all(far.get(), piece);
      expected += piece;
      ASSERT_TRUE(run_until([&] { return near_->received.size() == expected.size(); }));
    }
  }
  EXPECT_EQ(near_->received, expected);
}

TEST_P(ReadingTest, AReaderWithMemoryOfItsOwnGetsEveryByte) {
  for (size_t size : {size_t{1}, size_t{10}, size_t{1000}, size_t{100'000}}) {
    SocketPair pair = unix_pair();
    Connection connection(context_, std::move(pair.near));
    connection.own_buffer.resize(size);
    connection.stream.set_reads_into_buffers(true);
    connection.stream.start_reading();
    const std::string bytes = pattern(std::min<size_t>(size * 300, 150'000));
    write_all(pair.far.get(), bytes);
    pair.far.reset();
    ASSERT_TRUE(run_until([&] { return connection.eof; }));
    EXPECT_EQ(connection.received, bytes);
    connection.stream.close();
    ASSERT_TRUE(run_until([&] { return connection.closed(); }));
  }
}

TEST_P(ReadingTest, AReaderWithMemoryOfItsOwnMayPauseInTheMiddleOfABuffer) {
  base::UniqueFd far = read_into_memory(unix_pair(), 10);
  near_->upcall = [&](Event event) {
    if (event == Event::buffer) near_->stream.pause_reading();
  };
  const std::string bytes = pattern(1005);
  write_all(far.get(), bytes);
  far.reset();
  for (size_t seen = 0; !near_->eof;) {
    ASSERT_TRUE(run_until([&] { return near_->eof || near_->received.size() > seen; }));
    EXPECT_LE(near_->received.size(), seen + 10) << "nothing comes after a pause";
    seen = near_->received.size();
    turns(2);
    EXPECT_EQ(near_->received.size(), seen);
    near_->stream.resume_reading();
  }
  EXPECT_EQ(near_->received, bytes);
}

// Many receives in a row into the reader's memory: a pause, an end and the other connections count
// after each of them.
TEST_P(ReadingTest, AReaderWithMuchMemoryOfItsOwnMayPauseOrEndAfterAnyReceive) {
  base::UniqueFd far = read_into_memory(tcp_pair(), 64 * 1024);
  const std::string bytes = pattern(1'000'000);
  size_t written = 0;
  auto refill = [&] {
    ssize_t sent = ::send(far.get(), bytes.data() + written, bytes.size() - written,
                          MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent > 0) written += static_cast<size_t>(sent);
  };
  size_t received_at_pause = 0;
  int events = 0;
  near_->upcall = [&](Event event) {
    if (event != Event::buffer) return;
    EXPECT_FALSE(near_->stream.reading_paused());
    if (++events % 3 != 0) return;
    near_->stream.pause_reading();
    received_at_pause = near_->received.size();
  };
  for (int round = 0; near_->received.size() < bytes.size(); ++round) {
    ASSERT_LT(round, 100'000);
    refill();
    turn();
    if (!near_->stream.reading_paused()) continue;
    turn();
    EXPECT_EQ(near_->received.size(), received_at_pause);
    near_->stream.resume_reading();
  }
  EXPECT_EQ(near_->received, bytes);
  written = 0;
  near_->upcall = [&](Event event) {
    if (event == Event::buffer) near_->stream.abort();
  };
  refill();
  ASSERT_TRUE(run_until([&] { return near_->closed(); }));
  EXPECT_LE(near_->received.size(), bytes.size() + near_->own_buffer.size());
}

// As request and response go: whoever has answered is not received for again in the same turn.
TEST_P(ReadingTest, AReaderThatAnswersIsNotAskedForMoreAtOnce) {
  base::UniqueFd far = read_into_memory(tcp_pair(), 256 * 1024);
  const std::string request = pattern(80 * 1024);
  size_t seen = 0;
  auto exchange = [&](bool answers) {
    near_->upcall = [&, answers](Event event) {
      if (event == Event::buffer && answers) near_->write("answer", /*at_once=*/true);
    };
    uint64_t syscalls = statistics_.syscalls;
    for (int i = 0; i < 20; ++i) {
      write_all(far.get(), request);
      seen += request.size();
      EXPECT_TRUE(run_until([&] { return near_->received.size() == seen; }));
      turns(1);
    }
    return statistics_.syscalls - syscalls;
  };
  exchange(false);  // it becomes a bulk stream
  uint64_t silent = exchange(false), answered = exchange(true);
  EXPECT_LE(answered, silent + 5) << "a send each, instead of a receive of nothing";
  near_->upcall = nullptr;
}

TEST_P(ReadingTest, AResetIsAnErrorOfReading) {
  base::UniqueFd far = read_from(tcp_pair());
  turns(2);
  reset_on_close(far.get());
  far.reset();
  ASSERT_TRUE(run_until([&] { return near_->closed(); }));
  EXPECT_EQ(near_->error, ECONNRESET);
  EXPECT_FALSE(near_->eof);
}

TEST_P(ReadingTest, AResetWhilePausedIsReportedAfterTheResume) {
  base::UniqueFd far = read_from(tcp_pair());
  turns(2);
  near_->stream.pause_reading();
  reset_on_close(far.get());
  far.reset();
  turns(5);
  EXPECT_EQ(near_->error, 0);
  near_->stream.resume_reading();
  ASSERT_TRUE(run_until([&] { return near_->closed(); }));
  EXPECT_EQ(near_->error, ECONNRESET);
}

TEST_P(ReadingTest, BytesBehindADescriptorMessageAreNotForgotten) {
  // A stream of AF_UNIX never hands out bytes beyond a message that carried descriptors in the
  // same read, so a short read does not mean that the socket is empty.
  base::UniqueFd far = read_from(unix_pair());
  turns(2);
  char byte = 'a';
  iovec range{.iov_base = &byte, .iov_len = 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &range;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  *header = {.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
  int passed = 2;
  std::memcpy(CMSG_DATA(header), &passed, sizeof(passed));
  ASSERT_EQ(::sendmsg(far.get(), &message, 0), 1);
  write_all(far.get(), "bcd");
  EXPECT_TRUE(run_until([&] { return near_->received == "abcd"; }, kSecond_ns));
  EXPECT_EQ(near_->received, "abcd");
}

}  // namespace
}  // namespace rloop::test
