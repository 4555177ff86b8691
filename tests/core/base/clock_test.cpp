// Nanoseconds and seconds: a deadline made from seconds is never early.
//
// asyncio's users say call_at(loop.time() + x) and read loop.time() in the callback; the conversion
// must never round down, whatever a double does to the ninth decimal. Many random instants, and
// the values that no clock reaches.
#include "base/clock.hpp"

#include <gtest/gtest.h>
#include <time.h>

#include <cmath>
#include <random>

namespace rloop::base {
namespace {

TEST(ClockTest, ReadsTheMonotonicClock) {
  timespec before, after;
  ::clock_gettime(CLOCK_MONOTONIC, &before);
  int64_t now = now_ns();
  ::clock_gettime(CLOCK_MONOTONIC, &after);
  auto ns = [](const timespec& t) { return t.tv_sec * int64_t{1'000'000'000} + t.tv_nsec; };
  EXPECT_LE(ns(before), now);
  EXPECT_LE(now, ns(after));
}

TEST(ClockTest, ADeadlineIsNeverBeforeItsSeconds) {
  std::mt19937_64 random(7);
  std::uniform_real_distribution<double> seconds(0, 1e7);
  for (int i = 0; i < 100'000; ++i) {
    double wanted = seconds(random);
    int64_t deadline = deadline_from_seconds(wanted);
    ASSERT_GE(to_seconds(deadline), wanted);
    // And no later than the rounding of a double makes it.
    ASSERT_LT(to_seconds(deadline) - wanted, 1e-8 + std::nextafter(wanted, 1e9) - wanted);
  }
}

TEST(ClockTest, ADeadlineOfAnInstantIsThatInstantOrTheNextThatLooksTheSame) {
  for (int64_t instant : {int64_t{0}, int64_t{1}, int64_t{999'999'999}, now_ns()}) {
    int64_t back = deadline_from_seconds(to_seconds(instant));
    EXPECT_EQ(to_seconds(back), to_seconds(instant));
  }
}

TEST(ClockTest, WhatNoClockReachesIsClamped) {
  EXPECT_EQ(deadline_from_seconds(INFINITY), kNever);
  EXPECT_EQ(deadline_from_seconds(NAN), kNever);
  EXPECT_EQ(deadline_from_seconds(1e300), kNever);
  EXPECT_LT(deadline_from_seconds(-INFINITY), 0);
  EXPECT_LT(deadline_from_seconds(-5), 0);
}

}  // namespace
}  // namespace rloop::base
