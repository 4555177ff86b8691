// The loop of the worlds whose sockets are scripted: a reactor, a context, and what can happen to
// them whoever the sockets' owner is.
#pragma once

#include "hunt/failure.hpp"
#include "hunt/script_reactor.hpp"
#include "net/context.hpp"

namespace rloop::hunt {

// In the order in which each world lists them.
enum class LoopStep : uint8_t {
  turn,
  enter,
  dispatch,
  dispatch_ends,
  dispatch_others,
  flush_dirty_now,
  hand_over,
};
inline constexpr int kLoopStepCount = 7;

struct ScriptedLoop {
  explicit ScriptedLoop(const reactor::Capabilities& capabilities)
      : reactor(statistics, capabilities), context(&reactor) {}

  void take(LoopStep step) {
    switch (step) {
      case LoopStep::turn:
        return turn();
      case LoopStep::enter:
        context.flush_dirty();
        reactor.wait(0);
        return;
      case LoopStep::dispatch:
        return reactor.dispatch();
      case LoopStep::dispatch_ends:
        return reactor.dispatch_ends();
      case LoopStep::dispatch_others:
        return reactor.dispatch_others();
      case LoopStep::flush_dirty_now:
        return context.flush_dirty_now();
      case LoopStep::hand_over:
        return context.hand_over_if_due();
    }
  }

  // One in which the kernel does all it can.
  void go_on() {
    turn();
    reactor.run_cancels(0xffff);
    reactor.advance_all();
    for (int i = 0; i < 3; ++i)
      reactor.dispatch();
  }

  // Until `count()`, of what was received and sent, stays as it is.
  template <class Count>
  void settle(Count count) {
    for (int quiet = 0, round = 0; quiet < 4; ++round) {
      expect(round < 100'000, "it never comes to rest");
      uint64_t before = count();
      go_on();
      quiet = count() != before || context.has_dirty() ? 0 : quiet + 1;
    }
  }

  // Where nothing happens nothing is tried again and again.
  void expect_no_spinning() {
    uint64_t before = statistics.completions + statistics.syscalls;
    go_on();
    go_on();
    expect(statistics.completions + statistics.syscalls == before, "it spins");
  }

  void expect_at_rest() {
    for (int round = 0; round < 20 && !reactor.at_rest(); ++round)
      go_on();
    expect(reactor.at_rest() && !context.has_dirty(), "an operation did not come home");
  }

  reactor::Statistics statistics;
  ScriptReactor reactor;
  net::Context context;

 private:
  void turn() {
    context.begin_turn(reactor.undispatched_count(net::Context::kMuch));
    context.flush_dirty();
    reactor.wait(0);
    reactor.dispatch_ends();
    reactor.dispatch_others();
  }
};

}  // namespace rloop::hunt
