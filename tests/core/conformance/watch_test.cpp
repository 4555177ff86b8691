// add_reader and add_writer as the core does them: watchers, level-triggered, on every engine.
//
// A watcher is told on each turn while its descriptor is ready, and always by dispatch: wait runs
// without the GIL. It may change the set from inside, as user code does. What the table asks of
// the kernel is in reactor/watch_set_test.cpp.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "conformance/engines.hpp"
#include "conformance/owners.hpp"
#include "conformance/sockets.hpp"

namespace rloop::test {
namespace {

using op::Direction;

class WatchTest : public EngineTest {
 protected:
  void watch(int fd, Direction direction, Watching& watcher) {
    base::Result result = reactor_->watch(fd, direction, watcher);
    ASSERT_TRUE(result.ok()) << "errno " << result.error_number();
  }
};
INSTANTIATE_TEST_SUITE_P(Engines, WatchTest, every_engine(), engine_name);

TEST_P(WatchTest, AWatcherIsToldOnEveryTurnWhileItsDescriptorIsReady) {
  SocketPair pair = unix_pair();
  Watching reader;
  watch(pair.near.get(), Direction::read, reader);
  turns(3);
  EXPECT_EQ(reader.count, 0);
  write_all(pair.far.get(), "x");
  for (int expected = 1; expected <= 5; ++expected) {
    ASSERT_TRUE(run_until([&] { return reader.count >= expected; }));
    EXPECT_EQ(reader.count, expected) << "once per turn";
  }
  read_available(pair.near.get());
  turns(2);  // the poll that was under way may still tell once
  int seen = reader.count;
  turns(3);
  EXPECT_EQ(reader.count, seen);
  EXPECT_TRUE(reactor_->unwatch(pair.near.get(), Direction::read));
}

TEST_P(WatchTest, AWatcherIsToldByDispatchAndNeverByWait) {
  SocketPair pair = unix_pair();
  Watching reader;
  watch(pair.near.get(), Direction::read, reader);
  write_all(pair.far.get(), "x");
  const int64_t deadline_ns = base::now_ns() + kPatience_ns;
  while (reader.count == 0 && base::now_ns() < deadline_ns) {
    ASSERT_TRUE(reactor_->wait(kMillisecond_ns).ok());
    ASSERT_EQ(reader.count, 0) << "wait runs without the GIL";
    reactor_->dispatch();
  }
  EXPECT_GT(reader.count, 0);
  reactor_->unwatch(pair.near.get(), Direction::read);
}

TEST_P(WatchTest, BothDirectionsAreToldApart) {
  SocketPair pair = unix_pair();
  Watching reader, writer;
  watch(pair.near.get(), Direction::read, reader);
  watch(pair.near.get(), Direction::write, writer);
  ASSERT_TRUE(run_until([&] { return writer.count >= 3; }));
  EXPECT_EQ(reader.count, 0);
  fill(pair.near.get());
  write_all(pair.far.get(), "x");
  turns(2);
  writer.count = 0;
  ASSERT_TRUE(run_until([&] { return reader.count >= 3; }));
  EXPECT_EQ(writer.count, 0);
  EXPECT_TRUE(reactor_->unwatch(pair.near.get(), Direction::read));
  reader.count = 0;
  read_available(pair.far.get());
  ASSERT_TRUE(run_until([&] { return writer.count >= 3; }));
  EXPECT_EQ(reader.count, 0);
  EXPECT_TRUE(reactor_->unwatch(pair.near.get(), Direction::write));
}

TEST_P(WatchTest, UnwatchSaysWhetherAnybodyWatched) {
  SocketPair pair = unix_pair();
  Watching reader;
  EXPECT_FALSE(reactor_->unwatch(pair.near.get(), Direction::read));
  watch(pair.near.get(), Direction::read, reader);
  EXPECT_FALSE(reactor_->unwatch(pair.near.get(), Direction::write));
  EXPECT_TRUE(reactor_->unwatch(pair.near.get(), Direction::read));
  EXPECT_FALSE(reactor_->unwatch(pair.near.get(), Direction::read));
  write_all(pair.far.get(), "x");
  turns(3);
  EXPECT_EQ(reader.count, 0);
}

TEST_P(WatchTest, ASecondWatcherReplacesTheFirst) {
  SocketPair pair = unix_pair();
  Watching first, second;
  watch(pair.near.get(), Direction::read, first);
  watch(pair.near.get(), Direction::read, second);
  write_all(pair.far.get(), "x");
  ASSERT_TRUE(run_until([&] { return second.count >= 2; }));
  EXPECT_EQ(first.count, 0);
  EXPECT_TRUE(reactor_->unwatch(pair.near.get(), Direction::read));
}

TEST_P(WatchTest, ARegularFileIsNotPermitted) {
  base::UniqueFd file(::memfd_create("file", MFD_CLOEXEC));
  ASSERT_TRUE(file.valid());
  Watching reader;
  EXPECT_TRUE(reactor_->watch(file.get(), Direction::read, reader).is(EPERM));
  EXPECT_FALSE(reactor_->unwatch(file.get(), Direction::read));
}

TEST_P(WatchTest, ABadDescriptorIsRefused) {
  Watching reader;
  EXPECT_TRUE(reactor_->watch(1 << 20, Direction::read, reader).is(EBADF));
}

TEST_P(WatchTest, AHangUpWakesBothDirections) {
  SocketPair pair = unix_pair();
  Watching reader, writer;
  fill(pair.near.get());
  watch(pair.near.get(), Direction::read, reader);
  watch(pair.near.get(), Direction::write, writer);
  turns(2);
  EXPECT_EQ(reader.count + writer.count, 0);
  pair.far.reset();
  ASSERT_TRUE(run_until([&] { return reader.count > 0 && writer.count > 0; }));
  reactor_->unwatch(pair.near.get(), Direction::read);
  reactor_->unwatch(pair.near.get(), Direction::write);
}

TEST_P(WatchTest, ANumberThatWasClosedAndReusedIsWatchedAnew) {
  SocketPair old_pair = unix_pair(), new_pair = unix_pair();
  Watching reader;
  int number = old_pair.near.get();
  watch(number, Direction::read, reader);
  turns(2);
  ASSERT_EQ(::dup3(new_pair.near.get(), number, O_CLOEXEC), number);
  watch(number, Direction::read, reader);  // no unwatch in between: users do that
  write_all(new_pair.far.get(), "x");
  ASSERT_TRUE(run_until([&] { return reader.count > 0; }));
  EXPECT_TRUE(reactor_->unwatch(number, Direction::read));
}

TEST_P(WatchTest, AWatcherOfAClosedDescriptorCanBeRemoved) {
  SocketPair pair = unix_pair();
  Watching reader;
  int number = pair.near.get();
  watch(number, Direction::read, reader);
  pair.near.reset();
  turns(2);
  EXPECT_TRUE(reactor_->unwatch(number, Direction::read));
  EXPECT_FALSE(reactor_->unwatch(number, Direction::read));
}

TEST_P(WatchTest, AWatcherMayRemoveItselfAndItsSiblingWhileItIsTold) {
  SocketPair pair = unix_pair();
  Watching reader, writer;
  reader.upcall = [&] {
    reactor_->unwatch(pair.near.get(), Direction::read);
    reactor_->unwatch(pair.near.get(), Direction::write);
  };
  watch(pair.near.get(), Direction::read, reader);
  watch(pair.near.get(), Direction::write, writer);
  write_all(pair.far.get(), "x");
  ASSERT_TRUE(run_until([&] { return reader.count == 1; }));
  int written = writer.count;
  turns(3);
  EXPECT_EQ(reader.count, 1);
  EXPECT_EQ(writer.count, written);
}

TEST_P(WatchTest, AWatcherMayWatchManyOthersWhileItIsTold) {
  SocketPair pair = unix_pair();
  std::vector<SocketPair> others;
  std::vector<std::unique_ptr<Watching>> watchers;
  Watching reader;
  reader.upcall = [&] {
    reactor_->unwatch(pair.near.get(), Direction::read);
    for (int i = 0; i < 50; ++i) {
      others.push_back(unix_pair());
      watchers.push_back(std::make_unique<Watching>());
      watch(others.back().near.get(), Direction::write, *watchers.back());
    }
  };
  watch(pair.near.get(), Direction::read, reader);
  write_all(pair.far.get(), "x");
  ASSERT_TRUE(run_until([&] { return !watchers.empty() && watchers.back()->count > 0; }));
  for (SocketPair& other : others)
    reactor_->unwatch(other.near.get(), Direction::write);
}

TEST_P(WatchTest, ManyReadyDescriptorsAreAllToldInTheSameTurns) {
  constexpr int kCount = 300;  // more than one batch of events
  std::vector<SocketPair> pairs;
  std::vector<std::unique_ptr<Watching>> watchers;
  for (int i = 0; i < kCount; ++i) {
    pairs.push_back(unix_pair());
    watchers.push_back(std::make_unique<Watching>());
    watch(pairs.back().near.get(), Direction::write, *watchers.back());
  }
  turns(10);
  for (auto& watcher : watchers)
    EXPECT_GT(watcher->count, 1);
  for (SocketPair& pair : pairs)
    reactor_->unwatch(pair.near.get(), Direction::write);
}

TEST_P(WatchTest, AWatcherAndAForeignPollShareADescriptor) {
  SocketPair pair = unix_pair();
  fill(pair.near.get());
  Watching writer;
  watch(pair.near.get(), Direction::write, writer);
  op::Descriptor descriptor(pair.near.get(), false);
  Poller poller(descriptor, Direction::read);
  reactor_->submit(poller.operation);
  turns(2);
  write_all(pair.far.get(), "x");
  ASSERT_TRUE(run_until([&] { return poller.ended(); }));
  EXPECT_EQ(writer.count, 0);
  read_available(pair.far.get());
  ASSERT_TRUE(run_until([&] { return writer.count > 1; }));
  EXPECT_TRUE(reactor_->unwatch(pair.near.get(), Direction::write));
  // And the other way round: the poll again, alone, after the watcher is gone.
  read_available(pair.near.get());
  reactor_->submit(poller.operation);
  turns(2);
  write_all(pair.far.get(), "y");
  ASSERT_TRUE(run_until([&] { return poller.final_count == 2; }));
}

TEST_P(WatchTest, AForeignPollSurvivesTheReuseOfItsNumber) {
  SocketPair old_pair = unix_pair(), new_pair = unix_pair();
  int number = old_pair.near.get();
  op::Descriptor descriptor(number, false);
  Poller poller(descriptor, Direction::read);
  write_all(old_pair.far.get(), "x");
  reactor_->submit(poller.operation);
  ASSERT_TRUE(run_until([&] { return poller.ended(); }));
  ASSERT_EQ(::dup3(new_pair.near.get(), number, O_CLOEXEC), number);
  reactor_->submit(poller.operation);
  turns(2);
  EXPECT_EQ(poller.final_count, 1);
  write_all(new_pair.far.get(), "y");
  ASSERT_TRUE(run_until([&] { return poller.final_count == 2; }));
}

// Between a wait and its dispatch run the handles that were ready: they close descriptors, and the
// next ones get their numbers.
TEST_P(WatchTest, WhatCameForAClosedDescriptorIsNotToldToTheNextOneWithItsNumber) {
  SocketPair pair = unix_pair(), next = unix_pair();
  int number = pair.near.get();
  Watching before, after;
  watch(number, Direction::read, before);
  write_all(pair.far.get(), "x");
  ASSERT_TRUE(run_until([&] { return before.count > 0; }));
  ASSERT_TRUE(reactor_->wait(kMillisecond_ns).ok());
  EXPECT_TRUE(reactor_->unwatch(number, Direction::read));
  ASSERT_EQ(::dup2(next.near.get(), number), number);
  watch(number, Direction::read, after);
  reactor_->dispatch();
  EXPECT_EQ(after.count, 0) << "nothing has come for it";
  turns(3);
  EXPECT_EQ(after.count, 0);
  EXPECT_TRUE(reactor_->unwatch(number, Direction::read));
}

TEST_P(WatchTest, NorToWhoWaitsOnceForTheNextOne) {
  SocketPair pair = unix_pair(), next = unix_pair();
  int number = pair.near.get();
  Watching reader;
  watch(number, Direction::read, reader);
  write_all(pair.far.get(), "x");
  ASSERT_TRUE(run_until([&] { return reader.count > 0; }));
  EXPECT_TRUE(reactor_->unwatch(number, Direction::read));
  fill(number);
  fill(next.near.get());
  {
    op::Descriptor descriptor(number);
    descriptor.owned = false;
    Poller before(descriptor, Direction::write);
    reactor_->submit(before.operation);
    pair.far.reset();
    ASSERT_TRUE(reactor_->wait(kMillisecond_ns).ok());
    reactor_->cancel(before.operation);
    reactor_->forget(descriptor);
    ASSERT_EQ(::dup2(next.near.get(), number), number);
    op::Descriptor same_number(number);
    same_number.owned = false;
    Poller after(same_number, Direction::write);
    reactor_->submit(after.operation);
    reactor_->dispatch();
    turns(3);
    EXPECT_EQ(after.final_count, 0) << "the other socket was writable, this one is full";
    reactor_->cancel(after.operation);
    EXPECT_TRUE(run_until([&] { return after.final_count == 1 && before.final_count == 1; }));
    reactor_->forget(same_number);
  }
}

}  // namespace
}  // namespace rloop::test
