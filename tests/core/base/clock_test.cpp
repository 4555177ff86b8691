// The clock, what is due by it, and how long to wait.
//
// asyncio's users say call_at(loop.time() + x) and read loop.time() in the callback: what is due
// may be early by no more than the clock can tell, and a wait is never too short. Many random
// instants, and the values that no clock reaches.
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

TEST(ClockTest, WhatTheClockCannotTellFromNowIsDue) {
  for (double now : {0.0, 1.0, 1e5, 4194304.0, 1e9, 0x1p53, -0x1p53}) {
    double before = due_before(now, kResolution);
    double next = std::nextafter(now, INFINITY);
    EXPECT_GT(before, now) << now;
    EXPECT_GE(before, next) << now;
    EXPECT_LE(before, now + std::max(2 * kResolution, 2 * (next - now))) << now;
  }
  EXPECT_EQ(due_before(100, 0.5), 100.5);
  EXPECT_EQ(due_before(0x1p53, kResolution), 0x1p53 + 2);
}

TEST(ClockTest, AWaitIsNeverTooShort) {
  std::mt19937_64 random(7);
  std::uniform_real_distribution<double> seconds(0, 1e5);
  for (int i = 0; i < 100'000; ++i) {
    double wanted = seconds(random);
    auto waited = static_cast<double>(wait_ns(0, wanted));
    ASSERT_GE(std::nextafter(waited / 1e9, 1e9), std::min(wanted, 86400.0));
    ASSERT_LE(waited / 1e9, wanted + 2e-9);
  }
}

TEST(ClockTest, TicksAreRoughlyWhatTheClockSays) {
  int64_t began_ns = now_ns();
  uint64_t began = ticks();
  while (now_ns() - began_ns < 2'000'000) {
  }
  uint64_t count = ticks() - began;
  uint64_t expected = ticks_of(now_ns() - began_ns);
  EXPECT_GT(count, expected / 4);
  EXPECT_LT(count, expected * 4);
}

TEST(ClockTest, WaitsHaveTheirBounds) {
  EXPECT_EQ(wait_ns(5, 5), 0);
  EXPECT_EQ(wait_ns(5, 4), 0);
  EXPECT_EQ(wait_ns(5, -INFINITY), 0);
  EXPECT_EQ(wait_ns(NAN, 5), 0);
  EXPECT_EQ(wait_ns(0, 1e300), int64_t{86'400'000'000'000});
  EXPECT_EQ(wait_ns(0, INFINITY), kNever);
}

}  // namespace
}  // namespace rloop::base
