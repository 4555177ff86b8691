// What waits in the containers of timers: a value, when it is due, and the order of insertion.
//
// Equal deadlines come out in the order they went in, whichever container each waits in. Owns the
// value; knows neither clock nor Python.
#pragma once

#include <cstddef>
#include <cstdint>

namespace rloop::base {

// The place of a value that stands nowhere.
inline constexpr size_t kNoTimerPlace = static_cast<size_t>(-1);

template <class Value>
struct TimerEntry {
  double deadline = 0;
  uint64_t sequence = 0;
  Value value{};

  bool earlier_than(const TimerEntry& other) const {
    return deadline != other.deadline ? deadline < other.deadline : sequence < other.sequence;
  }
};

}  // namespace rloop::base
