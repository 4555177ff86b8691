// A ring reactor for the tests of what only it does; skipped with the reason where there is no
// io_uring.
#pragma once

#include <gtest/gtest.h>

#include <memory>

#include "net/context.hpp"
#include "reactor/uring/ring_reactor.hpp"

namespace rloop::test {

class RingTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!reactor::probe_io_uring().capabilities.ring) {
      GTEST_SKIP() << reactor::probe_io_uring().reason;
    }
    ring_ = std::make_unique<reactor::RingReactor>(reactor::Config{}, statistics_);
    context_.reactor = ring_.get();
  }

  reactor::Statistics statistics_;
  std::unique_ptr<reactor::RingReactor> ring_;  // null where the test is skipped
  net::Context context_;
};

}  // namespace rloop::test
