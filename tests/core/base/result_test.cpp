// A count or an errno in one word, as the kernel gives them.
//
// Every completion and every system call of the core answers with it, so an unknown errno must
// come through unchanged, and "again" must be told apart from failure and from a count of
// zero.
#include "base/result.hpp"

#include <gtest/gtest.h>

namespace rloop::base {
namespace {

TEST(ResultTest, ACountIsOk) {
  EXPECT_TRUE(Result::count(7).ok());
  EXPECT_EQ(Result::count(7).value(), 7);
  EXPECT_EQ(Result::count(7).error_number(), 0);
  EXPECT_TRUE(Result().ok());
}

TEST(ResultTest, AnErrorKeepsItsNumber) {
  EXPECT_FALSE(Result::error(EPIPE).ok());
  EXPECT_EQ(Result::error(EPIPE).error_number(), EPIPE);
  EXPECT_TRUE(Result::error(EPIPE).is(EPIPE));
  EXPECT_FALSE(Result::error(EPIPE).is_again());
  EXPECT_TRUE(Result::again().is_again());
}

TEST(ResultTest, AFailedCallGivesItsErrno) {
  errno = ENOTSOCK;
  EXPECT_TRUE(Result::from_call(-1).is(ENOTSOCK));
  EXPECT_EQ(Result::from_call(12).value(), 12);
}

}  // namespace
}  // namespace rloop::base
