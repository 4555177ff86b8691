// What only the ring reactor does in a turn: one system call for many, requests in their order.
//
// Needs io_uring, and is skipped with the reason where it is refused. What both engines do is in
// conformance/, the life of the ring in ring_lifecycle_test.cpp.
#include "reactor/uring/ring_reactor.hpp"

#include <gtest/gtest.h>
#include <linux/io_uring.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <string>
#include <utility>
#include <vector>

#include "conformance/connection.hpp"
#include "conformance/owners.hpp"
#include "reactor/uring/ring_fixture.hpp"

namespace rloop::test {
namespace {

class RingReactorTest : public RingTest {
 protected:
  using Connections = std::vector<std::unique_ptr<Connection>>;

  // So many streams that have turned for the first time, and their peers.
  std::pair<Connections, std::vector<base::UniqueFd>> connected(size_t count) {
    std::pair<Connections, std::vector<base::UniqueFd>> made;
    for (size_t i = 0; i < count; ++i) {
      SocketPair pair = unix_pair();
      made.first.push_back(std::make_unique<Connection>(context_, std::move(pair.near)));
      made.second.push_back(std::move(pair.far));
    }
    for (int i = 0; i < 3; ++i)
      turn(context_, 0);
    return made;
  }
  void close_all(Connections& connections) {
    for (auto& connection : connections)
      connection->stream.close();
    for (auto& connection : connections) {
      ASSERT_TRUE(run_until(context_, [&] { return connection->closed(); }));
    }
    EXPECT_EQ(ring_->drain(kSecond_ns), 0U);
  }
};

TEST_F(RingReactorTest, ManySendsLeaveWithOneSystemCall) {
  ASSERT_TRUE(ring_->attach_to_thread().ok());
  constexpr size_t kStreams = 15;  // less than a group that is handed over early
  auto [writers, peers] = connected(kStreams);
  uint64_t syscalls = statistics_.syscalls;
  for (auto& writer : writers)
    writer->write("together");
  turn(context_, kPatience_ns);
  EXPECT_EQ(statistics_.syscalls, syscalls + 1);
  for (base::UniqueFd& peer : peers)
    EXPECT_EQ(read_available(peer.get()), "together");
  close_all(writers);
}

// A program that goes on with the socket itself must find all of it sent.
TEST_F(RingReactorTest, WhatWaitsBehindASendThatHasEndedCanBeSettled) {
  ASSERT_TRUE(ring_->attach_to_thread().ok());
  constexpr size_t kStreams = 40;  // a few send at once, the others go to the ring in groups
  auto [writers, peers] = connected(kStreams);
  for (auto& writer : writers)
    writer->write("first ");
  size_t under_way = 0;  // handed over, and not dispatched
  while (under_way < kStreams && (writers[under_way]->stream.backlog_bytes() == 0 ||
                                  read_available(peers[under_way].get()).empty()))
    ++under_way;
  ASSERT_LT(under_way, kStreams) << "no group was handed over";
  net::Stream& stream = writers[under_way]->stream;
  int peer = peers[under_way].get();
  writers[under_way]->write("behind it");
  EXPECT_EQ(read_available(peer), "");
  stream.settle();
  EXPECT_EQ(read_available(peer), "behind it");
  EXPECT_EQ(stream.backlog_bytes(), 0U);
  turn(context_, 0);
  EXPECT_EQ(read_available(peer), "") << "it was sent twice";
  close_all(writers);
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

// As whoever else has the ring may do: every operation in it comes home with ECANCELED. False where
// the kernel (before 6.0) does not know the request.
bool cancel_everything() {
  int ring = descriptor_of("anon_inode:[io_uring]");
  io_uring_sync_cancel_reg request{};
  request.flags = IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL;
  request.timeout = {-1, -1};
  return ::syscall(__NR_io_uring_register, ring, IORING_REGISTER_SYNC_CANCEL, &request, 1) >= 0;
}

TEST_F(RingReactorTest, WhatItAsksForItselfIsAskedAgainWhenItWasCancelled) {
  ASSERT_TRUE(ring_->attach_to_thread().ok());
  SocketPair watched = unix_pair(), polled = unix_pair();
  Watching reader;
  ASSERT_TRUE(ring_->watch(watched.near.get(), op::Direction::read, reader).ok());
  op::Descriptor foreign(polled.near.get(), false);
  Poller poller(foreign, op::Direction::read);
  ring_->submit(poller.operation);
  for (int i = 0; i < 3; ++i)
    turn(context_, 0);
  if (!cancel_everything()) GTEST_SKIP() << "this kernel cancels nothing by registration";
  for (int i = 0; i < 3; ++i)
    turn(context_, 0);
  write_all(watched.far.get(), "x");
  write_all(polled.far.get(), "x");
  EXPECT_TRUE(run_until(context_, [&] { return reader.count > 0 && poller.ended(); }));
  EXPECT_TRUE(ring_->unwatch(watched.near.get(), op::Direction::read));
  for (int i = 0; i < 3; ++i)
    turn(context_, 0);
  uint64_t before = statistics_.completions;
  ring_->announce_sleep();
  ring_->wake();
  ASSERT_TRUE(ring_->wait(kPatience_ns).ok());
  ring_->dispatch();
  EXPECT_GT(statistics_.completions, before) << "another thread cannot end the wait";
  EXPECT_EQ(ring_->drain(kSecond_ns), 0U);
}

}  // namespace
}  // namespace rloop::test
