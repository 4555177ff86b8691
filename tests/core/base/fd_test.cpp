// One owner for one descriptor: closed once, moved, released.
//
// Closing twice would close somebody else's descriptor, so each test asks the kernel whether the
// number is still open. The tests duplicate standard input, which every process has, and leave
// nothing open.
#include "base/fd.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>

namespace rloop::base {
namespace {

bool is_open(int fd) {
  return ::fcntl(fd, F_GETFD) >= 0;
}

TEST(UniqueFdTest, ClosesWhenItDies) {
  int number;
  {
    UniqueFd fd(::dup(0));
    number = fd.get();
    EXPECT_TRUE(is_open(number));
  }
  EXPECT_FALSE(is_open(number));
}

TEST(UniqueFdTest, AMoveLeavesNothingBehind) {
  UniqueFd first(::dup(0));
  int number = first.get();
  UniqueFd second(std::move(first));
  EXPECT_FALSE(first.valid());
  EXPECT_EQ(second.get(), number);
  UniqueFd third(::dup(0));
  int replaced = third.get();
  third = std::move(second);
  EXPECT_FALSE(is_open(replaced));
  EXPECT_TRUE(is_open(number));
}

TEST(UniqueFdTest, AReleasedDescriptorIsNotClosed) {
  UniqueFd fd(::dup(0));
  int number = fd.release();
  fd.reset();
  EXPECT_TRUE(is_open(number));
  ::close(number);
}

}  // namespace
}  // namespace rloop::base
