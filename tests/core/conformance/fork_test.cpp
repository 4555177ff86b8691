// A process that forks while its loop lives, on every engine.
//
// The child abandons the parent's reactor (it closes its descriptors, makes every operation idle
// without a completion, and can run a loop of its own), or starts over with it. The parent notices
// nothing. A fork may happen inside a completion, where user code runs.
#include <unistd.h>

#include <cerrno>

#include "conformance/connection.hpp"
#include "conformance/owners.hpp"
#include "conformance/process.hpp"

namespace rloop::test {
namespace {

class ForkTest : public ConnectionTest {
 protected:
  // A loop of the child's own that receives a message.
  int run_own_loop() {
    reactor::Statistics statistics;
    std::unique_ptr<reactor::Reactor> own = make_reactor(GetParam(), statistics);
    net::Context context(own.get());
    if (!own->attach_to_thread().ok()) return kBad;
    SocketPair pair = unix_pair();
    Connection connection(context, std::move(pair.near));
    connection.stream.start_reading();
    write_all(pair.far.get(), "child");
    bool received = test::run_until(context, [&] { return connection.received == "child"; });
    connection.stream.abort();
    bool closed = test::run_until(context, [&] { return connection.closed(); });
    return received && closed && own->drain(kSecond_ns) == 0 ? kGood : kBad;
  }
};
INSTANTIATE_TEST_SUITE_P(Engines, ForkTest, every_engine(), engine_name);

TEST_P(ForkTest, TheChildAbandonsAndTheParentGoesOn) {
  connect_and_read(unix_pair());
  SocketPair watched = unix_pair(), polled = unix_pair();
  Watching reader;
  ASSERT_TRUE(reactor_->watch(watched.near.get(), op::Direction::read, reader).ok());
  op::Descriptor descriptor(polled.near.get(), false);
  Poller poller(descriptor, op::Direction::read);
  reactor_->submit(poller.operation);
  near_->write("before");
  ASSERT_TRUE(run_until([&] { return far_->received == "before"; }));
  EXPECT_EQ(run_in_child([&] {
              reactor_->abandon();
              if (!poller.operation.idle()) return kBad;
              reactor_.reset();
              return run_own_loop();
            }),
            kGood);
  near_->write(" after");
  write_all(polled.far.get(), "x");
  write_all(watched.far.get(), "x");
  ASSERT_TRUE(run_until(
      [&] { return far_->received == "before after" && poller.ended() && reader.count > 0; }));
  reactor_->unwatch(watched.near.get(), op::Direction::read);
}

TEST_P(ForkTest, TheChildStartsOverWithWhatWasInFlight) {
  // Either process goes on with the same operations, in an engine of its own: what comes later
  // reaches the one that looks first, what had arrived before the fork reaches both.
  SocketPair polled = unix_pair(), watched = unix_pair(), waited = unix_pair(), early = unix_pair();
  op::Descriptor owned(polled.near.get()), foreign(waited.near.get(), false);
  op::Descriptor arrived_descriptor(early.near.get());
  Poller poller(owned, op::Direction::read), waiter(foreign, op::Direction::read);
  Poller arrived(arrived_descriptor, op::Direction::read);
  Watching reader;
  reactor_->submit(poller.operation);
  reactor_->submit(waiter.operation);
  reactor_->submit(arrived.operation);
  ASSERT_TRUE(reactor_->watch(watched.near.get(), op::Direction::read, reader).ok());
  turns(3);
  reactor_->quiesce();
  write_all(early.far.get(), "x");
  auto all_came = [&] {
    return poller.ended() && waiter.ended() && arrived.ended() && reader.count > 0;
  };
  auto go_on = [&] {
    for (SocketPair* pair : {&polled, &waited, &watched})
      write_all(pair->far.get(), "x");
    return run_until(all_came) && poller.results.back().ok() && waiter.results.back().ok();
  };
  EXPECT_EQ(run_in_child([&] {
              reactor_->start_over();
              reactor_->start_over();  // a second fork
              if (!reactor_->attach_to_thread().ok() || !go_on()) return kBad;
              if (!reactor_->unwatch(watched.near.get(), op::Direction::read)) return kBad;
              reactor_->quiesce();
              size_t left = reactor_->drain(kSecond_ns);
              reactor_.reset();
              return left == 0 ? run_own_loop() : kBad;
            }),
            kGood);
  ASSERT_TRUE(reactor_->attach_to_thread().ok());
  EXPECT_TRUE(go_on());
  EXPECT_TRUE(reactor_->unwatch(watched.near.get(), op::Direction::read));
}

TEST_P(ForkTest, AChildMayEndWhatItInheritedWithoutRunningIt) {
  SocketPair pair = unix_pair(), watched = unix_pair();
  connect_and_read(unix_pair());
  op::Descriptor foreign(pair.near.get(), false);
  Poller waiter(foreign, op::Direction::read);
  Watching reader, second;
  reactor_->submit(waiter.operation);
  ASSERT_TRUE(reactor_->watch(watched.near.get(), op::Direction::read, reader).ok());
  turns(2);
  reactor_->quiesce();
  EXPECT_EQ(run_in_child([&] {
              reactor_->start_over();
              reactor_->cancel(waiter.operation);
              bool changed =
                  reactor_->unwatch(watched.near.get(), op::Direction::read) &&
                  reactor_->watch(watched.near.get(), op::Direction::write, second).ok() &&
                  reactor_->unwatch(watched.near.get(), op::Direction::write);
              near_->stream.abort();
              far_->stream.abort();
              bool ended = reactor_->drain(kSecond_ns) == 0 && waiter.ended() && near_->closed();
              return changed && ended ? kGood : kBad;
            }),
            kGood);
  ASSERT_TRUE(reactor_->attach_to_thread().ok());
  near_->write("still there");
  write_all(pair.far.get(), "x");
  write_all(watched.far.get(), "x");
  ASSERT_TRUE(run_until(
      [&] { return far_->received == "still there" && waiter.ended() && reader.count > 0; }));
  reactor_->unwatch(watched.near.get(), op::Direction::read);
}

TEST_P(ForkTest, AnAbandonedReactorRefusesToWatch) {
  SocketPair pair = unix_pair();
  Watching reader;
  ASSERT_TRUE(reactor_->watch(pair.near.get(), op::Direction::read, reader).ok());
  EXPECT_EQ(run_in_child([&] {
              reactor_->abandon();
              // A set of the child's own, which gets the number that the parent's had.
              reactor::Statistics statistics;
              std::unique_ptr<reactor::Reactor> own = make_reactor(GetParam(), statistics);
              Watching mine;
              bool watching = own->attach_to_thread().ok() &&
                              own->watch(pair.near.get(), op::Direction::read, mine).ok();
              bool refused =
                  reactor_->watch(pair.near.get(), op::Direction::write, reader).is(EBADF);
              reactor_->unwatch(pair.near.get(), op::Direction::read);
              reactor_.reset();
              write_all(pair.far.get(), "x");
              for (int i = 0; i < 10 && mine.count == 0; ++i) {
                if (!own->wait(kSecond_ns).ok()) return kBad;
                own->dispatch();
              }
              bool told = mine.count > 0;
              own->unwatch(pair.near.get(), op::Direction::read);
              own->drain(kSecond_ns);
              return watching && refused && told ? kGood : kBad;
            }),
            kGood);
  reactor_->unwatch(pair.near.get(), op::Direction::read);
}

TEST_P(ForkTest, AChildWithQueuedAndUndispatchedOperationsAbandonsThemAll) {
  SocketPair pair = unix_pair(), second = unix_pair();
  op::Descriptor descriptor(pair.near.get()), second_descriptor(second.near.get());
  Poller arrived(descriptor, op::Direction::read), queued(second_descriptor, op::Direction::read);
  op::Descriptor nothing(-1);
  Note note(nothing);
  write_all(pair.far.get(), "x");
  reactor_->submit(arrived.operation);
  reactor_->post(note.operation, base::Result(0));
  ASSERT_TRUE(reactor_->wait(0).ok());
  reactor_->submit(queued.operation);
  EXPECT_EQ(run_in_child([&] {
              reactor_->abandon();
              reactor_.reset();
              bool idle =
                  arrived.operation.idle() && queued.operation.idle() && note.operation.idle();
              bool silent = !arrived.ended() && !queued.ended() && !note.ended();
              return idle && silent ? kGood : kBad;
            }),
            kGood);
  ASSERT_TRUE(run_until([&] { return arrived.ended() && note.ended(); }));
  reactor_->cancel(queued.operation);
  ASSERT_TRUE(run_until([&] { return queued.ended(); }));
}

TEST_P(ForkTest, AForkInsideACompletionLetsTheChildReturnFromDispatch) {
  // Several messages are on their way to dispatch, and the first one's receiver forks.
  std::vector<SocketPair> pairs;
  std::vector<std::unique_ptr<Connection>> connections;
  pid_t child = -1;
  for (int i = 0; i < 4; ++i) {
    SocketPair pair = unix_pair();
    connections.push_back(std::make_unique<Connection>(context_, std::move(pair.near)));
    connections.back()->upcall = [&](Event event) {
      if (event != Event::data || child != -1) return;
      child = ::fork();
      if (child == 0) reactor_->abandon();
    };
    connections.back()->stream.start_reading();
    pairs.push_back(std::move(pair));
  }
  turns(3);
  for (SocketPair& pair : pairs)
    write_all(pair.far.get(), "x");
  const int64_t deadline_ns = base::now_ns() + kPatience_ns;
  while (child == -1 && base::now_ns() < deadline_ns) {
    ASSERT_TRUE(reactor_->wait(kPatience_ns).ok());
    reactor_->dispatch();
  }
  if (child == 0) {
    size_t received = 0;
    for (auto& connection : connections)
      received += connection->received.size();
    reactor_->needs_poll();
    bool refused = reactor_->wait(0).is(EBADF);
    ::_exit(received == 1 && refused ? kGood : kBad);
  }
  EXPECT_EQ(exit_code_of(child), kGood);
  for (auto& connection : connections) {
    ASSERT_TRUE(run_until([&] { return connection->received == "x"; }));
    connection->stream.close();
    ASSERT_TRUE(run_until([&] { return connection->closed(); }));
  }
}

}  // namespace
}  // namespace rloop::test
