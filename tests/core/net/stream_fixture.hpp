// A stream on a reactor whose kernel is a script, for tests of one situation each.
//
// The socket's sending side is full, so that every send is the script's. What is left open at the
// end of a test is aborted, and must end.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <utility>

#include "conformance/connection.hpp"
#include "net/fake_reactor.hpp"

namespace rloop::test {

class StreamTest : public testing::Test {
 protected:
  void SetUp() override {
    context_.reactor = &reactor_;
    SocketPair pair = unix_pair();
    fill(pair.near.get());
    far_ = std::move(pair.far);
    connection_ = std::make_unique<Connection>(context_, std::move(pair.near));
  }
  void TearDown() override {
    if (!connection_ || connection_->closed()) return;
    connection_->upcall = nullptr;
    connection_->stream.abort();
    settle();
    reactor_.run_cancels();
    settle();
    EXPECT_EQ(connection_->closed_count, 1);
  }
  net::Stream& stream() { return connection_->stream; }
  void settle() {
    context_.flush_dirty();
    reactor_.dispatch_all();
  }

  reactor::Statistics statistics_;
  FakeReactor reactor_{statistics_};
  net::Context context_;
  base::UniqueFd far_;
  std::unique_ptr<Connection> connection_;
};

}  // namespace rloop::test
