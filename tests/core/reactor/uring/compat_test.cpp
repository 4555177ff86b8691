// The steps of entering the kernel that are our own, on a bare ring of the library.
//
// A newer liburing lays its rings out differently (without the indirection array), so publishing
// is checked against what the kernel really takes, not against the library's fields. Skipped where
// the machine has no io_uring.
#include "reactor/uring/compat.hpp"

#include <gtest/gtest.h>

#include "reactor/capabilities.hpp"

namespace rloop::reactor {
namespace {

TEST(CompatTest, PublishingCountsWhatTheKernelHasNotTaken) {
  if (!probe_io_uring().capabilities.ring) GTEST_SKIP() << probe_io_uring().reason;
  io_uring ring;
  ASSERT_EQ(io_uring_queue_init(8, &ring, 0), 0);
  fill_submission_array(ring);
  EXPECT_EQ(publish_submissions(ring), 0U);
  for (int i = 0; i < 3; ++i)
    io_uring_prep_nop(io_uring_get_sqe(&ring));
  EXPECT_EQ(publish_submissions(ring), 3U);
  EXPECT_FALSE(kernel_has_work(ring));
  EXPECT_EQ(
      io_uring_enter(static_cast<unsigned>(ring.ring_fd), 3, 3, IORING_ENTER_GETEVENTS, nullptr),
      3);
  EXPECT_EQ(publish_submissions(ring), 0U);
  EXPECT_EQ(io_uring_cq_ready(&ring), 3U);
  io_uring_queue_exit(&ring);
}

}  // namespace
}  // namespace rloop::reactor
