// From the linker's name to the clock that exists; see test_clock.hpp.
#include "net/test_clock.hpp"

#include <time.h>

namespace {

const rloop::test::TestClock* present = nullptr;

}  // namespace

namespace rloop::test {

TestClock::TestClock() {
  present = this;
}

TestClock::~TestClock() {
  present = nullptr;
}

}  // namespace rloop::test

// NOLINTBEGIN(bugprone-reserved-identifier): the linker makes these names.
extern "C" {
int __real_clock_gettime(clockid_t clock, timespec* now);
int __wrap_clock_gettime(clockid_t clock, timespec* now);

int __wrap_clock_gettime(clockid_t clock, timespec* now) {
  if (!present || clock != CLOCK_MONOTONIC) return __real_clock_gettime(clock, now);
  *now = {.tv_sec = present->now_ns() / 1'000'000'000,
          .tv_nsec = present->now_ns() % 1'000'000'000};
  return 0;
}
}
// NOLINTEND(bugprone-reserved-identifier)
