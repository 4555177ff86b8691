// The ring reactor without a ring: living before it has one, and handing everything to epoll.
//
// A ring can fail to open in the first thread or in a later one; whatever was submitted, watched
// or on its way to dispatch then goes on in another reactor. Moving between threads, which both
// engines do, is in conformance/.
#include "reactor/uring/ring_reactor.hpp"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <functional>
#include <thread>

#include "absl/cleanup/cleanup.h"
#include "conformance/connection.hpp"
#include "conformance/owners.hpp"
#include "conformance/process.hpp"
#include "reactor/uring/ring_fixture.hpp"

namespace rloop::test {
namespace {

// Runs `body` while the process can open no descriptor, not even for a number that was closed.
void without_descriptors(const std::function<void()>& body) {
  rlimit before{};
  ::getrlimit(RLIMIT_NOFILE, &before);
  rlimit none{.rlim_cur = 0, .rlim_max = before.rlim_max};
  ::setrlimit(RLIMIT_NOFILE, &none);
  absl::Cleanup restore = [&] { ::setrlimit(RLIMIT_NOFILE, &before); };
  body();
}

class RingLifecycleTest : public RingTest {
 protected:
  void SetUp() override {
    RingTest::SetUp();
    if (ring_) epoll_ = reactor::make_epoll_reactor({}, statistics_);
  }
  void TearDown() override {
    if (!epoll_) return;
    EXPECT_EQ(epoll_->drain(0), 0U);
  }

  // What a loop does when attach_to_thread failed.
  void move_to_epoll() {
    ring_->move_to(*epoll_);
    ring_.reset();
    context_.reactor = epoll_.get();
    ASSERT_TRUE(epoll_->attach_to_thread().ok());
  }

