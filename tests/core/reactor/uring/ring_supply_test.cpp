// Rings that outlive their loops: which thread gets which ring, and what happens without memory.
//
// Everything runs in forked children or threads of its own, so that no test finds a ring that
// another one left behind. The limit of locked memory needs root, to become a user who has one.
#include "reactor/uring/ring_supply.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <functional>
#include <thread>
#include <utility>
#include <vector>

#include "conformance/process.hpp"

namespace rloop::test {
namespace {

using reactor::Ring;

constexpr unsigned kSq = 16, kCq = 32;

Ring supplied(unsigned cq_entries = kCq) {
  Ring ring;
  if (!reactor::supply_ring(ring, kSq, cq_entries, {}).ok()) return Ring();
  return ring;
}

// The number of the ring's descriptor; -1: no ring.
int number_of(Ring& ring) {
  return ring.is_open() ? ring.raw().ring_fd : -1;
}

bool is_descriptor(int fd) {
  return ::fcntl(fd, F_GETFD) >= 0;
}

void in_a_thread(const std::function<void()>& body) {
  std::thread(body).join();
}

class RingSupplyTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!reactor::probe_io_uring().capabilities.ring) {
      GTEST_SKIP() << reactor::probe_io_uring().reason;
    }
  }
};

TEST_F(RingSupplyTest, WhereMemoryIsPlentyNoRingOutlivesItsLoop) {
  EXPECT_EQ(run_in_child([] {
              Ring ring = supplied();
              int number = number_of(ring);
              reactor::keep_ring(std::move(ring));
              return is_descriptor(number) ? kBad : kGood;
            }),
            kGood);
}

// Once memory was short, for the rest of the process.
class KeptRingTest : public RingSupplyTest {
 protected:
  void SetUp() override {
    RingSupplyTest::SetUp();
    reactor::ring_memory_may_come_back();
  }
};

TEST_F(KeptRingTest, TheNextLoopOfAThreadGetsTheRingOfTheLast) {
  in_a_thread([] {
    Ring first = supplied();
    int number = number_of(first);
    reactor::keep_ring(std::move(first));
    EXPECT_TRUE(is_descriptor(number));
    Ring second = supplied();
    EXPECT_EQ(number_of(second), number);
    io_uring_prep_nop(second.next_submission());
    EXPECT_TRUE(second.enter(0).ok());
    EXPECT_TRUE(second.has_completions());
  });
}

TEST_F(KeptRingTest, TwoLoopsAtOnceHaveTwoRingsAndOneIsKept) {
  in_a_thread([] {
    Ring first = supplied(), second = supplied();
    int one = number_of(first), two = number_of(second);
    EXPECT_NE(one, two);
    reactor::keep_ring(std::move(first));
    reactor::keep_ring(std::move(second));
    EXPECT_TRUE(is_descriptor(one));
    EXPECT_FALSE(is_descriptor(two));
  });
}

TEST_F(KeptRingTest, ARingOfAnotherSizeIsNotTaken) {
  in_a_thread([] {
    Ring first = supplied();
    int number = number_of(first);
    reactor::keep_ring(std::move(first));
    Ring second = supplied(2 * kCq);
    EXPECT_NE(number_of(second), number);
    EXPECT_EQ(second.cq_entries(), 2 * kCq);
  });
}

TEST_F(KeptRingTest, ARingWithSomethingUnreadOrUnsentIsClosed) {
  in_a_thread([] {
    for (bool enters : {false, true}) {
      Ring ring = supplied();
      int number = number_of(ring);
      io_uring_prep_nop(ring.next_submission());
      EXPECT_TRUE(!enters || ring.enter(0).ok());
      reactor::keep_ring(std::move(ring));
      EXPECT_FALSE(is_descriptor(number));
    }
  });
}

TEST_F(KeptRingTest, AKeptRingEndsWithItsThreadAndIsNoOtherThreads) {
  int kept = -1;
  in_a_thread([&] {
    Ring ring = supplied();
    kept = number_of(ring);
    reactor::keep_ring(std::move(ring));
    in_a_thread([&] {
      Ring other = supplied();
      EXPECT_NE(number_of(other), kept);
    });
    EXPECT_TRUE(is_descriptor(kept));
  });
  EXPECT_FALSE(is_descriptor(kept));
}

