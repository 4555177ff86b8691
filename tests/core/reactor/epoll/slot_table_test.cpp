// Tokens of descriptors, and that one which was freed finds nothing.
//
// The kernel may hand out a token long after its descriptor is gone and its place is another's.
#include "reactor/epoll/slot_table.hpp"

#include <gtest/gtest.h>

#include <set>

namespace rloop::reactor {
namespace {

TEST(SlotTableTest, ATokenFindsItsDescriptorUntilItIsFreed) {
  SlotTable table;
  op::Descriptor one(3), two(4);
  uint64_t token_of_one = table.take(one), token_of_two = table.take(two);
  EXPECT_EQ((token_of_one | token_of_two) & 1, 0U) << "the lowest bit is the WatchSet's";
  EXPECT_EQ(table.find(token_of_one), &one);
  table.free(one);
  EXPECT_EQ(table.find(token_of_one), nullptr);
  EXPECT_EQ(table.find(token_of_two), &two);
}

TEST(SlotTableTest, APlaceThatIsTakenAgainHasAnotherToken) {
  SlotTable table;
  op::Descriptor first(3), second(3);
  uint64_t before = table.take(first);
  table.free(first);
  uint64_t after = table.take(second);
  EXPECT_EQ(first.slot, second.slot) << "the table does not grow";
  EXPECT_EQ(table.find(before), nullptr);
  EXPECT_EQ(table.find(after), &second);
}

TEST(SlotTableTest, AVisitorMayFreeWhatItVisits) {
  SlotTable table;
  op::Descriptor one(3), two(4), gone(5);
  for (op::Descriptor* descriptor : {&one, &gone, &two})
    table.take(*descriptor);
  table.free(gone);
  std::set<op::Descriptor*> seen;
  table.for_each([&](op::Descriptor& descriptor) {
    seen.insert(&descriptor);
    table.free(descriptor);
  });
  EXPECT_EQ(seen, (std::set<op::Descriptor*>{&one, &two}));
  table.for_each([](op::Descriptor&) { FAIL() << "all were freed"; });
}

}  // namespace
}  // namespace rloop::reactor
