// What can happen to a Stream; stream_world.cpp says what each does. `who` is the stream unless it
// says otherwise. A new step is a line in both lists and a case there; it changes what seeds mean.
#pragma once

#include "hunt/steps.hpp"

namespace rloop::hunt::stream {

enum Kind : uint8_t {
  // Calls of the user.
  write,
  write_at_once,
  append,
  push,
  write_eof,
  close,
  abort,
  abandon,
  pause,
  resume,
  reader_kind,
  own_memory,  // size: of the reader's own buffer
  flush_now,
  flush_if_few,
  close_number,  // the program closes the socket behind the stream's back
  react,         // who: inside the next event of this sort, size: does this
  // The kernel and the peer.
  data,
  end_of_data,
  reset,
  room,     // the peer takes size bytes
  advance,  // who: the operation in flight goes as far as it can, size: takes at most so much
  end,      // who: the operation in flight ends, size: with this errno
  refuse,   // the next system call of its kind fails with an errno, or is short
  cancels,  // size: which of the cancelled operations win the race
  hang_up,  // polls for room come back though there is none
  // The loop.
  turn,
  enter,
  dispatch,
  dispatch_ends,
  dispatch_others,
  flush_dirty_now,
  hand_over,
  clock,
  asleep,        // another thread calls while the loop waits
  loop_running,  // stops or goes on
  interrupt,     // an exit leaves the next event
  quiesce,
  move,  // to another thread
  kind_count
};

inline constexpr StepName kNames[] = {
    {"write", 24},          {"write_at_once", 4},
    {"append", 3},          {"push", 3},
    {"write_eof", 2},       {"close", 2},
    {"abort", 1},           {"abandon", 1},
    {"pause", 8},           {"resume", 10},
    {"reader_kind", 4},     {"own_memory", 4},
    {"flush_now", 2},       {"flush_if_few", 2},
    {"close_number", 1},    {"react", 18},
    {"data", 24},           {"end_of_data", 2},
    {"reset", 1},           {"room", 12},
    {"advance", 24},        {"end", 8},
    {"refuse", 6},          {"cancels", 8},
    {"hang_up", 2},         {"turn", 10},
    {"enter", 14},          {"dispatch", 18},
    {"dispatch_ends", 3},   {"dispatch_others", 3},
    {"flush_dirty_now", 1}, {"hand_over", 3},
    {"clock", 3},           {"asleep", 2},
    {"loop_running", 2},    {"interrupt", 2},
    {"quiesce", 1},         {"move", 2},
};
static_assert(std::size(kNames) == kind_count);

}  // namespace rloop::hunt::stream
