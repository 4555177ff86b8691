// What can happen to a Listener; listener_world.cpp says what each does.
#pragma once

#include "hunt/steps.hpp"

namespace rloop::hunt::listener {

enum Kind : uint8_t {
  start,
  stop,
  abandon,
  close_number,  // the program closes the listening socket behind its back
  react,         // who: inside the next event of this sort, size: does this
  connect,       // so many
  refuse,        // the next accept fails
  advance,
  end,  // the poll ends with an errno
  dispatch,
  turn,
  clock,
  interrupt,
  kind_count
};

inline constexpr StepName kNames[] = {
    {"start", 20},   {"stop", 2},    {"abandon", 1},   {"close_number", 1}, {"react", 14},
    {"connect", 24}, {"refuse", 12}, {"advance", 24},  {"end", 8},          {"dispatch", 24},
    {"turn", 12},    {"clock", 10},  {"interrupt", 3},
};
static_assert(std::size(kNames) == kind_count);

}  // namespace rloop::hunt::listener
