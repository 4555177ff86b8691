// The table behind add_reader, with an epoll set of its own; system calls are counted.
//
// A one-shot wait is parked instead of removed, a watcher is registered once, and the table agrees
// with the kernel's set after every failure. What watchers see of it is in
// conformance/watch_test.cpp.
#include "reactor/watch_set.hpp"

#include <gtest/gtest.h>

#include <array>

#include "conformance/owners.hpp"
#include "conformance/sockets.hpp"

namespace rloop::reactor {
namespace {

using op::Direction;

class WatchSetTest : public testing::Test {
 protected:
  // Reports every event that is there; the operations that became ready.
  std::vector<op::Operation*> report() {
    std::array<epoll_event, 16> events;
    int count = ::epoll_wait(epoll_.get(), events.data(), 16, 0);
    std::vector<op::Operation*> ready;
    for (int i = 0; i < count; ++i) {
      set_.report(events[static_cast<size_t>(i)],
                  [&](op::Operation& operation, base::Result) { ready.push_back(&operation); });
    }
    return ready;
  }
  uint64_t new_syscalls() {
    return statistics_.syscalls - std::exchange(seen_, statistics_.syscalls);
  }

  Statistics statistics_;
  uint64_t seen_ = 0;
  base::UniqueFd epoll_{::epoll_create1(EPOLL_CLOEXEC)};
  WatchSet set_{epoll_.get(), 0, statistics_};
  test::SocketPair pair_ = test::unix_pair();
};

TEST_F(WatchSetTest, AnEventOfAnUnknownNumberIsIgnored) {
  epoll_event event{};
  event.data.u64 = uint64_t{77} << 32;
  set_.report(event, [](op::Operation&, base::Result) { FAIL(); });
}

TEST_F(WatchSetTest, ARepeatedWaitCostsOneSystemCall) {
  op::Descriptor descriptor(pair_.near.get(), false);
  test::Poller poller(descriptor, Direction::read);
  test::write_all(pair_.far.get(), "x");
  for (int round = 0; round < 4; ++round) {
    ASSERT_TRUE(set_.wait_once(poller.operation).ok());
    EXPECT_EQ(new_syscalls(), 1U);
    EXPECT_EQ(report().size(), 1U);
    EXPECT_EQ(new_syscalls(), 0U) << "parked, not removed";
    EXPECT_TRUE(report().empty()) << "and disabled";
  }
}

TEST_F(WatchSetTest, WatchingAndUnwatchingCostOneSystemCallEach) {
  test::Watching reader;
  ASSERT_TRUE(set_.watch(pair_.near.get(), Direction::read, reader).ok());
  EXPECT_EQ(new_syscalls(), 1U);
  test::write_all(pair_.far.get(), "x");
  report();
  report();
  EXPECT_EQ(reader.count, 2);
  EXPECT_EQ(new_syscalls(), 0U);
  EXPECT_TRUE(set_.unwatch(pair_.near.get(), Direction::read));
  EXPECT_EQ(new_syscalls(), 1U);
}

TEST_F(WatchSetTest, AFailedWatchKeepsTheWatcherBefore) {
  test::Watching first, second;
  int number = pair_.near.get();
  ASSERT_TRUE(set_.watch(number, Direction::read, first).ok());
  pair_.near.reset();
  EXPECT_TRUE(set_.watch(number, Direction::read, second).is(EBADF));
  EXPECT_TRUE(set_.unwatch(number, Direction::read));
  EXPECT_FALSE(set_.unwatch(number, Direction::read));
}

TEST_F(WatchSetTest, AFailedWaitLeavesTheOperationUnlinked) {
  op::Descriptor descriptor(1 << 20, false);
  test::Poller poller(descriptor, Direction::read);
  EXPECT_TRUE(set_.wait_once(poller.operation).is(EBADF));
  EXPECT_FALSE(poller.operation.linked());
}

TEST_F(WatchSetTest, AllWaitingOperationsCanBeTakenOut) {
  op::Descriptor descriptor(pair_.near.get(), false);
  test::Poller one(descriptor, Direction::read), two(descriptor, Direction::read);
  ASSERT_TRUE(set_.wait_once(one.operation).ok());
  ASSERT_TRUE(set_.wait_once(two.operation).ok());
  int count = 0;
  set_.take_waiting([&](op::Operation&) { ++count; });
  EXPECT_EQ(count, 2);
}

}  // namespace
}  // namespace rloop::reactor