// What each thread keeps, the others close when they find no memory; ThreadSanitizer looks on.
TEST_F(KeptRingTest, ThreadsThatKeepTakeAndCloseAtOnceGetARingEachTime) {
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([] {
      for (int round = 0; round < 50; ++round) {
        Ring ring = supplied();
        EXPECT_TRUE(ring.is_open());
        reactor::keep_ring(std::move(ring));
        if (round % 10 == 9) reactor::ring_memory_may_come_back();
      }
    });
  }
  for (std::thread& thread : threads)
    thread.join();
}

TEST_F(KeptRingTest, AForkedChildHasNoneOfThem) {
  in_a_thread([] {
    Ring ring = supplied();
    int number = number_of(ring);
    reactor::keep_ring(std::move(ring));
    EXPECT_EQ(run_in_child([&] {
                if (is_descriptor(number)) return kBad;
                Ring own = supplied();
                if (!own.is_open()) return kBad;
                io_uring_prep_nop(own.next_submission());
                return own.enter(0).ok() && own.has_completions() ? kGood : kBad;
              }),
              kGood);
    Ring again = supplied();
    EXPECT_EQ(number_of(again), number);
    io_uring_prep_nop(again.next_submission());
    EXPECT_TRUE(again.enter(0).ok());
  });
}

// --- little locked memory -----------------------------------------------------------------------

// Enough for a few rings of the usual size, not for all that follow.
constexpr size_t kLittle_bytes = 256 * 1024;
constexpr int kMany = 60;

// On a busy machine the kernel's worker may give a ring's memory back later than usual.
bool become_patient_user_with_little() {
  reactor::set_ring_patience(60'000'000'000);
  return become_user_with_memlock(kLittle_bytes);
}

Ring usual() {
  const reactor::Config config;
  Ring ring;
  reactor::supply_ring(ring, config.sq_entries, config.cq_entries, {});
  return ring;
}

bool has_usual_size(Ring& ring) {
  return ring.is_open() && ring.cq_entries() == reactor::Config{}.cq_entries;
}

class ScarceMemoryTest : public RingSupplyTest {
 protected:
  void SetUp() override {
    RingSupplyTest::SetUp();
    if (::geteuid() != 0) GTEST_SKIP() << "only root can become an unprivileged user";
  }
};

TEST_F(ScarceMemoryTest, LoopsOfOneThreadOneAfterTheOtherAllGetAFullRing) {
  EXPECT_EQ(run_in_child([] {
              if (!become_patient_user_with_little()) return kBad;
              for (int i = 0; i < kMany; ++i) {
                Ring ring = usual();
                if (!has_usual_size(ring)) return kBad;
                reactor::keep_ring(std::move(ring));
              }
              return kGood;
            }),
            kGood);
}

TEST_F(ScarceMemoryTest, ThreadsOneAfterTheOtherAllGetAFullRing) {
  // Each thread's ring is closed with it, and the kernel gives the memory back a little later.
  EXPECT_EQ(run_in_child([] {
              if (!become_patient_user_with_little()) return kBad;
              bool all = true;
              for (int i = 0; i < kMany && all; ++i) {
                in_a_thread([&] {
                  Ring ring = usual();
                  all = has_usual_size(ring);
                  reactor::keep_ring(std::move(ring));
                });
              }
              return all ? kGood : kBad;
            }),
            kGood);
}

TEST_F(ScarceMemoryTest, WhatIdleThreadsKeepIsTakenFromThem) {
  EXPECT_EQ(run_in_child([] {
              if (!become_patient_user_with_little()) return kBad;
              int left = kMany;
              std::function<bool()> deeper = [&] {
                if (left-- == 0) return true;
                bool good = false;
                in_a_thread([&] {
                  Ring ring = usual();
                  good = has_usual_size(ring);
                  reactor::keep_ring(std::move(ring));
                  good = good && deeper();  // while this thread idles with its kept ring
                });
                return good;
              };
              return deeper() ? kGood : kBad;
            }),
            kGood);
}

TEST_F(ScarceMemoryTest, WhereAllIsInUseARingIsSmallerOrRefused) {
  EXPECT_EQ(run_in_child([] {
              if (!become_user_with_memlock(kLittle_bytes)) return kBad;
              std::vector<Ring> rings;
              do {
                rings.push_back(usual());
              } while (rings.back().is_open() && rings.size() < size_t{kMany});
              if (rings.size() == size_t{kMany})
                return kGood;  // kernels that charge no such memory
              bool shrank = !has_usual_size(rings[rings.size() - 2]);
              return has_usual_size(rings.front()) && shrank ? kGood : kBad;
            }),
            kGood);
}

}  // namespace
}  // namespace rloop::test
