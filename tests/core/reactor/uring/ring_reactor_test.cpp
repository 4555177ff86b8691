// What only the ring reactor does in a turn: one system call for many, requests in their order.
//
// Needs io_uring, and is skipped with the reason where it is refused. What both engines do is in
// conformance/, the life of the ring in ring_lifecycle_test.cpp.
#include "reactor/uring/ring_reactor.hpp"

#include <gtest/gtest.h>

#include "conformance/connection.hpp"
#include "conformance/owners.hpp"

namespace rloop::test {
namespace {

class RingReactorTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!reactor::probe_io_uring().capabilities.ring) {
      GTEST_SKIP() << reactor::probe_io_uring().reason;
    }
    ring_ = std::make_unique<reactor::RingReactor>(reactor::Config{}, statistics_);
    context_.reactor = ring_.get();
  }

  reactor::Statistics statistics_;
  std::unique_ptr<reactor::RingReactor> ring_;
  net::Context context_;
};

TEST_F(RingReactorTest, ManySendsLeaveWithOneSystemCall) {
  ASSERT_TRUE(ring_->attach_to_thread().ok());
  constexpr size_t kStreams = 15;  // less than a group that is handed over early
  std::vector<std::unique_ptr<Connection>> writers;
  std::vector<base::UniqueFd> peers;
  for (size_t i = 0; i < kStreams; ++i) {
    SocketPair pair = unix_pair();
    writers.push_back(std::make_unique<Connection>(context_, std::move(pair.near)));
    peers.push_back(std::move(pair.far));
  }
  for (int i = 0; i < 3; ++i)
    turn(context_, 0);
  uint64_t syscalls = statistics_.syscalls;
  for (auto& writer : writers)
    writer->write("together");
  turn(context_, kPatience_ns);
  EXPECT_EQ(statistics_.syscalls, syscalls + 1);
  for (base::UniqueFd& peer : peers)
    EXPECT_EQ(read_available(peer.get()), "together");
  for (auto& writer : writers)
    writer->stream.close();
  for (auto& writer : writers) {
    ASSERT_TRUE(run_until(context_, [&] { return writer->closed(); }));
  }
  EXPECT_EQ(ring_->drain(kSecond_ns), 0U);
}

TEST_F(RingReactorTest, CancelledOperationsEndInTheOrderOfTheRequests) {
  ASSERT_TRUE(ring_->attach_to_thread().ok());
  SocketPair pairs[] = {unix_pair(), unix_pair(), unix_pair()};
  op::Descriptor descriptors[] = {op::Descriptor(pairs[0].near.get()),
                                  op::Descriptor(pairs[1].near.get()),
                                  op::Descriptor(pairs[2].near.get())};
  Receiver receivers[] = {Receiver(descriptors[0]), Receiver(descriptors[1]),
                          Receiver(descriptors[2])};
  std::string order;
  for (size_t i = 0; i < 3; ++i) {
    receivers[i].upcall = [&order, i](const op::Completion&) { order += std::to_string(i); };
    ring_->submit(receivers[i].operation);
  }
  ASSERT_TRUE(ring_->wait(0).ok());
  for (size_t i : {2, 0, 1})
    ring_->cancel(receivers[i].operation);
  ASSERT_TRUE(run_until(context_, [&] { return order.size() == 3; }));
  EXPECT_EQ(order, "201");
  EXPECT_EQ(ring_->drain(kSecond_ns), 0U);
}

}  // namespace
}  // namespace rloop::test
