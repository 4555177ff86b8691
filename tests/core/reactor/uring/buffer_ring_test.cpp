// Lending kernel-selected buffers: the account, and the rules that are asserted.
//
// Two buffers of four bytes and a real receive for each: which one the kernel picks, what it says
// when all are out, and what a second ring gets when the loop changes threads while a buffer still
// waits for dispatch. Skipped where the machine has no io_uring.
#include "reactor/uring/buffer_ring.hpp"

#include <gtest/gtest.h>

#include "conformance/owners.hpp"
#include "conformance/sockets.hpp"
#include "op/recv.hpp"

namespace rloop::reactor {
namespace {

class BufferRingTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!probe_io_uring().capabilities.ring) GTEST_SKIP() << probe_io_uring().reason;
    ASSERT_TRUE(ring_.open(8, 16, probe_io_uring().capabilities).ok());
    ASSERT_TRUE(buffers_.register_with(ring_).ok());
  }

  // Receives what waits in the socket; the id of the buffer, or -errno.
  int receive(std::string& out) {
    test::Receiver receiver(descriptor_);
    receiver.operation.prepare(*ring_.next_submission());
    EXPECT_TRUE(ring_.enter(base::kNever).ok());
    int id = 0;
    ring_.consume(1, [&](uint64_t, int result, uint32_t flags) {
      if (result < 0) {
        id = result;
        return;
      }
      id = static_cast<int>(flags >> IORING_CQE_BUFFER_SHIFT);
      auto* bytes =
          reinterpret_cast<const char*>(buffers_.pool().buffer(static_cast<uint16_t>(id)).data());
      out.assign(bytes, static_cast<size_t>(result));
    });
    return id;
  }

  Ring ring_;
  BufferRing buffers_{2, 4, op::kReceiveBufferGroup};
  test::SocketPair pair_ = test::unix_pair();
  op::Descriptor descriptor_{pair_.near.get()};
};

TEST_F(BufferRingTest, LendsEachBufferOnceAndAgainAfterItCameBack) {
  test::write_all(pair_.far.get(), "abcdefghijkl");
  std::string bytes;
  for (const char* expected : {"abcd", "efgh"}) {
    int id = receive(bytes);
    ASSERT_GE(id, 0);
    EXPECT_EQ(bytes, expected);
    buffers_.take(static_cast<uint16_t>(id));
  }
  EXPECT_EQ(buffers_.lent_count(), 2U);
  EXPECT_EQ(receive(bytes), -ENOBUFS);
  buffers_.give_back(1);
  EXPECT_EQ(receive(bytes), -ENOBUFS) << "not before it is published";
  buffers_.publish();
  EXPECT_EQ(receive(bytes), 1);
  EXPECT_EQ(bytes, "ijkl");
}

TEST_F(BufferRingTest, ANewRingGetsOnlyTheBuffersThatAreNotLent) {
  buffers_.take(0);
  Ring second;
  ASSERT_TRUE(second.open(8, 16, probe_io_uring().capabilities).ok());
  ASSERT_TRUE(buffers_.register_with(second).ok());
  test::write_all(pair_.far.get(), "abcdefgh");
  for (int expected : {1, -ENOBUFS}) {
    test::Receiver receiver(descriptor_);
    receiver.operation.prepare(*second.next_submission());
    ASSERT_TRUE(second.enter(base::kNever).ok());
    second.consume(1, [&](uint64_t, int result, uint32_t flags) {
      int id = static_cast<int>(flags >> IORING_CQE_BUFFER_SHIFT);
      EXPECT_EQ(result < 0 ? result : id, expected);
    });
  }
  buffers_.give_back(0);
}

// What is never lent is never touched: the kernel goes round in the buffers that it was offered.
TEST_F(BufferRingTest, OffersTwiceAsManyWhenAllWereLent) {
  BufferRing many(128, 4, op::kDatagramBufferGroup);
  Ring ring;
  ASSERT_TRUE(ring.open(8, 16, probe_io_uring().capabilities).ok());
  ASSERT_TRUE(many.register_with(ring).ok());
  size_t first = many.offered_count();
  ASSERT_LT(first, 128U);
  auto lend = [&](size_t count) {
    for (size_t id = 0; id < count; ++id)
      many.take(static_cast<uint16_t>(id));
    for (size_t id = 0; id < count; ++id)
      many.give_back(static_cast<uint16_t>(id));
    many.publish();
  };
  lend(first - 1);
  EXPECT_EQ(many.offered_count(), first);
  lend(first);
  EXPECT_EQ(many.offered_count(), 2 * first);
  many.note_short();
  lend(1);
  EXPECT_EQ(many.offered_count(), 4 * first) << "the kernel found none";
  lend(128);
  EXPECT_EQ(many.offered_count(), 128U) << "and no more than there are";
}

using BufferRingDeathTest = BufferRingTest;

TEST_F(BufferRingDeathTest, TheAccountIsAsserted) {
  EXPECT_DEATH(buffers_.give_back(0), "came back that was not lent");
  buffers_.take(1);
  EXPECT_DEATH(buffers_.take(1), "lent a buffer twice");
}

}  // namespace
}  // namespace rloop::reactor
