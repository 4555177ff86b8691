// The assertion that stays in release builds: it names the broken rule and its place.
//
// Everything about ownership of operations rests on it, so the tests of the other rooms expect its
// words in their death tests; here are the words themselves, and that a condition is evaluated
// once.
#include "base/assert.hpp"

#include <gtest/gtest.h>

namespace {

TEST(AssertDeathTest, ABrokenRuleIsPrintedWithItsPlace) {
  EXPECT_DEATH(RLOOP_ASSERT(1 + 1 == 3, "arithmetic holds"),
               "broken invariant: arithmetic holds .*assert_test.cpp:[0-9]+");
}

TEST(AssertTest, AKeptRuleEvaluatesItsConditionOnce) {
  int count = 0;
  RLOOP_ASSERT(++count == 1, "once");
  EXPECT_EQ(count, 1);
}

}  // namespace
