// What a loop remembers of its slow turns and callbacks; loop_observation.cpp goes by it.
#pragma once

#include <cstdint>

namespace rloop::native {

// Times are of base::now_ns().
struct SlowTurns {
  double least_seconds = 0.1;      // slow_callback_duration
  int64_t least_ns = 100'000'000;  // the same
  uint64_t turn_count = 0, callback_count = 0;
  int64_t last_turn_ns = 0;      // when
  bool times_callbacks = false;  // for a while after a slow turn
  bool is_timing = false;        // a callback that runs
  int64_t times_until_ns = 0;
  int64_t timed_for_ns = 0;      // from the last slow turn on; 0: never
  int64_t reports_since_ns = 0;  // so many since then
  int report_count = 0;
};

}  // namespace rloop::native
