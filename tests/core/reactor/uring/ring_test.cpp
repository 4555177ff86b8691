// One ring: set-up, submission, waiting; skipped where the machine has no io_uring.
//
// Only operations that need no descriptor (NOP) run here. What happens under a memory-lock
// limit is in ring_supply_test.cpp, its change of threads in conformance/threads_test.cpp, and the
// end of one in a forked child in conformance/fork_test.cpp.
#include "reactor/uring/ring.hpp"

#include <gtest/gtest.h>

#include "base/clock.hpp"

namespace rloop::reactor {
namespace {

class RingTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!probe_io_uring().capabilities.ring) GTEST_SKIP() << probe_io_uring().reason;
    ASSERT_TRUE(ring_.open(8, 16, probe_io_uring().capabilities).ok());
  }
  void add_nop(uint64_t data) {
    io_uring_sqe* sqe = ring_.next_submission();
    ASSERT_NE(sqe, nullptr);
    io_uring_prep_nop(sqe);
    io_uring_sqe_set_data64(sqe, data);
  }
  Ring ring_;
};

TEST_F(RingTest, SubmitsAndCompletesInOneEntry) {
  EXPECT_FALSE(ring_.has_submissions());
  add_nop(7);
  EXPECT_TRUE(ring_.has_submissions());
  ASSERT_TRUE(ring_.enter(base::kNever).ok());
  EXPECT_FALSE(ring_.has_submissions());
  EXPECT_EQ(ring_.enter_count(), 1U);
  uint64_t seen = 0;
  EXPECT_EQ(ring_.consume(16, [&](uint64_t data, int, uint32_t) { seen = data; }), 1U);
  EXPECT_EQ(seen, 7U);
}

TEST_F(RingTest, AFullQueueIsHandedToTheKernelAndNothingIsLost) {
  constexpr uint64_t kCount = 100;
  for (uint64_t i = 1; i <= kCount; ++i)
    add_nop(i);
  uint64_t sum = 0;
  for (int round = 0; round < 100 && sum < kCount * (kCount + 1) / 2; ++round) {
    ASSERT_TRUE(ring_.enter(0).ok());
    ring_.consume(5, [&](uint64_t data, int, uint32_t) { sum += data; });
  }
  EXPECT_EQ(sum, kCount * (kCount + 1) / 2);
}

TEST_F(RingTest, ATimeoutIsNoErrorAndNotEarly) {
  int64_t before_ns = base::now_ns();
  ASSERT_TRUE(ring_.enter(2'000'000).ok());
  EXPECT_GE(base::now_ns() - before_ns, 2'000'000);
  EXPECT_FALSE(ring_.has_completions());
}

TEST_F(RingTest, CanBeOpenedAgain) {
  ring_.close();
  EXPECT_FALSE(ring_.is_open());
  ASSERT_TRUE(ring_.open(256, 4096, probe_io_uring().capabilities).ok());
  EXPECT_EQ(ring_.cq_entries(), 4096U);
}

}  // namespace
}  // namespace rloop::reactor
