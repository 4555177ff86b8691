// A clock that goes on only where the test says so: how busy the machine is does not matter then.
//
// Takes the place of CLOCK_MONOTONIC for the core while one exists, in the executables that are
// linked with --wrap=clock_gettime (tests/meson.build).
#pragma once

#include <cstdint>

namespace rloop::test {

class TestClock {
 public:
  TestClock();
  TestClock(const TestClock&) = delete;
  TestClock& operator=(const TestClock&) = delete;
  ~TestClock();

  void advance(int64_t by_ns) { now_ns_ += by_ns; }
  int64_t now_ns() const { return now_ns_; }

 private:
  int64_t now_ns_ = 1'000'000'000;
};

}  // namespace rloop::test
