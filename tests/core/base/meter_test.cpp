// What the meter makes of the times that a loop tells it.
#include "base/meter.hpp"

#include <gtest/gtest.h>

#include <limits>
#include <numeric>

namespace rloop::base {
namespace {

TEST(HistogramTest, EachBucketBeginsAtAPowerOfTwo) {
  Histogram histogram;
  for (int64_t duration : {int64_t{-5}, int64_t{0}, int64_t{1}, int64_t{2}, int64_t{3}, int64_t{4},
                           int64_t{50'000'000}, std::numeric_limits<int64_t>::max()}) {
    histogram.record(duration);
  }
  const auto& buckets = histogram.buckets();
  EXPECT_EQ(buckets[0], 2U) << "nothing, and what a clock that went back would say";
  EXPECT_EQ(buckets[1], 1U);
  EXPECT_EQ(buckets[2], 2U) << "2 and 3";
  EXPECT_EQ(buckets[3], 1U);
  EXPECT_EQ(buckets[26], 1U) << "33.6 to 67.1 ms";
  EXPECT_EQ(buckets[63], 1U);
  EXPECT_EQ(std::accumulate(buckets.begin(), buckets.end(), uint64_t{0}), 8U);
}

TEST(MeterTest, TimeIsEitherBusyOrIdleAndNothingBetweenRuns) {
  Meter meter;
  EXPECT_EQ(meter.busy_ns(1000), 0);
  meter.run_begins(1000);
  EXPECT_EQ(meter.busy_ns(1030), 30);
  meter.sleep_begins(1040);
  EXPECT_EQ(meter.busy_ns(1100), 40);
  EXPECT_EQ(meter.idle_ns(1100), 60) << "also of the sleep that goes on";
  meter.sleep_ends(1140);
  meter.run_ends(1150);
  EXPECT_EQ(meter.busy_ns(5000), 50);
  EXPECT_EQ(meter.idle_ns(5000), 100);
  meter.run_begins(9000);
  meter.run_ends(9001);
  EXPECT_EQ(meter.busy_ns(9500), 51);
}

TEST(MeterTest, TheLongestTimeAwakeIsTakenOnce) {
  Meter meter;
  meter.run_begins(0);
  meter.sleep_begins(500);
  meter.sleep_ends(600);
  meter.sleep_begins(700);
  EXPECT_EQ(meter.take_longest_awake_ns(800), 500);
  EXPECT_EQ(meter.take_longest_awake_ns(900), 0);
  meter.sleep_ends(1000);
  EXPECT_EQ(meter.take_longest_awake_ns(3000), 2000) << "it has not ended yet";
  meter.run_ends(5000);
  EXPECT_EQ(meter.take_longest_awake_ns(6000), 4000);
  const auto& awake = meter.awake().buckets();
  EXPECT_EQ(awake[9] + awake[7] + awake[12], 3U);
}

}  // namespace
}  // namespace rloop::base
