// The order of what waits in the containers of timers.
#include "base/timer_entry.hpp"

#include <gtest/gtest.h>

#include <limits>

namespace rloop::base {
namespace {

using Entry = TimerEntry<int>;

TEST(TimerEntryTest, TheDeadlineDecidesAndThenTheInsertion) {
  Entry early{1, 9};
  Entry late{2, 3};
  EXPECT_TRUE(early.earlier_than(late));
  EXPECT_FALSE(late.earlier_than(early));
  Entry later_inserted{2, 4};
  EXPECT_TRUE(late.earlier_than(later_inserted));
  EXPECT_FALSE(later_inserted.earlier_than(late));
  EXPECT_FALSE(late.earlier_than(late));
}

TEST(TimerEntryTest, NeverIsLaterThanAnyTime) {
  constexpr double kNever = std::numeric_limits<double>::infinity();
  EXPECT_TRUE((Entry{1e300, 2}.earlier_than({kNever, 1})));
  EXPECT_TRUE((Entry{kNever, 1}.earlier_than({kNever, 2})));
}

}  // namespace
}  // namespace rloop::base
