// What can happen to streams on a real engine; real_world.cpp says what each does. `who` is the
// stream unless it says otherwise.
#pragma once

#include "hunt/steps.hpp"

namespace rloop::hunt::real {

enum Kind : uint8_t {
  // Calls of the user.
  write,  // eight times size bytes
  write_at_once,
  write_eof,
  close,
  abort,
  abandon,
  pause,
  resume,
  reader_kind,
  own_memory,
  flush_now,
  close_number,
  react,  // who: inside the next event of this sort, size: does this
  watch,  // or no longer
  poll,   // a one-shot wait, or its cancel
  // The peer.
  data,
  end_of_data,
  reset,
  take,  // size: so many bytes are read
  // The kernel.
  refuse,        // size: the next call is short, or fails
  refuse_entry,  // what is submitted next ends with an errno
  hold,          // completions are held back for so many turns
  interrupt_wait,
  refuse_ring,  // from now on
  // The loop.
  turn,
  wait,
  dispatch,
  dispatch_ends,
  dispatch_others,
  flush_dirty_now,
  flush,
  asleep,
  loop_running,
  interrupt,
  stop,  // and start again
  move,  // to another thread, and back
  fork,
  kind_count
};

inline constexpr StepName kNames[] = {
    {"write", 28},
    {"write_at_once", 5},
    {"write_eof", 2},
    {"close", 2},
    {"abort", 1},
    {"abandon", 1},
    {"pause", 8},
    {"resume", 10},
    {"reader_kind", 4},
    {"own_memory", 3},
    {"flush_now", 2},
    {"close_number", 1},
    {"react", 18},
    {"watch", 5},
    {"poll", 6},
    {"data", 28},
    {"end_of_data", 2},
    {"reset", 1},
    {"take", 14},
    {"refuse", 14},
    {"refuse_entry", 10},
    {"hold", 3},
    {"interrupt_wait", 4},
    {"refuse_ring", 1},
    {"turn", 40},
    {"wait", 14},
    {"dispatch", 14},
    {"dispatch_ends", 4},
    {"dispatch_others", 4},
    {"flush_dirty_now", 2},
    {"flush", 4},
    {"asleep", 2},
    {"loop_running", 2},
    {"interrupt", 2},
    {"stop", 3},
    {"move", 1},
    {"fork", 1},
};
static_assert(std::size(kNames) == kind_count);

}  // namespace rloop::hunt::real
