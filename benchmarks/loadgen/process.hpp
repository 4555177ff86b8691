// What the programs of the benchmarks set for their own process: the descriptors they may have, and
// how long they may run.
#pragma once

#include <sys/resource.h>
#include <sys/time.h>

// A thousand connections exceed the usual soft limit of 1024 descriptors.
inline void raise_descriptor_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
  }
}

// SIGALRM comes after that time; the caller has a handler for it.
inline void start_alarm(double seconds) {
  itimerval timer{};
  timer.it_value.tv_sec = static_cast<time_t>(seconds);
  const double rest = seconds - static_cast<double>(timer.it_value.tv_sec);
  timer.it_value.tv_usec = static_cast<suseconds_t>(rest * 1e6);
  setitimer(ITIMER_REAL, &timer, nullptr);
}
