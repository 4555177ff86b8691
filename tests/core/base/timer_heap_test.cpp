// The heap of entries: exact order, and removal from any place. More of it is in
// timer_queue_test.cpp.
#include "base/timer_heap.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <vector>

namespace rloop::base {
namespace {

struct Timer {
  uint64_t number;
  size_t place = kNoTimerPlace;
};
using TimerRef = std::shared_ptr<Timer>;

struct NotePlace {
  void operator()(const TimerRef& timer, size_t place) const { timer->place = place; }
};
using Heap = TimerHeap<TimerRef, NotePlace>;

TimerRef add(Heap& heap, double deadline, uint64_t number) {
  auto timer = std::make_shared<Timer>(Timer{number});
  heap.push({deadline, number, timer});
  return timer;
}

TEST(TimerHeapTest, TheFrontIsTheEarliestAndTheFirstOfEqualOnes) {
  Heap heap;
  for (uint64_t number = 0; number < 300; ++number)
    add(heap, static_cast<double>(number * 7 % 10), number);
  TimerEntry<TimerRef> before{-1, 0, nullptr};
  while (!heap.empty()) {
    EXPECT_TRUE(before.earlier_than(heap.front()));
    before = heap.front();
    EXPECT_EQ(heap.remove(0), before.value);
    EXPECT_EQ(before.value->place, Heap::kNowhere);
  }
}

TEST(TimerHeapTest, EachOneLeavesFromThePlaceThatItWasTold) {
  Heap heap;
  std::vector<TimerRef> timers;
  for (uint64_t number = 0; number < 100; ++number)
    timers.push_back(add(heap, static_cast<double>(number * 37 % 100), number));
  for (const TimerRef& timer : timers) {
    ASSERT_EQ(*heap.at(timer->place), timer);
    EXPECT_EQ(heap.remove(timer->place), timer);
  }
  EXPECT_TRUE(heap.empty());
  EXPECT_EQ(heap.at(0), nullptr);
}

TEST(TimerHeapTest, NoMemoryIsTakenForWhatWasReserved) {
  Heap heap;
  heap.reserve(100);
  add(heap, 0, 0);
  const TimerRef* first = heap.at(0);
  for (uint64_t number = 1; number < 100; ++number)
    add(heap, static_cast<double>(number), number);
  EXPECT_EQ(heap.at(0), first);
}

TEST(TimerHeapDeathTest, NothingIsRemovedTwice) {
  Heap heap;
  TimerRef timer = add(heap, 1, 1);
  heap.remove(timer->place);
  EXPECT_DEATH(heap.remove(timer->place), "not in the heap");
}

}  // namespace
}  // namespace rloop::base
