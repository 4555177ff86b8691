// The state machine of a datagram socket, on a reactor whose kernel is a script.
//
// Receives that end with every error, operations that are in flight when the end comes. What real
// engines do is in conformance/datagram_test.cpp.
#include "net/datagram.hpp"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "conformance/endpoint.hpp"
#include "net/fake_reactor.hpp"

namespace rloop::test {
namespace {

class DatagramStateTest : public testing::Test {
 protected:
  void SetUp() override {
    context_.reactor = &reactor_;
    endpoint_ = std::make_unique<Endpoint>(context_, udp_socket(), AF_INET);
  }
  void TearDown() override {
    if (endpoint_->closed()) return;
    endpoint_->upcall = nullptr;
    endpoint_->datagram.abort();
    reactor_.run_cancels();
    reactor_.dispatch_all();
    EXPECT_EQ(endpoint_->closed_count, 1);
  }
  net::Datagram& datagram() { return endpoint_->datagram; }

  reactor::Statistics statistics_;
  FakeReactor reactor_{statistics_};
  net::Context context_;
  std::unique_ptr<Endpoint> endpoint_;
};

TEST_F(DatagramStateTest, EveryEndOfAReceiveIsFollowedByTheNext) {
  datagram().start_reading();
  EXPECT_EQ(reactor_.submit_count, 1U);
  size_t reported = 0;
  for (int error : {ECONNREFUSED, ENOBUFS, ECANCELED, EHOSTUNREACH}) {
    reactor_.fail_receive(error);
    reactor_.dispatch_all();
    // No buffer, and a cancel that nobody wants any more, are nothing to report.
    if (error != ENOBUFS && error != ECANCELED) ++reported;
    EXPECT_EQ(endpoint_->errors.size(), reported);
    EXPECT_TRUE(reactor_.receiving()) << error;
  }
}

TEST_F(DatagramStateTest, WithoutMemoryItReceivesOneByOne) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  // No allocation of the sanitizer's own may fail, and the limit knows no difference. The path is
  // the same in the build without it, which runs this test.
  GTEST_SKIP() << "the sanitizer needs address space of its own";
#endif
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, ends), 0);
  Endpoint endpoint(context_, base::UniqueFd(ends[0]), AF_UNIX);
  base::UniqueFd far(ends[1]);
  endpoint.datagram.start_reading();
  ASSERT_EQ(::send(far.get(), "x", 1, 0), 1);
  ASSERT_EQ(::send(far.get(), "y", 1, 0), 1);
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_AS, &before), 0);
  rlimit none = {.rlim_cur = 0, .rlim_max = before.rlim_max};  // no more than there is
  ASSERT_EQ(::setrlimit(RLIMIT_AS, &none), 0);
  reactor_.receive();
  reactor_.dispatch_all();
  ASSERT_EQ(::setrlimit(RLIMIT_AS, &before), 0);
  EXPECT_TRUE(endpoint.errors.empty());
  EXPECT_EQ(endpoint.received, (std::vector<std::string>{"x", "y"}));
  endpoint.datagram.abort();
  reactor_.run_cancels();
  reactor_.dispatch_all();
}

TEST_F(DatagramStateTest, AnErrorThatComesDuringAPauseWaits) {
  datagram().start_reading();
  datagram().pause_reading();
  reactor_.fail_receive(ECONNREFUSED);
  reactor_.dispatch_all();
  EXPECT_TRUE(endpoint_->errors.empty());
  EXPECT_FALSE(reactor_.receiving());
  datagram().resume_reading();
  EXPECT_TRUE(endpoint_->errors.empty());
  reactor_.dispatch_all();
  EXPECT_EQ(endpoint_->errors, (std::vector<int>{ECONNREFUSED}));
  EXPECT_TRUE(reactor_.receiving());
}

TEST_F(DatagramStateTest, APauseBeforeTheStartCounts) {
  datagram().pause_reading();
  datagram().start_reading();
  EXPECT_FALSE(reactor_.receiving());
  datagram().resume_reading();
  EXPECT_TRUE(reactor_.receiving());
}

TEST_F(DatagramStateTest, TheEndWaitsForTheReceiveInFlight) {
  datagram().start_reading();
  datagram().close();
  reactor_.dispatch_all();
  EXPECT_FALSE(endpoint_->closed());
  reactor_.run_cancels();
  reactor_.dispatch_all();
  EXPECT_TRUE(endpoint_->closed());
}

TEST_F(DatagramStateTest, TheEndComesAfterTheCallerHasReturned) {
  bool inside = true;
  endpoint_->upcall = [&](DatagramEvent event) {
    EXPECT_TRUE(event != DatagramEvent::closed || !inside);
  };
  datagram().close();
  inside = false;
  EXPECT_FALSE(endpoint_->closed());
  reactor_.dispatch_all();
  EXPECT_TRUE(endpoint_->closed());
}

TEST_F(DatagramStateTest, AnErrorThatEndsItEndsItOnce) {
  endpoint_->upcall = [&](DatagramEvent event) {
    if (event == DatagramEvent::error) datagram().abort();
  };
  datagram().start_reading();
  reactor_.fail_receive(ECONNREFUSED);
  reactor_.dispatch_all();
  EXPECT_EQ(endpoint_->closed_count, 1);
  EXPECT_FALSE(reactor_.receiving());
}

TEST_F(DatagramStateTest, ForgottenItIsClosedWithoutAnEvent) {
  bool told = false;
  endpoint_->upcall = [&](DatagramEvent) { told = true; };
  endpoint_->send("x", endpoint_->address);
  datagram().forget();
  context_.flush_dirty();
  EXPECT_FALSE(told);
  endpoint_->closed_count = 1;
}

}  // namespace
}  // namespace rloop::test
