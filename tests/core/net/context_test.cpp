// The flush at the end of a turn: which streams send directly, which through the ring.
//
// One policy in one function: few dirty streams send at once, many go through the ring with the
// wait. Owners act inside the flush (abort another stream, write again), and the list survives it.
// On a reactor whose kernel is a script.
#include "net/context.hpp"

#include <gtest/gtest.h>

#include "conformance/connection.hpp"
#include "net/fake_reactor.hpp"

namespace rloop::test {
namespace {

class ContextTest : public testing::Test {
 protected:
  void SetUp() override { context_.reactor = &reactor_; }
  void TearDown() override {
    for (auto& connection : connections_) {
      connection->upcall = nullptr;
      connection->stream.abort();
    }
    reactor_.run_cancels();
    reactor_.dispatch_all();
    for (auto& connection : connections_)
      EXPECT_TRUE(connection->closed());
  }
  void connect(int count) {
    for (int i = 0; i < count; ++i) {
      SocketPair pair = unix_pair();
      connections_.push_back(std::make_unique<Connection>(context_, std::move(pair.near)));
      peers_.push_back(std::move(pair.far));
    }
  }

  reactor::Statistics statistics_;
  FakeReactor reactor_{statistics_};
  net::Context context_;
  std::vector<std::unique_ptr<Connection>> connections_;
  std::vector<base::UniqueFd> peers_;
};

TEST_F(ContextTest, AFewDirtyStreamsSendDirectly) {
  connect(2);
  for (auto& connection : connections_)
    connection->write("x");
  context_.flush_dirty();
  EXPECT_EQ(reactor_.submit_count, 0U);
  for (base::UniqueFd& peer : peers_)
    EXPECT_EQ(read_available(peer.get()), "x");
}

TEST_F(ContextTest, ManyDirtyStreamsGoThroughTheRing) {
  connect(3);
  for (auto& connection : connections_)
    connection->write("x");
  context_.flush_dirty();
  EXPECT_EQ(reactor_.submit_count, 3U);
  reactor_.send(1);
  reactor_.dispatch_all();
  EXPECT_EQ(reactor_.wire, "xxx");
}

TEST_F(ContextTest, AStreamThatIsAbortedDuringTheFlushSendsOnce) {
  connect(2);
  connections_[0]->upcall = [&](Event event) {
    if (event == Event::sent) connections_[1]->stream.abort();
  };
  for (auto& connection : connections_)
    connection->write("x");
  context_.flush_dirty();
  EXPECT_EQ(read_available(peers_[0].get()), "x");
  EXPECT_EQ(read_available(peers_[1].get()), "x");
}

TEST_F(ContextTest, AStreamThatWritesDuringTheFlushIsDirtyAgain) {
  connect(1);
  bool again = true;
  connections_[0]->upcall = [&](Event event) {
    if (event == Event::sent && std::exchange(again, false)) connections_[0]->write("y");
  };
  connections_[0]->write("x");
  context_.flush_dirty();
  context_.flush_dirty();
  EXPECT_EQ(read_available(peers_[0].get()), "xy");
  EXPECT_TRUE(context_.dirty.empty());
}

}  // namespace
}  // namespace rloop::test
