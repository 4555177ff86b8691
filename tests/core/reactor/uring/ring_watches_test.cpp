// Waits of the ring reactor that are its watch set's own, and the way back into the ring.
//
// System calls are counted: a wake by a watched descriptor is one of them, not two. What a watcher
// may rely on is in conformance/watch_test.cpp, on an engine that waits directly whenever it may.
#include <gtest/gtest.h>

#include <thread>

#include "conformance/engines.hpp"
#include "conformance/owners.hpp"
#include "conformance/sockets.hpp"
#include "reactor/uring/ring_fixture.hpp"
#include "reactor/uring/ring_reactor.hpp"

namespace rloop::test {
namespace {

using op::Direction;

class RingWatchesTest : public RingTest {
 protected:
  void SetUp() override {
    RingTest::SetUp();
    if (!ring_) return;
    ASSERT_TRUE(ring_->attach_to_thread().ok());
    ASSERT_TRUE(ring_->watch(watched_.near.get(), Direction::read, watcher_).ok());
    watcher_.upcall = [this] { read_available(watched_.near.get()); };
  }
  void TearDown() override {
    if (!ring_) return;
    ring_->unwatch(watched_.near.get(), Direction::read);
    EXPECT_EQ(ring_->drain(kSecond_ns), 0U);
  }

  // So many wakes by the watched descriptor, one after the other; the system calls of the last.
  uint64_t wakes(int count) {
    uint64_t before = 0;
    for (int i = 0; i < count; ++i) {
      before = statistics_.syscalls;
      int told = watcher_.count;
      write_all(watched_.far.get(), "x");
      EXPECT_TRUE(run_until(context_, [&] { return watcher_.count > told; }));
    }
    return statistics_.syscalls - before;
  }

  SocketPair watched_ = unix_pair();
  Watching watcher_;
};

TEST_F(RingWatchesTest, AWakeIsOneSystemCallWhereNothingElseWaits) {
  EXPECT_EQ(wakes(3), 2U) << "at first it waits in the ring, and asks what is ready";
  EXPECT_EQ(wakes(30), 1U);
}

TEST_F(RingWatchesTest, AnOperationHasTheRingBack) {
  wakes(30);
  SocketPair pair = unix_pair();
  op::Descriptor descriptor(pair.near.get());
  Receiver receiver(descriptor);
  ring_->submit(receiver.operation);
  EXPECT_EQ(wakes(30), 2U);
  write_all(pair.far.get(), "received");
  ASSERT_TRUE(run_until(context_, [&] { return !receiver.results.empty(); }));
  EXPECT_EQ(receiver.bytes, "received");
  if (!receiver.ended()) ring_->cancel(receiver.operation);
  ASSERT_TRUE(run_until(context_, [&] { return receiver.ended(); }));
  EXPECT_EQ(wakes(30), 1U);
}

TEST_F(RingWatchesTest, AnotherThreadEndsTheWait) {
  wakes(30);
  for (int i = 0; i < 3; ++i) {
    int64_t began_ns = base::now_ns();
    ring_->prepare_wait(kPatience_ns);
    ring_->announce_sleep();
    std::thread waker([&] { ring_->wake(); });
    ring_->block();
    waker.join();
    EXPECT_TRUE(ring_->collect().ok());
    ring_->dispatch();
    EXPECT_LT(base::now_ns() - began_ns, kPatience_ns / 2);
    turn(context_, 0);
    wakes(30);
  }
}

TEST_F(RingWatchesTest, ItEndsWhenItsTimeIsUp) {
  wakes(30);
  int64_t began_ns = base::now_ns();
  // A wait may end early by what the kernel does for a ring that was closed before (EINTR).
  int64_t passed_ns = 0;
  for (int i = 0; i < 1000 && passed_ns < 3 * kMillisecond_ns; ++i) {
    turn(context_, 3 * kMillisecond_ns - passed_ns);
    passed_ns = base::now_ns() - began_ns;
  }
  EXPECT_GE(passed_ns, 3 * kMillisecond_ns);
  EXPECT_EQ(wakes(1), 1U) << "and goes on as before";
}

TEST_F(RingWatchesTest, WhoWaitsOnceIsToldOnce) {
  wakes(30);
  SocketPair pair = unix_pair();
  op::Descriptor descriptor(pair.near.get());
  Poller poller(descriptor, Direction::read, op::Readiness::by_epoll_set);
  for (int i = 1; i <= 3; ++i) {
    ring_->submit(poller.operation);
    turn(context_, 0);
    EXPECT_EQ(poller.final_count, i - 1);
    write_all(pair.far.get(), "x");
    ASSERT_TRUE(run_until(context_, [&] { return poller.final_count == i; }));
    read_available(pair.near.get());
    turn(context_, 0);
    EXPECT_EQ(poller.final_count, i);
  }
  ring_->forget(descriptor);
}

TEST_F(RingWatchesTest, ATurnThatDoesNotWaitLooksAtMostEvery20Microseconds) {
  wakes(30);
  int64_t began_ns = base::now_ns();
  turn(context_, 0);
  bool asked = ring_->needs_poll();
  bool at_once = base::now_ns() - began_ns < 10'000;
  EXPECT_TRUE(!asked || !at_once);
  while (!ring_->needs_poll())
    ASSERT_LT(base::now_ns() - began_ns, kPatience_ns);
}

}  // namespace
}  // namespace rloop::test
