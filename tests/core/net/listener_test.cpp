// The state machine of a listener, poll by poll; real engines are in conformance/.
//
// The test decides how each wait for readiness ends; what accept4(2) then finds is real. Errors
// that pass, errors that do not, a stop at every moment; on_stopped comes once, last.
#include "net/listener.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "conformance/sockets.hpp"
#include "net/fake_reactor.hpp"
#include "net/stream.hpp"
#include "net/test_clock.hpp"

namespace {
int vain_accepts = 0;  // that found no connection
}

// In place of the C library's.
extern "C" int accept4(int fd, sockaddr* address, socklen_t* length, int flags) {
  auto accepted = static_cast<int>(::syscall(SYS_accept4, fd, address, length, flags));
  if (accepted < 0 && errno == EAGAIN) ++vain_accepts;
  return accepted;
}

namespace rloop::test {
namespace {

class ListenerTest : public testing::Test, public net::ListenerEvents {
 protected:
  void SetUp() override {
    context_.reactor = &reactor_;
    context_.meter.run_begins(base::now_ns());
  }

  void on_accepted(base::UniqueFd connection, const base::Address&) override {
    accepted_.push_back(std::move(connection));
    if (stops_when_accepting_) listener_.stop();
    if (interrupts_when_accepting_) reactor_.interrupt_dispatch();
  }
  void on_exhausted(int error_number) override { exhausted_.push_back(error_number); }
  void on_accept_error(int error_number) override { errors_.push_back(error_number); }
  void on_stopped() override { ++stopped_count_; }

  // The poll in flight ends with an errno, as an accept(2) might.
  void fail(int error_number) {
    reactor_.fail_receive(error_number);
    reactor_.dispatch_all();
  }
  void turn() {
    reactor_.receive();
    reactor_.dispatch_all();
  }
  void work(int64_t work_ns) { clock_.advance(work_ns); }
  void connect(int count) {
    for (int i = 0; i < count; ++i)
      clients_.push_back(connect_to(socket_));
  }
  void stop() {
    listener_.stop();
    reactor_.run_cancels();
    reactor_.dispatch_all();
    EXPECT_EQ(stopped_count_, 1);
  }

