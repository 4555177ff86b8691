// Masks, and explanations that tell the operator what to do.
//
// A mask only takes away: it is how a test runs the path of an older kernel on a new one. A refusal
// names the sysctl, limit or profile to change. The probe itself, in processes that may not have
// io_uring, is in uring/probe_test.cpp.
#include "reactor/capabilities.hpp"

#include <gtest/gtest.h>

#include <cerrno>

namespace rloop::reactor {
namespace {

TEST(CapabilitiesTest, AMaskOnlyTakesAway) {
  Capabilities all, none{.ring = false,
                         .multishot_recv = false,
                         .multishot_recvmsg = false,
                         .buffer_ring = false,
                         .no_iowait = false};
  EXPECT_FALSE(all.masked_by(none).ring);
  EXPECT_FALSE(none.masked_by(all).buffer_ring);
  Capabilities one;
  one.multishot_recv = false;
  EXPECT_FALSE(all.masked_by(one).multishot_recv);
}

TEST(CapabilitiesTest, EveryRefusalSaysWhatToChange) {
  auto says = [](int error, const char* word) {
    return explain_refusal(error, "io_uring_setup").find(word) != std::string::npos;
  };
  EXPECT_TRUE(says(EPERM, "io_uring_disabled"));
  EXPECT_TRUE(says(EACCES, "seccomp"));
  EXPECT_TRUE(says(ENOSYS, "seccomp"));
  EXPECT_TRUE(says(EINVAL, "6.1"));
  EXPECT_TRUE(says(ENOMEM, "RLIMIT_MEMLOCK"));
  EXPECT_TRUE(says(EMFILE, "ulimit -n"));
  EXPECT_TRUE(says(EIO, "epoll"));
  EXPECT_TRUE(says(EIO, "io_uring_setup"));
}

}  // namespace
}  // namespace rloop::reactor
