// Reads the clock and converts; see clock.hpp.
#include "base/clock.hpp"

#include <time.h>

#include <algorithm>
#include <cmath>

namespace rloop::base {

int64_t now_ns() {
  timespec now;
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<int64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
}

double due_before(double now, double resolution) {
  double ulp = std::nextafter(std::fabs(now), INFINITY) - std::fabs(now);
  return now + std::max(resolution, ulp);
}

int64_t wait_ns(double now, double deadline) {
  constexpr double kLongestSeconds = 24 * 3600;
  if (std::isinf(deadline) && deadline > 0) return kNever;
  double seconds = deadline - now;
  if (!(seconds > 0)) return 0;
  return static_cast<int64_t>(std::ceil(std::min(seconds, kLongestSeconds) * 1e9));
}

}  // namespace rloop::base
