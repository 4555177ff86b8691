// The run of timers that came in order: gaps, moving together, and the room that it takes.
#include "base/timer_run.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <random>
#include <set>
#include <vector>

namespace rloop::base {
namespace {

struct Timer {
  uint64_t number;
  size_t place = kNoTimerPlace;
  size_t told = 0;  // how often
};
using TimerRef = std::shared_ptr<Timer>;

struct NotePlace {
  void operator()(const TimerRef& timer, size_t place) const {
    timer->place = place;
    ++timer->told;
  }
};
using Timers = TimerRun<TimerRef, NotePlace>;

TimerRef add(Timers& run, uint64_t number) {
  auto timer = std::make_shared<Timer>(Timer{number});
  run.append(static_cast<double>(number), number, TimerRef(timer));
  return timer;
}

std::vector<TimerRef> add_many(Timers& run, uint64_t count) {
  std::vector<TimerRef> timers;
  for (uint64_t number = 0; number < count; ++number)
    timers.push_back(add(run, number));
  return timers;
}

TEST(TimerRunTest, AnEmptyOneBeginsAndEndsNowhere) {
  Timers run;
  EXPECT_TRUE(run.empty());
  EXPECT_EQ(run.first_deadline(), Timers::kEndless);
  EXPECT_EQ(run.last_deadline(), -Timers::kEndless);
  EXPECT_EQ(run.at(0), nullptr);
  TimerRef timer = add(run, 3);
  EXPECT_EQ(run.first_deadline(), 3);
  EXPECT_EQ(run.last_deadline(), 3);
  EXPECT_EQ(run.take(timer->place), timer);
  EXPECT_EQ(run.first_deadline(), Timers::kEndless);
  EXPECT_EQ(run.last_deadline(), -Timers::kEndless);
}

TEST(TimerRunTest, TheValueLeavesAtOnceAndNoOtherOneMoves) {
  Timers run;
  std::vector<TimerRef> timers = add_many(run, 10);
  std::weak_ptr<Timer> taken = timers[5];
  size_t place = timers[5]->place;
  run.take(place);
  timers[5] = nullptr;
  EXPECT_TRUE(taken.expired());
  EXPECT_EQ(run.at(place), nullptr);
  EXPECT_EQ(run.size(), 9U);
  timers.erase(timers.begin() + 5);
  for (const TimerRef& timer : timers)
    EXPECT_EQ(timer->told, 1U);
}

TEST(TimerRunTest, GapsAtTheEndsDoNotStay) {
  Timers run;
  std::vector<TimerRef> timers = add_many(run, 10);
  for (size_t number : {1, 2, 7, 8, 0, 9})
    run.take(timers[number]->place);
  EXPECT_EQ(run.first_deadline(), 3);
  EXPECT_EQ(run.last_deadline(), 6);
  EXPECT_EQ(run.front().value, timers[3]);
  TimerRef next = add(run, 6);  // not where the gaps were
  EXPECT_EQ(next->place, timers[6]->place + 1);
}

TEST(TimerRunTest, RoundAndRoundTheRingTakesNoMoreSlots) {
  Timers run;
  add_many(run, 10);
  std::set<const TimerRef*> slots;
  for (uint64_t number = 10; number < 10'000; ++number) {
    TimerRef first = run.front().value;
    slots.insert(run.at(first->place));
    EXPECT_EQ(run.take_first(), first);
    EXPECT_EQ(first->number, number - 10);
    add(run, number);
  }
  EXPECT_LE(slots.size(), 16U);
}

TEST(TimerRunTest, ManyGapsMoveTheRestTogetherInOrder) {
  Timers run;
  std::vector<TimerRef> timers = add_many(run, 1000);
  std::mt19937 random(7);
  std::shuffle(timers.begin() + 1, timers.end() - 1, random);
  for (size_t i = 1; i < 900; ++i)
    run.take(timers[i]->place);
  EXPECT_LE(timers.back()->place - timers.front()->place, 2 * run.size() + 16);
  uint64_t before = 0;
  run.for_each([&](const TimerRef& timer) {
    EXPECT_TRUE(before < timer->number || timer->number == 0);
    EXPECT_EQ(*run.at(timer->place), timer);
    before = timer->number;
  });
  EXPECT_EQ(before, 999U);
}

TEST(TimerRunTest, AVisitMayTakeOthersOut) {
  Timers run;
  std::vector<TimerRef> timers = add_many(run, 100);
  size_t visited = 0;
  run.for_each([&](const TimerRef&) {
    ++visited;
    for (int i = 0; i < 2 && timers.size() > 1; ++i) {
      run.take(timers.back()->place);
      timers.pop_back();
    }
  });
  EXPECT_EQ(visited, 34U);  // of three that are looked at two more leave at the other end
  EXPECT_EQ(run.size(), timers.size());
}

TEST(TimerRunTest, ALargeRingGoesWithItsLastTimer) {
  Timers run;
  std::vector<TimerRef> timers = add_many(run, 10'000);
  while (!run.empty())
    run.take_first();
  add(run, 1);
  EXPECT_EQ(run.at(1), nullptr);
  EXPECT_EQ(run.front().value->place, 0U);
}

TEST(TimerRunDeathTest, NothingIsTakenTwice) {
  Timers run;
  std::vector<TimerRef> timers = add_many(run, 3);
  size_t place = timers[1]->place;
  run.take(place);
  EXPECT_DEATH(run.take(place), "not in the run");
}

}  // namespace
}  // namespace rloop::base
