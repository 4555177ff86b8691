// The state machine of a listener, completion by completion; real engines are in conformance/.
//
// The test decides how each accept ends: with a connection, with an errno that passes, with one
// that does not, or after the listener was told to stop. A connection that nobody wants closes
// itself, and on_stopped comes once, last.
#include "net/listener.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>

#include "conformance/sockets.hpp"
#include "net/fake_reactor.hpp"
#include "net/stream.hpp"

namespace rloop::test {
namespace {

class ListenerTest : public testing::Test, public net::ListenerEvents {
 protected:
  void SetUp() override { context_.reactor = &reactor_; }

  void on_accepted(base::UniqueFd connection) override {
    accepted_.push_back(std::move(connection));
    if (stops_when_accepting_) listener_.stop();
  }
  void on_exhausted(int error_number) override { exhausted_.push_back(error_number); }
  void on_accept_error(int error_number) override { errors_.push_back(error_number); }
  void on_stopped() override { ++stopped_count_; }

  // The accept in flight ends with an errno.
  void fail(int error_number) {
    reactor_.fail_receive(error_number);
    reactor_.dispatch_all();
  }
  // The accept in flight brings a connection; its number.
  int accept_one(bool more) {
    int fd = ::fcntl(socket_.fd.get(), F_DUPFD_CLOEXEC, 0);
    reactor_.accept(fd, more);
    reactor_.dispatch_all();
    return fd;
  }
  static bool is_open(int fd) { return ::fcntl(fd, F_GETFD) >= 0; }

  reactor::Statistics statistics_;
  FakeReactor reactor_{statistics_};
  net::Context context_;
  TestListener socket_ = listen_on_loopback();
  net::Listener listener_{context_, *this, socket_.fd.get()};
  std::vector<base::UniqueFd> accepted_;
  std::vector<int> exhausted_, errors_;
  int stopped_count_ = 0;
  bool stops_when_accepting_ = false;
};

TEST_F(ListenerTest, StaysArmedAfterConnectionsAndPassingErrors) {
  listener_.start();
  listener_.start();
  EXPECT_EQ(reactor_.submit_count, 1U);
  accept_one(/*more=*/true);
  EXPECT_EQ(reactor_.submit_count, 1U);
  accept_one(/*more=*/false);
  EXPECT_EQ(reactor_.submit_count, 2U);
  for (int error : {ECONNABORTED, EPROTO, EINTR, EAGAIN, ECANCELED})
    fail(error);
  EXPECT_EQ(reactor_.submit_count, 7U);
  for (int error : {EPERM, ENETDOWN, ETIMEDOUT})
    fail(error);  // of the connection, not of ours
  EXPECT_EQ(reactor_.submit_count, 10U);
  EXPECT_EQ(accepted_.size(), 2U);
  EXPECT_TRUE(errors_.empty() && exhausted_.empty());
  listener_.stop();
  fail(ECANCELED);
  EXPECT_EQ(stopped_count_, 1);
}

TEST_F(ListenerTest, IsSuspendedWhenTheProcessIsOutOfSomething) {
  for (int error : {EMFILE, ENFILE, ENOBUFS, ENOMEM}) {
    listener_.start();
    size_t submits = reactor_.submit_count;
    fail(error);
    EXPECT_EQ(reactor_.submit_count, submits) << "re-arming at once would spin";
    EXPECT_EQ(exhausted_.back(), error);
  }
  fail(0);
  listener_.stop();
  reactor_.dispatch_all();
  EXPECT_EQ(stopped_count_, 1);
}

TEST_F(ListenerTest, ClosesAConnectionThatCameTooLate) {
  listener_.start();
  listener_.stop();
  EXPECT_EQ(stopped_count_, 0);
  int fd = accept_one(/*more=*/true);
  EXPECT_FALSE(is_open(fd));
  EXPECT_EQ(stopped_count_, 0) << "the accept is still in flight";
  fail(ECANCELED);
  EXPECT_EQ(stopped_count_, 1);
  EXPECT_TRUE(accepted_.empty());
}

TEST_F(ListenerTest, StopsInsideOnAccepted) {
  stops_when_accepting_ = true;
  listener_.start();
  accept_one(/*more=*/true);
  int late = accept_one(/*more=*/false);
  EXPECT_FALSE(is_open(late));
  reactor_.dispatch_all();
  EXPECT_EQ(stopped_count_, 1);
  EXPECT_EQ(accepted_.size(), 1U);
}

TEST_F(ListenerTest, AcceptsOneAtATimeAfterDistrust) {
  listener_.distrust_multishot();
  listener_.start();
  EXPECT_FALSE(reactor_.accepts_many());
  listener_.stop();
  fail(ECANCELED);
  EXPECT_EQ(stopped_count_, 1);
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
