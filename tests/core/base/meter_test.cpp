// What the meter makes of the times that a loop tells it.
#include "base/meter.hpp"

#include <gtest/gtest.h>

#include <limits>
#include <numeric>

namespace rloop::base {
namespace {

uint64_t count_of(const Histogram& histogram) {
  auto buckets = histogram.buckets();
  return std::accumulate(buckets.begin(), buckets.end(), uint64_t{0});
}

TEST(HistogramTest, EachBucketBeginsAtAPowerOfTwo) {
  Histogram histogram;
  for (int64_t duration : {int64_t{0}, int64_t{0}, int64_t{1}, int64_t{2}, int64_t{3}, int64_t{4},
                           int64_t{50'000'000}}) {
    histogram.record(duration);
  }
  auto buckets = histogram.buckets();
  EXPECT_EQ(buckets[0], 0U);
  EXPECT_EQ(buckets[1], 3U) << "1, and nothing";
  EXPECT_EQ(buckets[2], 2U) << "2 and 3";
  EXPECT_EQ(buckets[3], 1U);
  EXPECT_EQ(buckets[26], 1U) << "33.6 to 67.1 ms";
  EXPECT_EQ(count_of(histogram), 7U);
  EXPECT_EQ(histogram.total_ns(), 50'000'010U);
  histogram.record(std::numeric_limits<int64_t>::max());
  EXPECT_EQ(buckets[63], 1U);
}

TEST(MeterTest, TimeIsEitherBusyOrIdleAndNothingBetweenRuns) {
  Meter meter;
  EXPECT_EQ(meter.busy_ns(1000), 0);
  meter.run_begins(1000);
  EXPECT_EQ(meter.busy_ns(1030), 30);
  meter.sleep_begins(1040);
  EXPECT_EQ(meter.busy_ns(1100), 40);
  EXPECT_EQ(meter.idle_ns(1100), 60) << "also of the sleep that goes on";
  meter.wakes(1140);
  meter.run_ends(1150);
  EXPECT_EQ(meter.busy_ns(5000), 50);
  EXPECT_EQ(meter.idle_ns(5000), 100);
  meter.run_begins(9000);
  meter.run_ends(9001);
  EXPECT_EQ(meter.busy_ns(9500), 51);
}

TEST(MeterTest, ATurnIsWhatLiesBetweenTwoWaits) {
  Meter meter;
  meter.run_begins(1);
  meter.sleep_begins(500);  // nothing has run yet
  EXPECT_EQ(count_of(meter.turns()), 0U);
  meter.wakes(600);
  EXPECT_EQ(meter.sleep_begins(700), 100);
  EXPECT_EQ(meter.longest_turn_ns(800, false), 100);
  EXPECT_EQ(meter.longest_turn_ns(800, true), 100);
  EXPECT_EQ(meter.longest_turn_ns(900, true), 0);
  meter.wakes(1000);
  EXPECT_EQ(meter.longest_turn_ns(3000, true), 2000) << "it has not ended yet";
  meter.run_ends(5000);
  EXPECT_EQ(meter.longest_turn_ns(6000, true), 4000);
  EXPECT_EQ(count_of(meter.turns()), 2U);
  EXPECT_EQ(meter.turns().total_ns(), 4100U);
}

TEST(MeterTest, OthersSeeSinceWhenItIsAwake) {
  Meter meter;
  EXPECT_EQ(meter.awake_since().load(), 0);
  meter.run_begins(100);
  EXPECT_EQ(meter.awake_since().load(), 100);
  meter.sleep_begins(200);
  EXPECT_EQ(meter.awake_since().load(), 0);
  meter.wakes(300);
  EXPECT_EQ(meter.awake_since().load(), 300) << "while it waits for the GIL";
  EXPECT_EQ(meter.idle_ns(350), 100);
  EXPECT_EQ(meter.busy_ns(350), 150);
  meter.run_ends(400);
  EXPECT_EQ(meter.awake_since().load(), 0);
}

TEST(MeterTest, ARunThatFailsInItsSleepIsOver) {
  Meter meter;
  meter.run_begins(100);
  meter.sleep_begins(200);
  meter.run_ends(300);
  EXPECT_EQ(meter.idle_ns(400), 100);
  EXPECT_EQ(meter.busy_ns(400), 100);
  EXPECT_EQ(meter.awake_since().load(), 0);
}

// With the clock of the machine, since a group reads it.
TEST(MeterTest, QuickTurnsAreTimedTogetherAndEachIsCounted) {
  Meter meter;
  int64_t began = now_ns();
  meter.run_begins(began);
  constexpr uint64_t kTurns = 10'000;
  int timed = 0;
  for (uint64_t i = 0; i < kTurns; ++i)
    timed += meter.turn_passes(i % 2 == 0) != 0;
  meter.run_ends(now_ns());
  EXPECT_EQ(count_of(meter.turns()), kTurns);
  EXPECT_EQ(count_of(meter.ready_lag()), kTurns / 2 - 1) << "the first pass ends no turn";
  EXPECT_LT(timed, static_cast<int>(kTurns) / 2);
  EXPECT_LE(meter.busy_ns(0), now_ns() - began);
}

TEST(MeterTest, ASlowTurnAmongQuickOnesIsNotHidden) {
  Meter meter;
  meter.run_begins(now_ns());
  for (int i = 0; i < 1000; ++i)
    meter.turn_passes(true);
  constexpr int64_t kSlow_ns = 20'000'000;
  for (int64_t began = now_ns(); now_ns() - began < kSlow_ns;) {
  }
  int64_t longest = 0;
  for (int i = 0; i < 40; ++i)
    longest = std::max(longest, meter.turn_passes(true));
  EXPECT_GT(longest, kSlow_ns - 100'000);
  EXPECT_GE(meter.longest_turn_ns(now_ns(), false), longest);
  auto turns = meter.turns().buckets();
  auto lags = meter.ready_lag().buckets();
  EXPECT_GE(std::accumulate(turns.begin() + 25, turns.end(), uint64_t{0}), 1U) << "from 16.8 ms on";
  EXPECT_GE(std::accumulate(lags.begin() + 25, lags.end(), uint64_t{0}), 1U);
}

}  // namespace
}  // namespace rloop::base
