// Keepers let go exactly once.
//
// A keeper holds memory of another world (Python's bytes) that the kernel may still read. Released
// too early it is a use after free, never a leak; so moves and assignments are counted. The queue
// that holds them is in write_queue_test.cpp.
#include "net/segment.hpp"

#include <gtest/gtest.h>

namespace rloop::net {
namespace {

void count_release(void* object) {
  ++*static_cast<int*>(object);
}

TEST(KeeperTest, ReleasesOnceHoweverItIsMoved) {
  int released = 0;
  {
    Keeper first(&released, count_release);
    Keeper second(std::move(first));
    Keeper third;
    third = std::move(second);
    EXPECT_EQ(released, 0);
  }
  EXPECT_EQ(released, 1);
}

TEST(KeeperTest, AnAssignmentReleasesWhatItReplaces) {
  int first = 0, second = 0;
  Keeper keeper(&first, count_release);
  keeper = Keeper(&second, count_release);
  EXPECT_EQ(first, 1);
  EXPECT_EQ(second, 0);
  Keeper& same = keeper;
  keeper = std::move(same);
  EXPECT_EQ(second, 0);
}

}  // namespace
}  // namespace rloop::net
