// The eventfd that ends a wait, on the engine that needs no kernel feature.
//
// Armed once and again after each signal, quiet after its reactor was drained: a loop that ends
// must not find its wake-up in flight again. That no wake is ever lost between two threads is in
// conformance/turn_test.cpp.
#include "reactor/waker.hpp"

#include <gtest/gtest.h>

#include "conformance/owners.hpp"

namespace rloop::reactor {
namespace {

TEST(WakerTest, ACancelThatItsReactorDidNotMeanArmsItAgain) {
  Statistics statistics;
  std::unique_ptr<Reactor> reactor = make_epoll_reactor({}, statistics);
  Waker waker(*reactor, /*blocking=*/false);
  waker.arm();
  reactor->cancel(waker.operation());
  reactor->dispatch();
  EXPECT_FALSE(waker.operation().idle());
  waker.signal();
  uint64_t before = statistics.completions;
  ASSERT_TRUE(reactor->wait(base::kNever).ok());
  reactor->dispatch();
  EXPECT_EQ(statistics.completions, before + 1);
  EXPECT_EQ(reactor->drain(0), 0U);
}

TEST(WakerTest, StaysArmedAfterEachSignal) {
  Statistics statistics;
  std::unique_ptr<Reactor> reactor = make_epoll_reactor({}, statistics);
  Waker waker(*reactor, /*blocking=*/false);
  waker.arm();
  waker.arm();  // once is enough
  for (int round = 0; round < 3; ++round) {
    waker.signal();
    waker.signal();
    ASSERT_TRUE(reactor->wait(base::kNever).ok());
    reactor->dispatch();
    EXPECT_FALSE(waker.operation().idle());
  }
  EXPECT_EQ(reactor->drain(0), 0U);
  EXPECT_TRUE(waker.operation().idle()) << "a drained read is not armed again";
  waker.arm();
  EXPECT_TRUE(waker.operation().idle());
}

}  // namespace
}  // namespace rloop::reactor
