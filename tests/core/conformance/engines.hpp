// The engines that every test of this folder runs on, and the fixture that gives a test one.
//
// A configuration is an engine with some of its abilities masked or its sizes cut: the ring as it
// is, the ring of an older kernel, a ring so small that it overflows all the time, and epoll. A
// test says what is true on all of them; where an engine lacks the thing that is tested, the test
// skips and says why. The fixture attaches the reactor to the test's thread, and at the end it
// drains it: no operation may be left in flight. run_until is the loop of every test.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "base/clock.hpp"
#include "net/stream.hpp"
#include "reactor/reactor.hpp"

namespace rloop::test {

inline constexpr int64_t kSecond_ns = 1'000'000'000;
inline constexpr int64_t kMillisecond_ns = 1'000'000;
// How long a test waits for something that must come. Only a broken test waits so long.
inline constexpr int64_t kPatience_ns = 20 * kSecond_ns;

struct Engine {
  const char* name;
  bool ring;
  reactor::Config config;
};

// Printed by GoogleTest behind the name of a test.
void PrintTo(const Engine& engine, std::ostream* out);

testing::internal::ParamGenerator<Engine> every_engine();
std::string engine_name(const testing::TestParamInfo<Engine>& info);

std::unique_ptr<reactor::Reactor> make_reactor(const Engine& engine,
                                               reactor::Statistics& statistics);

// One turn of a loop: sends what was written, enters the kernel for at most `timeout_ns`, runs what
// came.
void turn(net::Context& context, int64_t timeout_ns);

// Turns until done() or until the time is up; whether it is done.
template <class Predicate>
[[nodiscard]] bool run_until(net::Context& context, Predicate done,
                             int64_t limit_ns = kPatience_ns) {
  const int64_t deadline_ns = base::now_ns() + limit_ns;
  while (!done()) {
    int64_t left_ns = deadline_ns - base::now_ns();
    if (left_ns <= 0) return false;
    turn(context, left_ns);
  }
  return true;
}

class EngineTest : public testing::TestWithParam<Engine> {
 protected:
  void SetUp() override;
  void TearDown() override;

  bool is_ring() const { return GetParam().ring; }
  // Whether op::Recv can be submitted here: with lent buffers, or with the scratch of epoll.
  bool can_lend() const { return !is_ring() || reactor_->capabilities().buffer_ring; }

  void turn(int64_t timeout_ns = 0) { test::turn(context_, timeout_ns); }
  // Turns that must not block, for asserting that something does not happen.
  void turns(int count) {
    for (int i = 0; i < count; ++i)
      turn(0);
  }
  template <class Predicate>
  [[nodiscard]] bool run_until(Predicate done, int64_t limit_ns = kPatience_ns) {
    return test::run_until(context_, done, limit_ns);
  }

  // What a plain far end receives until the end of the stream, while the loop turns.
  std::string read_to_end_in_turns(int fd);

  reactor::Statistics statistics_;
  std::unique_ptr<reactor::Reactor> reactor_;
  net::Context context_;
};

}  // namespace rloop::test