  TestClock clock_;
  reactor::Statistics statistics_;
  FakeReactor reactor_{statistics_};
  net::Context context_;
  TestListener socket_ = listen_on_loopback();
  net::Listener listener_{context_, *this, socket_.fd.get()};
  std::vector<base::UniqueFd> accepted_, clients_;
  std::vector<int> exhausted_, errors_;
  int stopped_count_ = 0;
  bool stops_when_accepting_ = false;
  bool interrupts_when_accepting_ = false;
};

TEST_F(ListenerTest, WaitsAgainAfterConnectionsAndPassingErrors) {
  listener_.start();
  listener_.start();
  EXPECT_EQ(reactor_.submit_count, 1U);
  connect(2);
  turn();
  EXPECT_EQ(accepted_.size(), 2U);
  EXPECT_EQ(reactor_.submit_count, 2U);
  for (int error : {ECONNABORTED, EPROTO, EINTR, EAGAIN, ECANCELED, ENETDOWN, ETIMEDOUT})
    fail(error);
  EXPECT_EQ(reactor_.submit_count, 9U);
  EXPECT_TRUE(errors_.empty() && exhausted_.empty());
  stop();
}

TEST_F(ListenerTest, AnIdleLoopTakesABurstInBoundedPieces) {
  listener_.start();
  connect(40);
  turn();
  EXPECT_GT(accepted_.size(), 1U);
  EXPECT_LT(accepted_.size(), 40U) << "the rest is left to whoever is free";
  while (accepted_.size() < 40U)
    turn();
  stop();
}

TEST_F(ListenerTest, AcceptsOnlyWhereAConnectionWaits) {
  vain_accepts = 0;
  listener_.start();
  for (int count : {1, 2, 3, 7, 40, 1}) {
    connect(count);
    size_t all = accepted_.size() + static_cast<size_t>(count);
    while (accepted_.size() < all)
      turn();
    EXPECT_EQ(vain_accepts, 0) << count;
  }
  connect(2);
  turn();
  reactor_.say_readable();  // the epoll engine takes what was left ready for ready
  reactor_.dispatch_all();
  EXPECT_EQ(vain_accepts, 0) << "after a full round";
  reactor_.say_readable();
  reactor_.dispatch_all();
  EXPECT_EQ(vain_accepts, 1) << "what the kernel has told is believed: somebody was quicker";
  stop();
}

TEST_F(ListenerTest, WhereAConnectionMeansMuchWorkTheOthersAreLeftToWhoeverIsIdle) {
  connect(1);
  listener_.start();
  turn();
  ASSERT_EQ(accepted_.size(), 1U);
  connect(5);
  work(40'000'000);
  turn();
  EXPECT_EQ(accepted_.size(), 2U);
  work(40'000'000);
  turn();
  EXPECT_EQ(accepted_.size(), 3U);
  turn();
  EXPECT_EQ(accepted_.size(), 6U) << "no work, no bound";
  stop();
}

TEST_F(ListenerTest, WorkThatDoesNotComeFromConnectionsHoldsThemUpLittle) {
  connect(1);
  listener_.start();
  turn();
  connect(20);
  int rounds = 0;
  while (accepted_.size() < 21U) {
    work(5'000'000);
    turn();
    ++rounds;
  }
  EXPECT_LE(rounds, 6);
  stop();
}

TEST_F(ListenerTest, SleepIsNoWork) {
  connect(1);
  listener_.start();
  turn();
  connect(5);
  context_.meter.sleep_begins(base::now_ns());
  work(40'000'000);
  context_.meter.wakes(base::now_ns());
  turn();
  EXPECT_EQ(accepted_.size(), 3U) << "two, as an idle loop";
  stop();
}

TEST_F(ListenerTest, IsSuspendedWhenTheProcessIsOutOfSomething) {
  for (int error : {EMFILE, ENFILE, ENOBUFS, ENOMEM, EPERM}) {
    listener_.start();
    size_t submits = reactor_.submit_count;
    fail(error);
    EXPECT_EQ(reactor_.submit_count, submits) << "waiting again at once would spin";
    EXPECT_EQ(exhausted_.back(), error);
  }
  stop();
}

TEST_F(ListenerTest, StopsInsideOnAccepted) {
  stops_when_accepting_ = true;
  listener_.start();
  connect(3);
  turn();
  EXPECT_EQ(stopped_count_, 1);
  EXPECT_EQ(accepted_.size(), 1U);
  base::UniqueFd next(::accept4(socket_.fd.get(), nullptr, nullptr, SOCK_CLOEXEC));
  EXPECT_TRUE(next.valid()) << "the others wait for somebody else";
}

TEST_F(ListenerTest, AnExitInTheFactoryLeavesTheRestForTheNextTurn) {
  interrupts_when_accepting_ = true;
  listener_.start();
  connect(3);
  turn();
  EXPECT_EQ(accepted_.size(), 1U);
  interrupts_when_accepting_ = false;
  turn();
  EXPECT_EQ(accepted_.size(), 3U);
  stop();
}

TEST_F(ListenerTest, AnErrorThatIsNotPassingIsReportedOnce) {
  listener_.start();
  fail(EINVAL);
  EXPECT_EQ(errors_, (std::vector{EINVAL}));
  EXPECT_FALSE(reactor_.receiving());
  listener_.abandon();
  reactor_.dispatch_all();
  EXPECT_EQ(stopped_count_, 0) << "an abandoned listener is silent";
  EXPECT_TRUE(listener_.stopped());
}

}  // namespace
}  // namespace rloop::test
