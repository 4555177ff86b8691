// The loop's clock: CLOCK_MONOTONIC in nanoseconds, the clock of Python's time.monotonic().
//
// The engines wait for 64-bit nanoseconds; asyncio speaks in seconds as a double. What is due and
// how long to wait is asyncio's arithmetic, for a program may put another clock in place of this
// one.
#pragma once

#include <cstdint>
#include <limits>

namespace rloop::base {

inline constexpr int64_t kNever = std::numeric_limits<int64_t>::max();

// Nanoseconds of CLOCK_MONOTONIC.
int64_t now_ns();

// A counter that the processor keeps, read in less than half the time of the clock (9 ns instead of
// 21 on an EPYC). For rules of thumb only: cores may differ, and its rate is not looked up.
inline uint64_t ticks() {
#if defined(__x86_64__)
  return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
  uint64_t count;
  asm volatile("mrs %0, cntvct_el0" : "=r"(count));
  return count;
#else
  return static_cast<uint64_t>(now_ns());
#endif
}

// So many, more or less: within a factor of three for processors of 1 to 6 GHz.
inline uint64_t ticks_of(int64_t ns) {
#if defined(__x86_64__)
  return static_cast<uint64_t>(ns) * 5 / 2;
#elif defined(__aarch64__)
  uint64_t per_second;
  asm("mrs %0, cntfrq_el0" : "=r"(per_second));
  return static_cast<uint64_t>(ns) * per_second / 1'000'000'000;
#else
  return static_cast<uint64_t>(ns);
#endif
}

// Seconds as time.monotonic() would give them for this instant.
inline double to_seconds(int64_t ns) {
  return static_cast<double>(ns) / 1e9;
}

// The resolution of CLOCK_MONOTONIC in seconds, on every Linux with high-resolution timers.
inline constexpr double kResolution = 1e-9;

// At `now` the timers before this time are due: those that the clock cannot tell from now. The next
// representable time, when that is further away than the clock's resolution; without it a timer for
// `now` would not be due before the clock goes on.
double due_before(double now, double resolution);

// How long to wait at `now` for `deadline`, both in seconds: nanoseconds, rounded up; 0 when it has
// come. A day for anything longer (another clock may run faster), kNever for one without end.
int64_t wait_ns(double now, double deadline);

}  // namespace rloop::base
