// A loop that stops, moves to another thread and goes on there; and a loop that ends.
//
// Between quiesce and attach_to_thread nothing is received and nothing is sent, so whatever the
// far end did meanwhile is found afterwards: no byte is lost and none is sent twice. drain brings
// everything home, whichever thread calls it.
#include <algorithm>
#include <atomic>
#include <thread>

#include "conformance/connection.hpp"
#include "conformance/owners.hpp"
#include "net/listener.hpp"

namespace rloop::test {
namespace {

class ThreadTest : public ConnectionTest {
 protected:
  // Stops the loop here and runs it in a new thread until done().
  template <class Predicate>
  void run_elsewhere(Predicate done) {
    reactor_->quiesce();
    std::thread other([&] {
      ASSERT_TRUE(reactor_->attach_to_thread().ok());
      EXPECT_TRUE(run_until(done));
      reactor_->quiesce();
    });
    other.join();
  }
  void come_back() { ASSERT_TRUE(reactor_->attach_to_thread().ok()); }
};
class DrainTest : public ConnectionTest {};
INSTANTIATE_TEST_SUITE_P(Engines, ThreadTest, every_engine(), engine_name);
INSTANTIATE_TEST_SUITE_P(Engines, DrainTest, every_engine(), engine_name);

TEST_P(ThreadTest, DataThatCameWhileNoThreadRanIsReceivedByTheNext) {
  SocketPair pair = unix_pair();
  near_ = std::make_unique<Connection>(context_, std::move(pair.near));
  near_->stream.start_reading();
  turns(3);
  std::string expected;
  for (unsigned round = 0; round < 6; ++round) {
    write_all(pair.far.get(), pattern(999, 2 * round));
    turn();  // some of it may be on its way to dispatch when the loop stops
    write_all(pair.far.get(), pattern(501, 2 * round + 1));
    expected += pattern(999, 2 * round) + pattern(501, 2 * round + 1);
    run_elsewhere([&] { return near_->received.size() == expected.size(); });
    EXPECT_EQ(near_->received, expected);
    come_back();
  }
  EXPECT_EQ(statistics_.ring_rebuilds, is_ring() ? 12U : 0U);
}

TEST_P(ThreadTest, TheSameThreadKeepsItsRing) {
  connect_and_read(unix_pair());
  for (int round = 0; round < 5; ++round) {
    near_->write("again");
    size_t expected = static_cast<size_t>(round + 1) * 5;
    ASSERT_TRUE(run_until([&] { return far_->received.size() == expected; }));
    reactor_->quiesce();
    come_back();
  }
  EXPECT_EQ(statistics_.ring_rebuilds, 0U);
}

TEST_P(ThreadTest, ALargeSendInFlightIsNeitherLostNorRepeated) {
  SocketPair pair = tcp_pair();
  near_ = std::make_unique<Connection>(context_, std::move(pair.near));
  const std::string bytes = pattern(8 << 20);
  for (size_t at = 0; at < bytes.size(); at += 1 << 20)
    near_->write(bytes.substr(at, 1 << 20));
  turns(3);
  ASSERT_GT(near_->stream.backlog_bytes(), 0U) << "the peer does not read";
  std::string received;
  for (int round = 0; round < 4; ++round) {
    size_t wanted = std::min<size_t>(received.size() + (1 << 20), bytes.size());
    run_elsewhere([&] {
      // The far end is no part of the loop, so the loop must not sleep while it is read.
      const int64_t deadline_ns = base::now_ns() + kPatience_ns;
      while (received.size() < wanted && base::now_ns() < deadline_ns) {
        turn();
        received += read_available(pair.far.get());
      }
      return true;
    });
    come_back();
  }
  near_->stream.close();
  received += read_to_end_in_turns(pair.far.get());
  EXPECT_TRUE(received == bytes) << received.size();
}

// Against the rules, but programs do it with the GIL held, which stands in for a lock.
TEST_P(ThreadTest, AGroupOfWritesThatAnotherThreadCompletesGoesOutWithTheLoopsTurn) {
  constexpr size_t kMoreThanAGroup = 30;
  std::vector<SocketPair> pairs;
  std::vector<std::unique_ptr<Connection>> writers;
  for (size_t i = 0; i < kMoreThanAGroup; ++i) {
    pairs.push_back(unix_pair());
    writers.push_back(std::make_unique<Connection>(context_, std::move(pairs.back().near)));
  }
  turns(3);
  context_.begin_turn(/*to_run=*/0);
  std::thread other([&] {
    for (auto& writer : writers)
      writer->write("from another thread");
  });
  other.join();
  for (SocketPair& pair : pairs) {
    std::string received;
    EXPECT_TRUE(run_until([&] {
      received += read_available(pair.far.get());
      return received == "from another thread";
    }));
  }
  for (auto& writer : writers)
    writer->stream.abort();
  EXPECT_TRUE(run_until([&] {
    return std::all_of(writers.begin(), writers.end(), [](auto& one) { return one->closed(); });
  }));
}

TEST_P(ThreadTest, AnAbortByAnotherThreadWakesTheSleepingLoop) {
  SocketPair pair = unix_pair();
  near_ = std::make_unique<Connection>(context_, std::move(pair.near));
  near_->stream.start_reading();
  turns(3);
  reactor_->prepare_wait(base::kNever);
  reactor_->announce_sleep();
  std::thread loop([&] { near_->stream.abort(); });
  reactor_->block();
  loop.join();
  ASSERT_TRUE(reactor_->collect().ok());
  EXPECT_TRUE(run_until([&] { return near_->closed(); }));
}

TEST_P(ThreadTest, ConnectionsMadeBetweenTwoThreadsAreAccepted) {
  struct Accepting final : net::ListenerEvents {
    void on_accepted(base::UniqueFd fd, const base::Address&) override {
      connections.push_back(std::move(fd));
    }
    void on_exhausted(int) override {}
    void on_accept_error(int) override {}
    void on_stopped() override { stopped = true; }
    std::vector<base::UniqueFd> connections;
    bool stopped = false;
  } owner;
  TestListener socket = listen_on_loopback();
  net::Listener listener(context_, owner, socket.fd.get());
  listener.start();
  turns(3);
  std::vector<base::UniqueFd> clients;
  for (size_t round = 1; round <= 4; ++round) {
    for (int i = 0; i < 20; ++i)
      clients.push_back(connect_to(socket));
    run_elsewhere([&] { return owner.connections.size() == round * 20; });
    EXPECT_EQ(owner.connections.size(), clients.size());
  }
  come_back();
  listener.stop();
  ASSERT_TRUE(run_until([&] { return owner.stopped; }));
}

TEST_P(ThreadTest, WatchersAndForeignPollsFollowTheLoop) {
  SocketPair watched = unix_pair(), polled = unix_pair();
  Watching reader;
  ASSERT_TRUE(reactor_->watch(watched.near.get(), op::Direction::read, reader).ok());
  op::Descriptor descriptor(polled.near.get(), false);
  Poller poller(descriptor, op::Direction::read);
  reactor_->submit(poller.operation);
  turns(3);
  write_all(watched.far.get(), "x");
  write_all(polled.far.get(), "x");
  run_elsewhere([&] { return reader.count > 3 && poller.ended(); });
  come_back();
  int seen = reader.count;
  ASSERT_TRUE(run_until([&] { return reader.count > seen + 3; }));
  EXPECT_TRUE(reactor_->unwatch(watched.near.get(), op::Direction::read));
}

TEST_P(ThreadTest, ACancelAskedForBetweenTwoThreadsIsCarriedOut) {
  SocketPair pair = unix_pair();
  op::Descriptor descriptor(pair.near.get());
  Poller poller(descriptor, op::Direction::read);
  reactor_->submit(poller.operation);
  turns(3);
  reactor_->quiesce();
  reactor_->cancel(poller.operation);
  std::thread([&] {
    ASSERT_TRUE(reactor_->attach_to_thread().ok());
    EXPECT_TRUE(run_until([&] { return poller.ended(); }));
    reactor_->quiesce();
  }).join();
  EXPECT_EQ(poller.last_error(), ECANCELED);
  come_back();
}

TEST_P(ThreadTest, AWakeReachesTheLoopOnItsNewThread) {
  reactor_->quiesce();
  std::atomic<bool> announced = false, woken = false;
  std::thread other([&] {
    ASSERT_TRUE(reactor_->attach_to_thread().ok());
    turn();
    reactor_->announce_sleep();
    announced = true;
    int64_t before_ns = base::now_ns();
    turn(kPatience_ns);
    woken = base::now_ns() - before_ns < kPatience_ns / 2;
    reactor_->quiesce();
  });
  while (!announced)
    std::this_thread::yield();
  reactor_->wake();
  other.join();
  EXPECT_TRUE(woken);
  come_back();
}

// --- the end of the loop ------------------------------------------------------------------------

TEST_P(DrainTest, EverythingInFlightComesHome) {
  std::vector<SocketPair> pairs;
  std::vector<std::unique_ptr<op::Descriptor>> descriptors;
  std::vector<std::unique_ptr<Poller>> pollers;
  for (int i = 0; i < 100; ++i) {
    pairs.push_back(unix_pair());
    descriptors.push_back(std::make_unique<op::Descriptor>(pairs.back().near.get(), i % 2 == 0));
    pollers.push_back(std::make_unique<Poller>(*descriptors.back(), op::Direction::read));
    reactor_->submit(pollers.back()->operation);
    if (i == 49) turns(2);  // half of them are in flight, half are queued
  }
  SocketPair blocked = tcp_pair();
  op::Descriptor sending(blocked.near.get());
  Sender sender(sending);
  const std::string bytes = pattern(16 << 20);
  load(sender, bytes);
  reactor_->submit(sender.operation);
  turn();
  EXPECT_EQ(reactor_->drain(kSecond_ns), 0U);
  for (auto& poller : pollers) {
    EXPECT_EQ(poller->final_count, 1);
    EXPECT_EQ(poller->last_error(), ECANCELED);
  }
  EXPECT_TRUE(sender.operation.idle());
}

TEST_P(DrainTest, AbandonedStreamsAndListenersEndWithoutAnEvent) {
  connect_and_read(tcp_pair());
  TestListener socket = listen_on_loopback();
  near_->write(pattern(8 << 20));
  far_->stream.pause_reading();
  turns(3);
  int events = 0;
  near_->upcall = far_->upcall = [&](Event) { ++events; };
  near_->stream.abandon();
  far_->stream.abandon();
  EXPECT_EQ(reactor_->drain(kSecond_ns), 0U);
  EXPECT_EQ(events, 0);
  EXPECT_TRUE(near_->stream.closed() && far_->stream.closed());
  EXPECT_EQ(near_->held, 0);
  near_.reset();
  far_.reset();
}

TEST_P(DrainTest, AnotherThreadMayEndTheLoop) {
  connect_and_read(unix_pair());
  SocketPair pair = unix_pair();
  op::Descriptor descriptor(pair.near.get());
  Poller poller(descriptor, op::Direction::read);
  reactor_->submit(poller.operation);
  turns(3);
  reactor_->quiesce();
  near_->stream.abandon();
  far_->stream.abandon();
  std::thread([&] { EXPECT_EQ(reactor_->drain(kSecond_ns), 0U); }).join();
  EXPECT_TRUE(poller.operation.idle());
  EXPECT_TRUE(near_->stream.closed() && far_->stream.closed());
  near_.reset();
  far_.reset();
  reactor_.reset();
}

TEST_P(DrainTest, AReactorWithUndispatchedArrivalsOfItsOwnCanBeDestroyed) {
  // Its wake-up and its poll of the watched descriptors came, but nobody dispatched them.
  SocketPair pair = unix_pair();
  Watching reader;
  ASSERT_TRUE(reactor_->watch(pair.near.get(), op::Direction::read, reader).ok());
  turns(3);
  write_all(pair.far.get(), "x");
  reactor_->announce_sleep();
  reactor_->wake();
  ASSERT_TRUE(reactor_->wait(kPatience_ns).ok());
  ASSERT_TRUE(reactor_->wait(0).ok());
  reactor_.reset();
}

}  // namespace
}  // namespace rloop::test
