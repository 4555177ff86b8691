// The heap of deadlines: exact order, lazy deletion, compaction.
//
// Equal deadlines come out in the order of insertion, as with asyncio. A cancelled timer stays in
// the heap until it surfaces or until so many are dead that the heap is compacted; what is dropped
// then may run code that uses the heap.
#include "base/timer_heap.hpp"

#include <gtest/gtest.h>

#include <random>

namespace rloop::base {
namespace {

TEST(TimerHeapTest, ComesOutByDeadlineAndEqualDeadlinesByInsertion) {
  TimerHeap<std::pair<int64_t, int>> heap;
  std::mt19937 random(3);
  for (int i = 0; i < 2000; ++i) {
    auto deadline = static_cast<int64_t>(random() % 50);
    heap.push(deadline, {deadline, i});
  }
  std::pair<int64_t, int> before{-1, -1};
  while (!heap.empty()) {
    EXPECT_EQ(heap.earliest().first, heap.earliest_deadline_ns());
    std::pair<int64_t, int> next = heap.pop();
    ASSERT_LT(before, next);
    before = next;
  }
  EXPECT_EQ(heap.earliest_deadline_ns(), kNever);
}

TEST(TimerHeapTest, CompactionIsDueWhenMoreThanHalfOfManyAreDead) {
  TimerHeap<int> heap;
  for (int i = 0; i < 100; ++i)
    heap.push(i, i);
  for (int i = 0; i < 50; ++i)
    EXPECT_FALSE(heap.count_cancelled());
  EXPECT_TRUE(heap.count_cancelled());
  TimerHeap<int> small;
  for (int i = 0; i < 10; ++i)
    small.push(i, i);
  for (int i = 0; i < 10; ++i)
    EXPECT_FALSE(small.count_cancelled()) << "too few to bother";
}

TEST(TimerHeapTest, CompactionDropsTheDeadAndKeepsTheOrder) {
  TimerHeap<int> heap;
  for (int i = 99; i >= 0; --i)
    heap.push(i, i);
  for (int i = 0; i < 51; ++i)
    heap.count_cancelled();
  int dropped = 0;
  heap.compact([](int value) { return value % 2 == 0; },
               [&](int) {
                 ++dropped;
                 // The heap is whole already: dropping may run code that uses it.
                 EXPECT_EQ(heap.size(), 50U);
               });
  EXPECT_EQ(dropped, 50);
  EXPECT_EQ(heap.cancelled_count(), 0U);
  for (int i = 1; i < 100; i += 2)
    EXPECT_EQ(heap.pop(), i);
}

TEST(TimerHeapTest, DroppingMayPush) {
  TimerHeap<int> heap;
  for (int i = 0; i < 10; ++i)
    heap.push(i, i);
  heap.compact([](int) { return true; }, [&](int value) { heap.push(100 - value, value); });
  EXPECT_EQ(heap.size(), 10U);
  EXPECT_EQ(heap.pop(), 9);
}

TEST(TimerHeapTest, ForgettingBelowZeroIsHarmless) {
  TimerHeap<int> heap;
  heap.forget_cancelled();
  EXPECT_EQ(heap.cancelled_count(), 0U);
  heap.push(1, 1);
  EXPECT_EQ(heap.take_all().size(), 1U);
  EXPECT_TRUE(heap.empty());
}

}  // namespace
}  // namespace rloop::base
