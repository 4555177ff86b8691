// The loop's clock: CLOCK_MONOTONIC in nanoseconds, the clock of Python's time.monotonic().
//
// Deadlines are 64-bit nanoseconds since the clock's own epoch; asyncio speaks in seconds as a
// double. The conversions here never make a timer early: a deadline is rounded up until its value
// in seconds is at least what the user asked for.
#pragma once

#include <cstdint>
#include <limits>

namespace rloop::base {

inline constexpr int64_t kNever = std::numeric_limits<int64_t>::max();

// Nanoseconds of CLOCK_MONOTONIC.
int64_t now_ns();

// Seconds as time.monotonic() would give them for this instant.
inline double to_seconds(int64_t ns) {
  return static_cast<double>(ns) / 1e9;
}

// The first nanosecond whose to_seconds() is >= seconds. Values beyond the range are clamped:
// +inf and NaN give kNever (such a timer never runs), -inf the smallest value.
int64_t deadline_from_seconds(double seconds);

}  // namespace rloop::base
