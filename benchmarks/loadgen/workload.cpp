// Implements workload.hpp.
#include "workload.hpp"

#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <stdexcept>

namespace loadgen {

namespace {

constexpr int kMaxEvents = 256;
constexpr std::uint64_t kSilenceNs = 100'000'000;

}  // namespace

std::uint64_t now_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1000000000U +
         static_cast<std::uint64_t>(now.tv_nsec);
}

void fail(const std::string& what) {
  throw std::runtime_error(what + ": " + std::strerror(errno));
}

Workload::Workload() : epoll_fd_(epoll_create1(EPOLL_CLOEXEC)) {
  if (epoll_fd_ < 0) {
    fail("epoll_create1");
  }
}

Workload::~Workload() {
  close(epoll_fd_);
}

void Workload::run(double seconds) {
  const std::uint64_t deadline_ns = now_ns() + static_cast<std::uint64_t>(seconds * 1e9);
  sending_ = true;
  start_idle();
  while (now_ns() < deadline_ns) {
    turn(deadline_ns);
  }
}

void Workload::drain(double limit_seconds) {
  const std::uint64_t deadline_ns = now_ns() + static_cast<std::uint64_t>(limit_seconds * 1e9);
  sending_ = false;
  while (busy_count_ > 0) {
    if (now_ns() >= deadline_ns) {
      throw std::runtime_error(std::to_string(busy_count_) +
                               " connections got no complete answer in time");
    }
    turn(deadline_ns);
  }
}

void Workload::turn(std::uint64_t deadline_ns) {
  std::array<epoll_event, kMaxEvents> events;
  const std::uint64_t now = now_ns();
  const std::uint64_t left_ns = deadline_ns > now ? deadline_ns - now : 0;
  const int timeout_ms = static_cast<int>((std::min(left_ns, kSilenceNs) + 999999) / 1000000);
  const int count = epoll_wait(epoll_fd_, events.data(), kMaxEvents, timeout_ms);
  if (count < 0 && errno != EINTR) {
    fail("epoll_wait");
  }
  for (int i = 0; i < count; ++i) {
    const epoll_event& event = events[static_cast<std::size_t>(i)];
    on_ready(event.data.ptr, event.events);
  }
  if (count == 0 && left_ns > kSilenceNs) {
    on_silence();
  }
}

void Workload::watch(int fd, void* connection, std::uint32_t events) {
  epoll_event event{};
  event.events = events;
  event.data.ptr = connection;
  if (epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, fd, &event) != 0) {
    fail("epoll_ctl");
  }
}

void Workload::change(int fd, void* connection, std::uint32_t events) {
  epoll_event event{};
  event.events = events;
  event.data.ptr = connection;
  if (epoll_ctl(epoll_fd_, EPOLL_CTL_MOD, fd, &event) != 0) {
    fail("epoll_ctl");
  }
}

}  // namespace loadgen
