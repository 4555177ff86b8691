// What can happen to a Datagram; datagram_world.cpp says what each does.
#pragma once

#include "hunt/steps.hpp"

namespace rloop::hunt::datagram {

enum Kind : uint8_t {
  // Calls of the user.
  send,
  send_at_once,
  flush,
  pause,
  resume,
  close,
  abort,
  abandon,
  close_number,
  react,  // who: inside the next event of this sort, size: does this
  // The kernel and the peers.
  arrive,
  arrive_error,
  room,  // for so many datagrams more
  advance,
  end,
  refuse,  // the next send
  cancels,
  // The loop.
  turn,
  enter,
  dispatch,
  dispatch_ends,
  dispatch_others,
  flush_dirty_now,
  hand_over,
  clock,
  loop_running,
  interrupt,
  move,
  kind_count
};

inline constexpr StepName kNames[] = {
    {"send", 28},
    {"send_at_once", 6},
    {"flush", 3},
    {"pause", 8},
    {"resume", 10},
    {"close", 2},
    {"abort", 1},
    {"abandon", 1},
    {"close_number", 1},
    {"react", 18},
    {"arrive", 30},
    {"arrive_error", 4},
    {"room", 10},
    {"advance", 24},
    {"end", 6},
    {"refuse", 8},
    {"cancels", 8},
    {"turn", 10},
    {"enter", 12},
    {"dispatch", 16},
    {"dispatch_ends", 3},
    {"dispatch_others", 3},
    {"flush_dirty_now", 1},
    {"hand_over", 3},
    {"clock", 3},
    {"loop_running", 2},
    {"interrupt", 2},
    {"move", 2},
};
static_assert(std::size(kNames) == kind_count);

}  // namespace rloop::hunt::datagram
