// The heap of deadlines: exact order, and removal from any place.
//
// Equal deadlines come out in the order of insertion, as with asyncio. Every value is told its
// place; the tests check it after each step, against a plain ordered set.
#include "base/timer_heap.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <random>
#include <set>

namespace rloop::base {
namespace {

struct Timer {
  double deadline;
  int number;
  size_t place = 0;
};
using TimerRef = std::shared_ptr<Timer>;

struct NotePlace {
  void operator()(const TimerRef& timer, size_t place) const {
    if (timer) timer->place = place;
  }
};
using Heap = TimerHeap<TimerRef, NotePlace>;

TimerRef add(Heap& heap, double deadline, int number) {
  auto timer = std::make_shared<Timer>(Timer{deadline, number});
  heap.push(deadline, timer);
  return timer;
}

std::pair<double, int> key(const TimerRef& timer) {
  return {timer->deadline, timer->number};
}

TEST(TimerHeapTest, ComesOutByDeadlineAndEqualDeadlinesByInsertion) {
  Heap heap;
  std::mt19937 random(3);
  for (int i = 0; i < 2000; ++i)
    add(heap, static_cast<double>(random() % 50), i);
  std::pair<double, int> before{-1, -1};
  while (!heap.empty()) {
    double earliest = heap.earliest_deadline();
    TimerRef next = heap.pop();
    EXPECT_EQ(next->deadline, earliest);
    EXPECT_EQ(next->place, Heap::kNowhere);
    ASSERT_LT(before, key(next));
    before = key(next);
  }
  EXPECT_EQ(heap.earliest_deadline(), Heap::kEndless);
}

TEST(TimerHeapTest, RemovalFromAnyPlaceKeepsTheOrder) {
  Heap heap;
  std::mt19937 random(5);
  std::set<std::pair<double, int>> expected;
  std::vector<TimerRef> live;
  for (int i = 0; i < 20'000; ++i) {
    if (live.empty() || random() % 5 < 3) {
      live.push_back(add(heap, static_cast<double>(random() % 300), i));
      expected.insert(key(live.back()));
    } else if (random() % 4 == 0) {
      TimerRef earliest = heap.pop();
      ASSERT_EQ(key(earliest), *expected.begin());
      expected.erase(expected.begin());
      std::erase(live, earliest);
    } else {
      size_t chosen = random() % live.size();
      ASSERT_EQ(heap.remove(live[chosen]->place), live[chosen]);
      ASSERT_EQ(live[chosen]->place, Heap::kNowhere);
      expected.erase(key(live[chosen]));
      live.erase(live.begin() + static_cast<ptrdiff_t>(chosen));
    }
    ASSERT_EQ(heap.size(), expected.size());
    ASSERT_EQ(heap.earliest_deadline(),
              expected.empty() ? Heap::kEndless : expected.begin()->first);
  }
  for (const auto& wanted : expected)
    ASSERT_EQ(key(heap.pop()), wanted);
}

TEST(TimerHeapTest, WhatHasNoOrderComesLast) {
  Heap heap;
  TimerRef never = add(heap, NAN, 1);
  TimerRef first = add(heap, 1, 2);
  add(heap, INFINITY, 3);
  EXPECT_EQ(heap.pop(), first);
  EXPECT_EQ(heap.earliest_deadline(), Heap::kEndless);
  EXPECT_EQ(heap.pop(), never);
}

TEST(TimerHeapTest, VisitingMayRemove) {
  Heap heap;
  std::vector<TimerRef> timers;
  for (int i = 0; i < 10; ++i)
    timers.push_back(add(heap, i, i));
  heap.for_each([&](const TimerRef&) {
    if (timers.back()->place != Heap::kNowhere) heap.remove(timers.back()->place);
    timers.pop_back();
  });
  EXPECT_EQ(heap.size(), 5U);
}

TEST(TimerHeapTest, WhatIsTakenStandsNowhere) {
  Heap heap;
  TimerRef timer = add(heap, 1, 1);
  EXPECT_EQ(timer->place, 0U);
  EXPECT_EQ(*heap.at(0), timer);
  EXPECT_EQ(heap.at(1), nullptr);
  EXPECT_EQ(heap.take_all().size(), 1U);
  EXPECT_EQ(timer->place, Heap::kNowhere);
  EXPECT_TRUE(heap.empty());
}

TEST(TimerHeapDeathTest, NothingIsRemovedTwice) {
  Heap heap;
  TimerRef timer = add(heap, 1, 1);
  heap.remove(timer->place);
  EXPECT_DEATH(heap.remove(timer->place), "not in the heap");
}

}  // namespace
}  // namespace rloop::base
