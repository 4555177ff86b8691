// A wait in an epoll set: what came, what did not, and for how long.
#include "reactor/epoll_wait.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cerrno>

#include "base/clock.hpp"
#include "conformance/sockets.hpp"

namespace rloop::test {
namespace {

class EpollWaitTest : public testing::Test {
 protected:
  void SetUp() override {
    epoll_event event{.events = EPOLLIN, .data = {.u64 = 7}};
    ASSERT_EQ(::epoll_ctl(set_.get(), EPOLL_CTL_ADD, pair_.near.get(), &event), 0);
  }
  base::UniqueFd set_{::epoll_create1(EPOLL_CLOEXEC)};
  SocketPair pair_ = unix_pair();
  std::array<epoll_event, 4> events_{};
  reactor::EpollWait wait_;
};

TEST_F(EpollWaitTest, SaysWhatIsReadyHoweverLongItMayWait) {
  write_all(pair_.far.get(), "x");
  for (int64_t timeout_ns : {int64_t{0}, int64_t{1'000'000}, base::kNever}) {
    events_ = {};
    EXPECT_EQ(wait_.wait(set_.get(), events_, timeout_ns).value(), 1);
    EXPECT_EQ(events_[0].data.u64, 7U);
  }
}

TEST_F(EpollWaitTest, EndsWhenItsTimeIsUpAndNeverEarlier) {
  EXPECT_EQ(wait_.wait(set_.get(), events_, 0).value(), 0);
  int64_t began_ns = base::now_ns();
  EXPECT_EQ(wait_.wait(set_.get(), events_, 1'500'000).value(), 0);
  EXPECT_GE(base::now_ns() - began_ns, 1'500'000);
}

TEST_F(EpollWaitTest, PassesErrorsOn) {
  EXPECT_TRUE(wait_.wait(-1, events_, 0).is(EBADF));
  EXPECT_TRUE(wait_.wait(-1, events_, 1).is(EBADF));
}

}  // namespace
}  // namespace rloop::test
