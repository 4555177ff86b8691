// Whether a wait looks before it sleeps, and for how long.
#include "reactor/lingering.hpp"

#include <gtest/gtest.h>

#include "net/test_clock.hpp"

namespace rloop::test {
namespace {

using reactor::Lingering;

class LingeringTest : public testing::Test {
 protected:
  // A wait in which something comes with the look of that number (0: never); the looks it made.
  int wait(int comes_with, int64_t timeout_ns = base::kNever) {
    lingering_.wait_begins(timeout_ns);
    int looks = 0;
    found_ = lingering_.finds(timeout_ns, [&] {
      clock_.advance(kLookTakes_ns);
      return ++looks == comes_with;
    });
    left_ns_ = timeout_ns;
    int calls = looks == 0 || !found_ ? looks + 1 : looks;
    EXPECT_EQ(lingering_.take_extra_calls() + 1, static_cast<uint64_t>(calls));
    EXPECT_EQ(lingering_.take_extra_calls(), 0U);
    return looks;
  }
  void receive_much() { lingering_.received(Lingering::kMuch_bytes); }

  static constexpr int64_t kLookTakes_ns = 1'000;
  static constexpr int kAllLooks = Lingering::kLook_ns / kLookTakes_ns;

  TestClock clock_;
  Lingering lingering_;
  bool found_ = false;
  int64_t left_ns_ = 0;
};

TEST_F(LingeringTest, SleepsAtOnceUnlessMuchCame) {
  EXPECT_EQ(wait(1), 0);
  lingering_.received(Lingering::kMuch_bytes - 1);
  EXPECT_EQ(wait(1), 0);
  receive_much();
  EXPECT_EQ(wait(3), 3);
  EXPECT_TRUE(found_);
}

TEST_F(LingeringTest, ATurnThatDoesNotWaitDoesNotLook) {
  receive_much();
  EXPECT_EQ(wait(1, 0), 0);
  EXPECT_EQ(wait(1), 1) << "the next one does";
}

TEST_F(LingeringTest, AFewWaitsMayBringLess) {
  receive_much();
  for (int i = 0; i < 4; ++i)
    EXPECT_EQ(wait(2), 2);
  EXPECT_EQ(wait(2), 0) << "no bulk any more";
}

TEST_F(LingeringTest, LooksForABoundedTimeAndSleepsForTheRest) {
  receive_much();
  EXPECT_EQ(wait(0), kAllLooks);
  EXPECT_FALSE(found_);
  EXPECT_EQ(left_ns_, base::kNever);
}

TEST_F(LingeringTest, ATimerIsNotLate) {
  receive_much();
  EXPECT_EQ(wait(0, 3 * kLookTakes_ns), 3);
  EXPECT_EQ(left_ns_, 0);
  lingering_ = {};
  receive_much();
  EXPECT_EQ(wait(0, 1'000'000), kAllLooks);
  EXPECT_EQ(left_ns_, 1'000'000 - Lingering::kLook_ns);
}

TEST_F(LingeringTest, WhereLookingIsInVainItBecomesRare) {
  int in_vain = 0;
  constexpr int kWaits = 1000;
  for (int i = 0; i < kWaits; ++i) {
    receive_much();
    in_vain += wait(0) > 0;
  }
  EXPECT_GT(in_vain, 0);
  EXPECT_LT(in_vain, kWaits / 40);
}

TEST_F(LingeringTest, WhatIsFoundBringsItBack) {
  for (int i = 0; i < 1000; ++i) {
    receive_much();
    wait(0);
  }
  int tries = 0;
  do {
    receive_much();
    ++tries;
  } while (wait(1) == 0);
  EXPECT_LE(tries, 64);
  for (int i = 0; i < 10; ++i) {
    receive_much();
    EXPECT_EQ(wait(1), 1);
  }
}

}  // namespace
}  // namespace rloop::test
