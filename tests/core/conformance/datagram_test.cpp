// Datagram sockets on every engine: order, addresses, empty and large ones, errors, the end.
//
// A datagram arrives whole or not at all, an error takes no other datagram with it, and nothing is
// closed before the last operation has come home. Pairs of AF_UNIX are used where nothing may be
// lost: their receiver makes the sender wait.
#include "conformance/endpoint.hpp"
#include "conformance/sockets.hpp"

namespace rloop::test {
namespace {

class DatagramTest : public EngineTest {
 protected:
  Endpoint& open(base::UniqueFd fd, int family = AF_INET) {
    endpoints_.push_back(std::make_unique<Endpoint>(context_, std::move(fd), family));
    return *endpoints_.back();
  }
  // Two Unix datagram sockets connected to each other.
  std::pair<Endpoint*, Endpoint*> open_pair() {
    int pair[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    Endpoint& near = open(base::UniqueFd(pair[0]), AF_UNIX);
    return {&near, &open(base::UniqueFd(pair[1]), AF_UNIX)};
  }

  void TearDown() override {
    for (auto& endpoint : endpoints_) {
      endpoint->upcall = nullptr;
      endpoint->datagram.abort();
      EXPECT_TRUE(run_until([&] { return endpoint->closed(); }));
      EXPECT_EQ(endpoint->closed_count, 1);
      EXPECT_EQ(endpoint->held, 0) << "a datagram was not released";
    }
    endpoints_.clear();
    EngineTest::TearDown();
  }

  std::vector<std::unique_ptr<Endpoint>> endpoints_;
};
INSTANTIATE_TEST_SUITE_P(Engines, DatagramTest, every_engine(), engine_name);

TEST_P(DatagramTest, AnswersGoToTheSender) {
  for (int family : {AF_INET, AF_INET6}) {
    Endpoint& server = open(udp_socket(family), family);
    Endpoint& client = open(udp_socket(family), family);
    server.datagram.start_reading();
    client.datagram.start_reading();
    server.upcall = [&](DatagramEvent event) {
      if (event == DatagramEvent::datagram) server.send("answer", server.last_from);
    };
    client.send("question", server.address);
    ASSERT_TRUE(run_until([&] { return client.received.size() == 1; }));
    EXPECT_EQ(client.received[0], "answer");
    EXPECT_EQ(client.last_from, server.address);
    EXPECT_EQ(server.last_from, client.address);
  }
}

TEST_P(DatagramTest, AThousandKeepTheirOrder) {
  auto [near, far] = open_pair();
  far->datagram.start_reading();
  constexpr size_t kCount = 1000;
  for (size_t i = 0; i < kCount; ++i)
    near->send(std::to_string(i));
  ASSERT_TRUE(run_until([&] { return far->received.size() == kCount; }));
  for (size_t i = 0; i < kCount; ++i)
    EXPECT_EQ(far->received[i], std::to_string(i));
  EXPECT_EQ(near->datagram.backlog_bytes(), 0U);
}

TEST_P(DatagramTest, APauseKeepsTheRestOfWhatCame) {
  for (bool is_unix : {false, true}) {
    Endpoint& server = is_unix ? *open_pair().second : open(udp_socket());
    Endpoint& client = is_unix ? *endpoints_[endpoints_.size() - 2] : open(udp_socket());
    base::Address to = is_unix ? base::Address() : server.address;
    server.datagram.start_reading();
    server.upcall = [&](DatagramEvent event) {
      if (event == DatagramEvent::datagram) server.datagram.pause_reading();
    };
    constexpr size_t kCount = 20;
    for (size_t i = 0; i < kCount; ++i)
      client.send(std::to_string(i), to);
    for (size_t i = 1; i <= kCount; ++i) {
      ASSERT_TRUE(run_until([&] { return server.received.size() == i; }));
      turns(3);
      ASSERT_EQ(server.received.size(), i) << "something came during the pause";
      server.datagram.resume_reading();
      ASSERT_EQ(server.received.size(), i) << "something came inside resume_reading";
    }
    for (size_t i = 0; i < kCount; ++i)
      EXPECT_EQ(server.received[i], std::to_string(i));
  }
}

TEST_P(DatagramTest, TheEndOfAPausedOneComes) {
  Endpoint& server = open(udp_socket());
  Endpoint& client = open(udp_socket(AF_INET, &server));
  server.datagram.start_reading();
  server.datagram.pause_reading();
  client.send("kept");
  client.send("in the kernel");
  turns(3);
  server.datagram.resume_reading();  // what was kept is on its way now
  server.datagram.close();
  ASSERT_TRUE(run_until([&] { return server.closed(); }));
  EXPECT_TRUE(server.received.empty());
}

TEST_P(DatagramTest, ABatchOfUdpArrivesInOrder) {
  Endpoint& server = open(udp_socket());
  Endpoint& client = open(udp_socket(AF_INET, &server));
  server.datagram.start_reading();
  constexpr size_t kCount = 100;  // more than the engines have buffers or slots
  for (size_t i = 0; i < kCount; ++i)
    client.send(pattern(1 + i, static_cast<unsigned>(i)));
  ASSERT_TRUE(run_until([&] { return server.received.size() == kCount; }));
  for (size_t i = 0; i < kCount; ++i)
    EXPECT_EQ(server.received[i], pattern(1 + i, static_cast<unsigned>(i)));
}

TEST_P(DatagramTest, EmptyOnesAreDatagramsAndEndNothing) {
  Endpoint& server = open(udp_socket());
  Endpoint& client = open(udp_socket(AF_INET, &server));
  server.datagram.start_reading();
  for (const char* text : {"", "a", "", "", "b", ""})
    client.send(text);
  ASSERT_TRUE(run_until([&] { return server.received.size() == 6; }));
  EXPECT_EQ(server.received, (std::vector<std::string>{"", "a", "", "", "b", ""}));
  EXPECT_TRUE(server.errors.empty());
}

TEST_P(DatagramTest, TheLargestArriveWhole) {
  Endpoint& server = open(udp_socket());
  Endpoint& client = open(udp_socket(AF_INET, &server));
  server.datagram.start_reading();
  std::string largest = pattern(65'507);
  client.send(largest);
  ASSERT_TRUE(run_until([&] { return server.received.size() == 1; }));
  EXPECT_TRUE(server.received[0] == largest);
  auto [near, far] = open_pair();
  far->datagram.start_reading();
  std::string larger = pattern(150'000);
  near->send(larger);
  ASSERT_TRUE(run_until([&] { return far->received.size() == 1; }));
  EXPECT_TRUE(far->received[0] == larger);
}

TEST_P(DatagramTest, OneThatFailsTakesNoOtherWithIt) {
  Endpoint& server = open(udp_socket());
  Endpoint& client = open(udp_socket(AF_INET, &server));
  server.datagram.start_reading();
  client.send("before");
  client.send(std::string(70'000, 'x'));
  client.send("after");
  ASSERT_TRUE(run_until([&] { return server.received.size() == 2; }));
  EXPECT_EQ(server.received, (std::vector<std::string>{"before", "after"}));
  EXPECT_EQ(client.errors, std::vector<int>{EMSGSIZE});
  EXPECT_EQ(client.last_step, net::IoStep::write);
}

TEST_P(DatagramTest, AnIcmpErrorIsReportedAndReadingGoesOn) {
  base::Address nowhere;
  {
    base::UniqueFd closed = udp_socket();
    base::Address::local(closed.get(), nowhere);
  }
  base::UniqueFd fd = udp_socket();
  ASSERT_EQ(::connect(fd.get(), nowhere.data(), nowhere.length()), 0);
  Endpoint& client = open(std::move(fd));
  client.datagram.start_reading();
  client.send("anybody?");
  ASSERT_TRUE(run_until([&] { return !client.errors.empty(); }));
  EXPECT_EQ(client.errors[0], ECONNREFUSED);
  base::UniqueFd late(::socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  ASSERT_EQ(::bind(late.get(), nowhere.data(), nowhere.length()), 0);
  ASSERT_EQ(::sendto(late.get(), "late", 4, 0, client.address.data(), client.address.length()), 4);
  ASSERT_TRUE(run_until([&] { return client.received.size() == 1; }));
}

TEST_P(DatagramTest, AnErrorIsAnsweredAtOnce) {
  Endpoint& server = open(udp_socket());
  Endpoint& client = open(udp_socket(AF_INET, &server));
  std::vector<std::string> left;
  client.upcall = [&](DatagramEvent event) {
    if (event != DatagramEvent::error) return;
    left.push_back(std::to_string(client.datagram.queued_count()));
    client.send("answer");
    client.datagram.flush();
    left.push_back(std::to_string(client.datagram.queued_count()));
  };
  client.send(std::string(70'000, 'x'));
  client.send("next");
  client.datagram.flush();
  EXPECT_EQ(left.back(), "0") << "the answer, and what lay before it";
  server.datagram.start_reading();
  ASSERT_TRUE(run_until([&] { return server.received.size() == 2; }));
  client.upcall = nullptr;
}

TEST_P(DatagramTest, AnErrorAnsweredByAnotherDatagramLetsTheTurnEnd) {
  constexpr int kMostInATurn = 17;
  Endpoint& client = open(udp_socket());
  int answers = 0;
  client.upcall = [&](DatagramEvent event) {
    if (event == DatagramEvent::error && ++answers < 1000) {
      client.send(std::string(70'000, 'x'), client.address);
    }
  };
  client.send(std::string(70'000, 'x'), client.address);
  turn();
  int first = answers;  // some inside send() already
  EXPECT_LE(first, 2 * kMostInATurn);
  turns(3);
  EXPECT_GT(answers, first);
  EXPECT_LE(answers, first + 3 * kMostInATurn);
  client.upcall = nullptr;
}

TEST_P(DatagramTest, ASlowReceiverMakesTheSenderWait) {
  auto [near, far] = open_pair();
  size_t sent = 0;
  for (; near->datagram.backlog_bytes() < 100'000; ++sent) {
    near->send(pattern(1000, static_cast<unsigned>(sent)));
    if (sent % 50 == 49) turn();
  }
  near->datagram.close();
  turns(3);
  EXPECT_FALSE(near->closed()) << "the backlog is not sent yet";
  far->datagram.start_reading();
  ASSERT_TRUE(run_until([&] { return near->closed(); }));
  ASSERT_TRUE(run_until([&] { return far->received.size() == sent; }));
  EXPECT_EQ(far->received.back(), pattern(1000, static_cast<unsigned>(sent - 1)));
}

TEST_P(DatagramTest, AbortDropsOnlyWhatTheKernelRefused) {
  Endpoint& server = open(udp_socket());
  Endpoint& client = open(udp_socket(AF_INET, &server));
  server.datagram.start_reading();
  client.send("sent");
  client.datagram.abort();
  ASSERT_TRUE(run_until([&] { return client.closed() && server.received.size() == 1; }));
  auto [near, far] = open_pair();
  fill(near->fd());
  near->send("refused");
  turn();
  near->datagram.abort();
  ASSERT_TRUE(run_until([&] { return near->closed(); }));
  EXPECT_EQ(near->held, 0);
  EXPECT_FALSE(far->closed());
}

TEST_P(DatagramTest, TheEndMayComeInsideEveryEvent) {
  for (bool abort : {false, true}) {
    for (DatagramEvent moment :
         {DatagramEvent::datagram, DatagramEvent::sent, DatagramEvent::error}) {
      Endpoint& server = open(udp_socket());
      Endpoint& client = open(udp_socket(AF_INET, &server));
      server.datagram.start_reading();
      client.datagram.start_reading();
      auto end_at = [&](Endpoint& endpoint) {
        endpoint.upcall = [&endpoint, abort, moment](DatagramEvent event) {
          if (event != moment || endpoint.closed()) return;
          abort ? endpoint.datagram.abort() : endpoint.datagram.close();
        };
      };
      end_at(server);
      end_at(client);
      for (int i = 0; i < 5; ++i)
        client.send(moment == DatagramEvent::error ? std::string(70'000, 'x') : "x");
      Endpoint& ending = moment == DatagramEvent::datagram ? server : client;
      ASSERT_TRUE(run_until([&] { return ending.closed(); }));
      EXPECT_TRUE(moment != DatagramEvent::datagram || server.received.size() == 1);
    }
  }
}

TEST_P(DatagramTest, NothingIsReceivedAfterClose) {
  Endpoint& server = open(udp_socket());
  Endpoint& client = open(udp_socket(AF_INET, &server));
  server.datagram.start_reading();
  turn();
  client.send("late");
  turn();
  server.datagram.close();
  ASSERT_TRUE(run_until([&] { return server.closed(); }));
  EXPECT_LE(server.received.size(), 1U);
  size_t before = server.received.size();
  turns(3);
  EXPECT_EQ(server.received.size(), before);
}

TEST_P(DatagramTest, WhileTheLoopDoesNotRunDatagramsLeaveAtOnce) {
  Endpoint& server = open(udp_socket());
  Endpoint& client = open(udp_socket(AF_INET, &server));
  context_.loop_running = false;
  client.send("now");
  EXPECT_EQ(client.datagram.backlog_bytes(), 0U);
  char byte[10];
  EXPECT_EQ(::recv(server.fd(), byte, sizeof(byte), 0), 3);
}

TEST_P(DatagramTest, AbandonSaysNothing) {
  Endpoint& server = open(udp_socket());
  server.datagram.start_reading();
  turn();
  bool told = false;
  server.upcall = [&](DatagramEvent) { told = true; };
  server.datagram.abandon();
  turns(5);
  EXPECT_FALSE(told);
  server.closed_count = 1;  // no event: for TearDown
}

}  // namespace
}  // namespace rloop::test
