// Lists whose links live in their elements: order, unlinking, and the rules that are asserted.
//
// Operations, dirty streams and ready descriptors are in such lists on every message. An element
// that dies or moves while a list refers to it is the worst that can happen, so both are fatal,
// in release builds too.
#include "base/intrusive_list.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <vector>

namespace rloop::base {
namespace {

struct Tag;
struct OtherTag;
struct Item : ListNode<Tag>, ListNode<OtherTag> {
  explicit Item(int n) : number(n) {}
  int number;
};
using List = IntrusiveList<Item, Tag>;

std::vector<int> numbers(List& list) {
  std::vector<int> all;
  list.for_each([&](Item& item) { all.push_back(item.number); });
  return all;
}

TEST(IntrusiveListTest, KeepsTheOrderOfArrival) {
  Item one(1), two(2), three(3);
  List list;
  EXPECT_TRUE(list.empty());
  for (Item* item : {&one, &two, &three})
    list.push_back(*item);
  EXPECT_EQ(numbers(list), (std::vector{1, 2, 3}));
  EXPECT_FALSE(list.holds_only(one));
  EXPECT_EQ(list.pop_front().number, 1);
  static_cast<ListNode<Tag>&>(three).unlink();
  EXPECT_EQ(numbers(list), (std::vector{2}));
  EXPECT_TRUE(list.holds_only(two));
  EXPECT_FALSE(list.holds_only(three));
  EXPECT_FALSE(static_cast<ListNode<Tag>&>(three).linked());
}

TEST(IntrusiveListTest, AnElementMayBeInTwoListsAtATime) {
  Item one(1);
  List list;
  IntrusiveList<Item, OtherTag> other;
  list.push_back(one);
  other.push_back(one);
  list.pop_front();
  EXPECT_TRUE(list.empty());
  EXPECT_EQ(&other.front(), &one);
}

TEST(IntrusiveListTest, AVisitorMayUnlinkWhatItVisits) {
  Item one(1), two(2), three(3);
  List list;
  for (Item* item : {&one, &two, &three})
    list.push_back(*item);
  list.for_each([](Item& item) {
    if (item.number != 2) static_cast<ListNode<Tag>&>(item).unlink();
  });
  EXPECT_EQ(numbers(list), (std::vector{2}));
}

TEST(IntrusiveListTest, SplicingMovesEverythingBehind) {
  Item one(1), two(2), three(3);
  List first, second;
  first.push_back(one);
  second.push_back(two);
  second.push_back(three);
  first.splice_back(second);
  EXPECT_EQ(numbers(first), (std::vector{1, 2, 3}));
  EXPECT_TRUE(second.empty());
}

TEST(IntrusiveListTest, AListThatDiesLetsItsElementsGo) {
  Item one(1);
  {
    List list;
    list.push_back(one);
  }
  EXPECT_FALSE(static_cast<ListNode<Tag>&>(one).linked());
}

TEST(IntrusiveListDeathTest, AnElementMustNotDieWhileLinked) {
  EXPECT_DEATH(
      {
        List list;
        Item item(1);
        list.push_back(item);
      },
      "destroyed while linked");
}

TEST(IntrusiveListDeathTest, AnElementMustNotBeLinkedTwice) {
  Item item(1);
  List list;
  list.push_back(item);
  EXPECT_DEATH(list.push_back(item), "linked twice");
}

}  // namespace
}  // namespace rloop::base
