// One wait in an epoll set, to the nanosecond where the kernel can.
//
// Shared by the epoll reactor and by the ring's, which waits in its watch set where nothing else
// waits. Without epoll_pwait2(2) (5.11, or a sandbox that refuses it) timeouts are rounded up to
// milliseconds: a timer is never early. Knows neither set nor events. No GIL.
#pragma once

#include <sys/epoll.h>

#include <cstdint>
#include <span>

#include "base/result.hpp"

namespace rloop::reactor {

class EpollWait {
 public:
  // How many events came, or an errno. 0 ns: does not wait; base::kNever: until one comes.
  base::Result wait(int epoll_fd, std::span<epoll_event> events, int64_t timeout_ns);

 private:
  int count_of_events(int epoll_fd, std::span<epoll_event> events, int64_t timeout_ns);

  bool has_pwait2_ = true;
};

}  // namespace rloop::reactor
