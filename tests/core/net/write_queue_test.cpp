// The bytes that wait: described in order, consumed in any pieces, released when done.
//
// A send may take any part of what was described. A thousand random appends, descriptions and
// consumptions must give the same bytes in the same order, with every segment released once and as
// soon as its last byte is gone.
#include "net/write_queue.hpp"

#include <gtest/gtest.h>

#include <array>
#include <deque>
#include <random>
#include <string>

namespace rloop::net {
namespace {

class WriteQueueTest : public testing::Test {
 protected:
  void append(const std::string& text) {
    texts_.push_back(text);
    auto* bytes = reinterpret_cast<const std::byte*>(texts_.back().data());
    queue_.append({bytes, text.size(), Keeper(this, release)});
    ++appended_;
  }
  std::string described(size_t ranges = 16) {
    std::array<iovec, 16> out;
    size_t count = queue_.describe(std::span(out).first(ranges));
    std::string all;
    for (size_t i = 0; i < count; ++i) {
      all.append(static_cast<const char*>(out[i].iov_base), out[i].iov_len);
    }
    return all;
  }
  static void release(void* test) { ++static_cast<WriteQueueTest*>(test)->released_; }

  std::deque<std::string> texts_;
  int appended_ = 0, released_ = 0;
  WriteQueue queue_;
};

TEST_F(WriteQueueTest, DescribesWhatIsLeft) {
  append("one");
  append("two");
  append("three");
  EXPECT_EQ(described(), "onetwothree");
  EXPECT_EQ(described(2), "onetwo");
  queue_.consume(4);
  EXPECT_EQ(described(), "wothree");
  EXPECT_EQ(queue_.backlog_bytes(), 7U);
  EXPECT_EQ(released_, 1) << "as soon as it is consumed";
  queue_.consume(7);
  EXPECT_TRUE(queue_.empty());
  EXPECT_EQ(released_, 3);
}

TEST_F(WriteQueueTest, CopiesWhatIsLeft) {
  for (const char* text : {"one", "two", "three"})
    append(text);
  queue_.consume(4);
  std::array<std::byte, 20> copy;
  queue_.copy(copy);
  EXPECT_EQ(std::string(reinterpret_cast<char*>(copy.data()), queue_.backlog_bytes()), "wothree");
  queue_.consume(queue_.backlog_bytes());
  queue_.copy({});
}

TEST_F(WriteQueueTest, AnEmptySegmentIsIgnoredAndReleased) {
  append("");
  EXPECT_TRUE(queue_.empty());
  EXPECT_EQ(released_, 1);
}

TEST_F(WriteQueueTest, ClearingReleasesEverything) {
  for (int i = 0; i < 10; ++i)
    append("x");
  queue_.consume(3);
  queue_.clear();
  EXPECT_EQ(released_, 10);
  EXPECT_EQ(queue_.backlog_bytes(), 0U);
  EXPECT_EQ(described(), "");
}

TEST_F(WriteQueueTest, AnyPiecesKeepTheOrder) {
  std::mt19937 random(5);
  std::string expected, taken;
  for (int i = 0; i < 3000; ++i) {
    std::string text(random() % 20, static_cast<char>('a' + i % 26));
    append(text);
    expected += text;
    std::string front = described(1 + random() % 16);
    size_t piece = front.empty() ? 0 : random() % (front.size() + 1);
    if (i % 500 == 499) piece = front.size();
    taken += front.substr(0, piece);
    queue_.consume(piece);
    ASSERT_EQ(queue_.backlog_bytes(), expected.size() - taken.size());
  }
  while (!queue_.empty()) {
    std::string front = described();
    taken += front;
    queue_.consume(front.size());
  }
  EXPECT_EQ(taken, expected);
  EXPECT_EQ(released_, appended_);
}

using WriteQueueDeathTest = WriteQueueTest;

TEST_F(WriteQueueDeathTest, MoreThanWasQueuedCannotBeSent) {
  append("abc");
  EXPECT_DEATH(queue_.consume(4), "more was sent than was queued");
}

}  // namespace
}  // namespace rloop::net