  std::unique_ptr<reactor::Reactor> epoll_;
  SocketPair first_ = unix_pair(), second_ = unix_pair(), third_ = unix_pair();
};

TEST_F(RingLifecycleTest, TakesOperationsBeforeItHasARing) {
  op::Descriptor descriptor(first_.near.get());
  Poller poller(descriptor, op::Direction::read);
  Watching reader;
  ring_->submit(poller.operation);
  ASSERT_TRUE(ring_->watch(second_.near.get(), op::Direction::read, reader).ok());
  write_all(first_.far.get(), "x");
  write_all(second_.far.get(), "x");
  ASSERT_TRUE(ring_->attach_to_thread().ok());
  ASSERT_TRUE(run_until(context_, [&] { return poller.ended() && reader.count > 0; }));
  EXPECT_EQ(ring_->drain(kSecond_ns), 0U);
}

TEST_F(RingLifecycleTest, ARunThatWaitsForNothingMakesNone) {
  Watching reader;
  ASSERT_TRUE(ring_->watch(first_.near.get(), op::Direction::read, reader).ok());
  ASSERT_TRUE(ring_->attach_to_thread().ok());
  for (int i = 0; i < 10; ++i)
    turn(context_, 0);
  ring_->quiesce();
  EXPECT_EQ(ring_->drain(0), 0U);
  EXPECT_EQ(descriptor_of("anon_inode:[io_uring]"), -1);
  EXPECT_TRUE(ring_->unwatch(first_.near.get(), op::Direction::read));
}

TEST_F(RingLifecycleTest, ItIsMadeByTheFirstWaitThatNeedsIt) {
  op::Descriptor descriptor(first_.near.get());
  for (const char* why : {"blocks", "an operation", "a watched descriptor", "turns on and on"}) {
    SCOPED_TRACE(why);
    reactor::RingReactor ring(reactor::Config{}, statistics_);
    context_.reactor = &ring;
    Poller poller(descriptor, op::Direction::read);
    Watching reader;
    SocketPair watched = unix_pair();
    ASSERT_TRUE(ring.watch(watched.near.get(), op::Direction::read, reader).ok());
    ASSERT_TRUE(ring.attach_to_thread().ok());
    turn(context_, 0);
    ASSERT_EQ(descriptor_of("anon_inode:[io_uring]"), -1);
    std::string_view reason = why;
    if (reason == "blocks") turn(context_, 1);
    if (reason == "an operation") ring.submit(poller.operation);
    if (reason == "a watched descriptor") write_all(watched.far.get(), "x");
    for (int i = 0; i < (reason == "turns on and on" ? 100 : 2); ++i)
      turn(context_, 0);
    EXPECT_NE(descriptor_of("anon_inode:[io_uring]"), -1);
    EXPECT_EQ(reader.count > 0, reason == "a watched descriptor");
    EXPECT_TRUE(ring.unwatch(watched.near.get(), op::Direction::read));
    EXPECT_EQ(ring.drain(kSecond_ns), 0U);
  }
  context_.reactor = ring_.get();
}

TEST_F(RingLifecycleTest, ItHasAPlaceWhenTheProgramHasTakenAllDescriptors) {
  ASSERT_TRUE(ring_->attach_to_thread().ok());
  rlimit before{};
  ::getrlimit(RLIMIT_NOFILE, &before);
  rlimit few{.rlim_cur = 64, .rlim_max = before.rlim_max};
  ::setrlimit(RLIMIT_NOFILE, &few);
  absl::Cleanup restore = [&] { ::setrlimit(RLIMIT_NOFILE, &before); };
  std::vector<base::UniqueFd> taken;
  do {
    taken.emplace_back(::dup(first_.near.get()));
  } while (taken.back().valid());
  ASSERT_EQ(errno, EMFILE);
  EXPECT_TRUE(ring_->wait(1).ok());
  taken.clear();
  EXPECT_NE(descriptor_of("anon_inode:[io_uring]"), -1);
  EXPECT_EQ(ring_->drain(kSecond_ns), 0U);
}

TEST_F(RingLifecycleTest, HandsEverythingOverWhenTheFirstWaitGetsNone) {
  ASSERT_TRUE(ring_->attach_to_thread().ok());
  Connection connection(context_, std::move(first_.near));
  connection.stream.start_reading();
  Watching reader;
  ASSERT_TRUE(ring_->watch(second_.near.get(), op::Direction::read, reader).ok());
  connection.write("written ");
  write_all(first_.far.get(), "before ");
  base::Result waited(0);
  without_descriptors([&] {
    context_.flush_dirty();
    waited = ring_->wait(0);
  });
  ASSERT_TRUE(waited.is(EMFILE)) << waited.value();
  ring_->give_up(waited);
  while (ring_->has_undispatched())
    ring_->dispatch();
  move_to_epoll();
  write_all(first_.far.get(), "after");
  write_all(second_.far.get(), "x");
  EXPECT_TRUE(run_until(context_,
                        [&] { return connection.received == "before after" && reader.count > 0; }));
  EXPECT_EQ(read_available(first_.far.get()), "written ");
  EXPECT_TRUE(epoll_->unwatch(second_.near.get(), op::Direction::read));
  connection.stream.close();
  EXPECT_TRUE(run_until(context_, [&] { return connection.closed(); }));
}

TEST_F(RingLifecycleTest, ARunWithoutOneCanBeGoneOnWithInAnotherThreadOrTheChildOfAFork) {
  op::Descriptor descriptor(first_.near.get());
  Poller poller(descriptor, op::Direction::read);
  auto go_on = [&] {
    ring_->submit(poller.operation);
    ring_->flush();  // of nobody's yet: the child has not attached
    bool attached = ring_->attach_to_thread().ok();
    write_all(first_.far.get(), "x");
    return attached && run_until(context_, [&] { return poller.ended(); });
  };
  ASSERT_TRUE(ring_->attach_to_thread().ok());
  turn(context_, 0);
  ring_->quiesce();
  EXPECT_EQ(run_in_child([&] {
              ring_->start_over();
              return go_on() && ring_->drain(kSecond_ns) == 0 ? kGood : kBad;
            }),
            kGood);
  std::thread([&] {
    EXPECT_TRUE(go_on());
    ring_->quiesce();
  }).join();
  EXPECT_EQ(statistics_.ring_rebuilds, 0U);
  EXPECT_EQ(ring_->drain(kSecond_ns), 0U);
}

TEST_F(RingLifecycleTest, HandsQueuedOperationsAndWatchersToAnotherReactor) {
  op::Descriptor owned(first_.near.get()), foreign(second_.near.get(), false);
  Poller one(owned, op::Direction::read), two(foreign, op::Direction::read);
  Watching reader, writer;
  op::Descriptor nothing(-1);
  Note note(nothing);
  ring_->submit(one.operation);
  ring_->submit(two.operation);
  ring_->post(note.operation, base::Result(0));
  ASSERT_TRUE(ring_->watch(third_.near.get(), op::Direction::read, reader).ok());
  ASSERT_TRUE(ring_->watch(third_.near.get(), op::Direction::write, writer).ok());
  move_to_epoll();
  EXPECT_TRUE(note.ended());
  for (SocketPair* pair : {&first_, &second_, &third_})
    write_all(pair->far.get(), "x");
  ASSERT_TRUE(run_until(context_, [&] {
    return one.ended() && two.ended() && reader.count > 1 && writer.count > 1;
  }));
  EXPECT_TRUE(one.results.back().ok() && two.results.back().ok());
  EXPECT_TRUE(epoll_->unwatch(third_.near.get(), op::Direction::read));
  EXPECT_TRUE(epoll_->unwatch(third_.near.get(), op::Direction::write));
}

TEST_F(RingLifecycleTest, HandsEverythingOverWhenASecondThreadGetsNoRing) {
  ASSERT_TRUE(ring_->attach_to_thread().ok());
  Connection connection(context_, std::move(first_.near));
  connection.stream.start_reading();
  Watching reader;
  ASSERT_TRUE(ring_->watch(second_.near.get(), op::Direction::read, reader).ok());
  for (int i = 0; i < 3; ++i)
    turn(context_, 0);
  // All of these are on their way to dispatch when the loop stops.
  write_all(first_.far.get(), "before ");
  write_all(second_.far.get(), "x");
  ring_->announce_sleep();
  ring_->wake();
  ASSERT_TRUE(ring_->wait(kPatience_ns).ok());
  ASSERT_TRUE(ring_->wait(0).ok());
  ring_->quiesce();
  std::thread([&] {
    base::Result attached(0);
    without_descriptors([&] { attached = ring_->attach_to_thread(); });
    EXPECT_TRUE(attached.is(EMFILE)) << attached.value();
    move_to_epoll();
    write_all(first_.far.get(), "after");
    EXPECT_TRUE(run_until(
        context_, [&] { return connection.received == "before after" && reader.count > 1; }));
    EXPECT_TRUE(epoll_->unwatch(second_.near.get(), op::Direction::read));
    connection.stream.close();
    EXPECT_TRUE(run_until(context_, [&] { return connection.closed(); }));
  }).join();
}

TEST_F(RingLifecycleTest, GivesUpInTheMiddleOfARunWithoutLosingAByte) {
  ASSERT_TRUE(ring_->attach_to_thread().ok());
  Connection near(context_, std::move(first_.near)), far(context_, std::move(first_.far));
  near.stream.start_reading();
  far.stream.start_reading();
  Watching reader;
  ASSERT_TRUE(ring_->watch(second_.near.get(), op::Direction::read, reader).ok());
  for (int i = 0; i < 3; ++i)
    turn(context_, 0);
  // Bytes of the first send are received and not dispatched, the second has not left yet.
  near.write("one ");
  near.stream.flush_now();
  ASSERT_TRUE(ring_->wait(kPatience_ns).ok());
  near.write("two ");
  context_.flush_dirty();
  ring_->give_up(base::Result::error(EPERM));
  while (ring_->has_undispatched())
    ring_->dispatch();
  EXPECT_EQ(far.received, "one ");
  move_to_epoll();
  write_all(second_.far.get(), "x");
  near.write("three");
  ASSERT_TRUE(
      run_until(context_, [&] { return far.received == "one two three" && reader.count > 0; }));
  EXPECT_TRUE(epoll_->unwatch(second_.near.get(), op::Direction::read));
  near.stream.close();
  far.stream.close();
  EXPECT_TRUE(run_until(context_, [&] { return near.closed() && far.closed(); }));
}

TEST_F(RingLifecycleTest, GivingUpWithCompletionsOutOfReachEndsWhatMayHaveLostBytes) {
  // They did not fit into the ring's memory, and only an enter could fetch them.
  reactor::Config config;
  config.cq_entries = 8;
  config.buffer_size = 64;
  for (bool cancelled : {false, true}) {
    SocketPair pair = unix_pair();
    reactor::RingReactor ring(config, statistics_);
    context_.reactor = &ring;
    ASSERT_TRUE(ring.attach_to_thread().ok());
    Connection near(context_, std::move(pair.near));
    near.stream.start_reading();
    SocketPair quiet = unix_pair();
    op::Descriptor descriptor(quiet.near.get());
    Poller poller(descriptor, op::Direction::read);
    ring.submit(poller.operation);
    turn(context_, 0);
    const std::string bytes = pattern(2000);
    write_all(pair.far.get(), bytes);
    ASSERT_TRUE(ring.wait(kPatience_ns).ok());
    if (cancelled) {
      near.stream.pause_reading();
      near.stream.resume_reading();
    }
    ring.give_up(base::Result::error(EPERM));
    while (ring.has_undispatched())
      ring.dispatch();
    EXPECT_EQ(near.error, EPERM);
    EXPECT_TRUE(bytes.starts_with(near.received) && near.received != bytes);
    EXPECT_TRUE(near.closed());
    EXPECT_FALSE(poller.operation.idle()) << "a poll brings nothing that could be lost";
    ring.drain(kPatience_ns);
  }
  context_.reactor = ring_.get();
}

TEST_F(RingLifecycleTest, WhatIsClosingWhenItGivesUpStillEnds) {
  ASSERT_TRUE(ring_->attach_to_thread().ok());
  Connection near(context_, std::move(first_.near));
  near.stream.start_reading();
  for (int i = 0; i < 3; ++i)
    turn(context_, 0);
  near.stream.close();
  ring_->give_up(base::Result::error(EPERM));
  move_to_epoll();
  EXPECT_TRUE(run_until(context_, [&] { return near.closed(); }));
  for (int i = 0; i < 3; ++i)
    turn(context_, 0);
}

TEST_F(RingLifecycleTest, DestroysItselfWithoutEverHavingARing) {
  Watching reader;
  ASSERT_TRUE(ring_->watch(second_.near.get(), op::Direction::read, reader).ok());
  EXPECT_EQ(ring_->drain(0), 0U);
  ring_.reset();
}

}  // namespace
}  // namespace rloop::test
