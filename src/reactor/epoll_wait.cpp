// epoll_wait or epoll_pwait2; see epoll_wait.hpp.
#include "reactor/epoll_wait.hpp"

#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <ctime>

#include "base/clock.hpp"

namespace rloop::reactor {

base::Result EpollWait::wait(int epoll_fd, std::span<epoll_event> events, int64_t timeout_ns) {
  return base::Result::from_call(count_of_events(epoll_fd, events, timeout_ns));
}

int EpollWait::count_of_events(int epoll_fd, std::span<epoll_event> events, int64_t timeout_ns) {
  int capacity = static_cast<int>(events.size());
  if (timeout_ns == 0) return ::epoll_wait(epoll_fd, events.data(), capacity, 0);
  if (timeout_ns == base::kNever) return ::epoll_wait(epoll_fd, events.data(), capacity, -1);
  if (has_pwait2_) {
    timespec timeout{.tv_sec = timeout_ns / 1'000'000'000, .tv_nsec = timeout_ns % 1'000'000'000};
    long count = ::syscall(SYS_epoll_pwait2, epoll_fd, events.data(), capacity, &timeout, nullptr,
                           size_t{0});
    if (count >= 0 || (errno != ENOSYS && errno != EPERM && errno != EACCES)) {
      return static_cast<int>(count);
    }
    has_pwait2_ = false;
  }
  int64_t timeout_ms = std::min<int64_t>((timeout_ns + 999'999) / 1'000'000, 1 << 30);
  return ::epoll_wait(epoll_fd, events.data(), capacity, static_cast<int>(timeout_ms));
}

}  // namespace rloop::reactor
