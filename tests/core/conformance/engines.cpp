// The list of configurations, and the life of a test on one of them; see engines.hpp.
//
// To run everything on a new engine, or on the ring of yet another old kernel, add it to engines().
// The tiny ring is the one that finds most: every burst overflows its completions and every message
// is longer than its two buffers.
#include "conformance/engines.hpp"

#include <ostream>
#include <vector>

#include "conformance/sockets.hpp"

namespace rloop::test {
namespace {

std::vector<Engine> engines() {
  Engine ring{.name = "Ring", .ring = true, .config = {}};
  Engine single_shot{.name = "RingWithoutMultishot", .ring = true, .config = {}};
  single_shot.config.allowed.multishot_recv = false;
  single_shot.config.allowed.multishot_recvmsg = false;
  Engine no_buffers{.name = "RingWithoutBufferRing", .ring = true, .config = {}};
  no_buffers.config.allowed.buffer_ring = false;
  // Every burst overflows the completions, and every message needs several buffers.
  Engine tiny{.name = "TinyRing", .ring = true, .config = {}};
  tiny.config.cq_entries = 8;
  tiny.config.buffer_count = 2;
  tiny.config.buffer_size = 64;
  tiny.config.datagram_count = 2;
  // Whenever only watched descriptors wait, the wait is of their set.
  Engine direct{.name = "RingThatWaitsDirectly", .ring = true, .config = {}};
  direct.config.watches_before_direct = 0;
  Engine epoll{.name = "Epoll", .ring = false, .config = {}};
  return {ring, single_shot, no_buffers, tiny, direct, epoll};
}

}  // namespace

void PrintTo(const Engine& engine, std::ostream* out) {
  *out << engine.name;
}

testing::internal::ParamGenerator<Engine> every_engine() {
  return testing::ValuesIn(engines());
}

std::string engine_name(const testing::TestParamInfo<Engine>& info) {
  return info.param.name;
}

std::unique_ptr<reactor::Reactor> make_reactor(const Engine& engine,
                                               reactor::Statistics& statistics) {
  return engine.ring ? reactor::make_ring_reactor(engine.config, statistics)
                     : reactor::make_epoll_reactor(engine.config, statistics);
}

void turn(net::Context& context, int64_t timeout_ns) {
  context.flush_dirty();
  base::Result result = context.reactor->wait(timeout_ns);
  ASSERT_TRUE(result.ok()) << "wait: errno " << result.error_number();
  context.reactor->dispatch();
}

void EngineTest::SetUp() {
  if (is_ring() && !reactor::probe_io_uring().capabilities.ring) {
    GTEST_SKIP() << reactor::probe_io_uring().reason;
  }
  reactor_ = make_reactor(GetParam(), statistics_);
  context_.reactor = reactor_.get();
  base::Result attached = reactor_->attach_to_thread();
  ASSERT_TRUE(attached.ok()) << "attach_to_thread: errno " << attached.error_number();
}

std::string EngineTest::read_to_end_in_turns(int fd) {
  std::string bytes;
  const int64_t deadline_ns = base::now_ns() + kPatience_ns;
  while (base::now_ns() < deadline_ns) {
    turn(0);
    bytes += read_available(fd);
    if (at_end_of_stream(fd)) return bytes;
  }
  ADD_FAILURE() << "the stream did not end";
  return bytes;
}

void EngineTest::TearDown() {
  if (!reactor_) return;
  EXPECT_EQ(reactor_->drain(kSecond_ns), 0U);
}

}  // namespace rloop::test
