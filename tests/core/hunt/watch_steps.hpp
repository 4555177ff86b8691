// What can happen to a WatchSet; watch_world.cpp says what each does. `who` is the number of the
// descriptor, `size` the direction, the watcher, the operation or the action.
#pragma once

#include "hunt/steps.hpp"

namespace rloop::hunt::watch {

enum Kind : uint8_t {
  watch,
  unwatch,
  wait_once,
  remove,      // of a one-shot wait
  forget,      // the owner is about to close it
  close,       // by the user, behind the set's back
  close_kept,  // the same, but a forked child keeps the file
  reopen,      // the number is another file now
  react,       // inside the next event of the number
  readiness,   // of the file, in both directions
  refuse,      // the next epoll_ctl fails
  report,
  fork,
  kind_count
};

inline constexpr StepName kNames[] = {
    {"watch", 24}, {"unwatch", 14},   {"wait_once", 20}, {"remove", 8}, {"forget", 4},
    {"close", 6},  {"close_kept", 3}, {"reopen", 12},    {"react", 14}, {"readiness", 24},
    {"refuse", 5}, {"report", 30},    {"fork", 2},
};
static_assert(std::size(kNames) == kind_count);

}  // namespace rloop::hunt::watch
