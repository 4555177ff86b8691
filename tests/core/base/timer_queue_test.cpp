// The queue of deadlines: exact order, and removal from any place.
//
// Equal deadlines come out in the order of insertion, as with asyncio. Every value is told its
// place; the tests check it after each step, against a plain ordered set.
#include "base/timer_queue.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <memory>
#include <random>
#include <set>
#include <vector>

namespace rloop::base {
namespace {

struct Timer {
  double deadline;
  int number;
  size_t place = kNoTimerPlace;
  int told = 0;  // how often
};
using TimerRef = std::shared_ptr<Timer>;

struct NotePlace {
  void operator()(const TimerRef& timer, size_t place) const {
    timer->place = place;
    ++timer->told;
  }
};
using Queue = TimerQueue<TimerRef, NotePlace>;

TimerRef add(Queue& queue, double deadline, int number) {
  auto timer = std::make_shared<Timer>(Timer{deadline, number});
  queue.push(deadline, TimerRef(timer));
  return timer;
}

std::pair<double, int> key(const TimerRef& timer) {
  return {timer->deadline, timer->number};
}

TEST(TimerQueueTest, ComesOutByDeadlineAndEqualDeadlinesByInsertion) {
  Queue queue;
  std::mt19937 random(3);
  for (int i = 0; i < 2000; ++i)
    add(queue, static_cast<double>(random() % 50), i);
  std::pair<double, int> before{-1, -1};
  while (!queue.empty()) {
    double earliest = queue.earliest_deadline();
    TimerRef next = queue.pop();
    EXPECT_EQ(next->deadline, earliest);
    EXPECT_EQ(next->place, Queue::kNowhere);
    ASSERT_LT(before, key(next));
    before = key(next);
  }
  EXPECT_EQ(queue.earliest_deadline(), Queue::kEndless);
}

// Random steps against an ordered set; `deadline()` chooses those of new timers.
template <class Deadline>
void compare_with_a_set(unsigned seed, Deadline deadline) {
  Queue queue;
  std::mt19937 random(seed);
  std::set<std::pair<double, int>> expected;
  std::vector<TimerRef> live;
  // Grows, stands and shrinks.
  for (int i = 0; i < 60'000; ++i) {
    unsigned pushes = i < 20'000 ? 3 : i < 40'000 ? 2 : 1;
    if (live.empty() || random() % 4 < pushes) {
      live.push_back(add(queue, deadline(random, i), i));
      expected.insert(key(live.back()));
    } else if (random() % 4 == 0) {
      TimerRef earliest = queue.pop();
      ASSERT_EQ(key(earliest), *expected.begin());
      ASSERT_EQ(earliest->place, Queue::kNowhere);
      expected.erase(expected.begin());
      std::erase(live, earliest);
    } else {
      // Often one of the oldest, as timeouts that are armed anew.
      size_t chosen = random() % (random() % 2 ? live.size() : live.size() / 16 + 1);
      ASSERT_EQ(*queue.at(live[chosen]->place), live[chosen]);
      ASSERT_EQ(queue.remove(live[chosen]->place), live[chosen]);
      ASSERT_EQ(live[chosen]->place, Queue::kNowhere);
      expected.erase(key(live[chosen]));
      live.erase(live.begin() + static_cast<ptrdiff_t>(chosen));
    }
    ASSERT_EQ(queue.size(), expected.size());
    ASSERT_EQ(queue.earliest_deadline(),
              expected.empty() ? Queue::kEndless : expected.begin()->first);
    if (i % 1000 != 0) continue;
    for (const TimerRef& timer : live)
      ASSERT_EQ(*queue.at(timer->place), timer);
    std::vector<TimerRef> visited;
    queue.for_each([&](const TimerRef& timer) { visited.push_back(timer); });
    ASSERT_EQ(visited.size(), live.size());
    ASSERT_TRUE(visited.empty() || key(visited.front()) == *expected.begin());
    ASSERT_EQ(std::set<TimerRef>(visited.begin(), visited.end()),
              std::set<TimerRef>(live.begin(), live.end()));
  }
  for (const auto& wanted : expected)
    ASSERT_EQ(key(queue.pop()), wanted);
  EXPECT_TRUE(queue.empty());
}

TEST(TimerQueueTest, RandomDeadlinesKeepTheOrder) {
  compare_with_a_set(5, [](auto& random, int) { return static_cast<double>(random() % 300); });
}

TEST(TimerQueueTest, AFewDelaysKeepTheOrder) {
  constexpr std::array<int, 3> kDelays{30, 300, 3000};
  compare_with_a_set(7, [&](auto& random, int now) {
    return static_cast<double>(now / 10 + kDelays[random() % kDelays.size()]);
  });
}

TEST(TimerQueueTest, MoreDelaysThanRunsAmongOtherDeadlinesKeepTheOrder) {
  compare_with_a_set(11, [](auto& random, int now) {
    if (random() % 10 == 0) return static_cast<double>(random() % 100'000);
    return static_cast<double>(now / 10 + static_cast<int>(random() % 8) * 100);
  });
}

TEST(TimerQueueTest, EarlierAndEarlierDeadlinesKeepTheOrder) {
  compare_with_a_set(13, [](auto&, int now) { return static_cast<double>(-now / 3); });
}

TEST(TimerQueueTest, OneDelayMovesNoOtherTimer) {
  Queue queue;
  // What holds a delay of a minute up: timers of an hour, earlier and earlier, in all runs.
  for (int i = 0; i < 100; ++i)
    add(queue, 3600.0 - i, i);
  std::vector<TimerRef> timers;
  for (int i = 0; i < 1000; ++i)
    timers.push_back(add(queue, 60 + i, 100 + i));
  for (const TimerRef& timer : timers)
    timer->told = 0;
  for (int i = 0; i < 800; ++i) {
    queue.remove(timers[static_cast<size_t>(i)]->place);
    add(queue, 60 + 1000 + i, 1100 + i);
  }
  for (size_t i = 800; i < timers.size(); ++i)
    EXPECT_EQ(timers[i]->told, 0U) << i;
}

TEST(TimerQueueTest, WhatHasNoOrderComesLast) {
  Queue queue;
  TimerRef never = add(queue, NAN, 1);
  TimerRef first = add(queue, 1, 2);
  add(queue, INFINITY, 3);
  EXPECT_EQ(queue.pop(), first);
  EXPECT_EQ(queue.earliest_deadline(), Queue::kEndless);
  EXPECT_EQ(queue.pop(), never);
}

TEST(TimerQueueTest, VisitingMayRemove) {
  Queue queue;
  std::vector<TimerRef> timers;
  for (int i = 0; i < 10; ++i)
    timers.push_back(add(queue, i, i));
  queue.for_each([&](const TimerRef&) {
    if (timers.back()->place != Queue::kNowhere) queue.remove(timers.back()->place);
    timers.pop_back();
  });
  EXPECT_EQ(queue.size(), 5U);
}

TEST(TimerQueueTest, WhatIsTakenStandsNowhere) {
  Queue queue;
  TimerRef timer = add(queue, 1, 1);
  EXPECT_EQ(*queue.at(timer->place), timer);
  EXPECT_EQ(queue.at(Queue::kNowhere), nullptr);
  EXPECT_EQ(queue.take_all().size(), 1U);
  EXPECT_EQ(timer->place, Queue::kNowhere);
  EXPECT_TRUE(queue.empty());
}

TEST(TimerQueueDeathTest, NothingIsRemovedTwice) {
  Queue queue;
  TimerRef timer = add(queue, 1, 1);
  queue.remove(timer->place);
  EXPECT_DEATH(queue.remove(timer->place), "not in the");
}

}  // namespace
}  // namespace rloop::base
