// Reads the clock and converts; see clock.hpp.
#include "base/clock.hpp"

#include <time.h>

#include <cmath>

namespace rloop::base {

int64_t now_ns() {
  timespec now;
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<int64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
}

int64_t deadline_from_seconds(double seconds) {
  double ns = std::ceil(seconds * 1e9);
  if (!(ns < 9.2e18)) return kNever;  // also NaN
  if (ns < -9.2e18) return std::numeric_limits<int64_t>::min();
  auto deadline = static_cast<int64_t>(ns);
  while (to_seconds(deadline) < seconds)
    ++deadline;  // the product above was rounded down
  return deadline;
}

}  // namespace rloop::base
