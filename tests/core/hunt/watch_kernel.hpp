// epoll(7) in memory: files behind numbers, and sets that hold files.
//
// What matters to a WatchSet is here: a registration belongs to a file and the number under which
// it was added; closing the last copy of the file ends it, but a copy in a forked child keeps it,
// and then nobody here reaches it any more.
#pragma once

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>
#include <vector>

#include "hunt/failure.hpp"
#include "hunt/stream_kernel.hpp"
#include "hunt/system_calls.hpp"

namespace rloop::hunt {

class WatchKernel final : public SystemCalls {
 public:
  static constexpr size_t kNumberCount = 3;
  static constexpr int kSet = kFirstNumber + 100;

  struct Registration {
    int fd;
    uint32_t file;
    uint32_t events;
    uint64_t data;
    bool enabled;
  };

  // The file of a number, 0: closed. A higher one is a newer one.
  std::array<uint32_t, kNumberCount> file{1, 2, 3};
  std::vector<uint32_t> ready = {0, 0, 0, 0};  // events, by file
  std::vector<bool> regular = {false, false, false, false};
  std::vector<bool> kept = {false, false, false, false};  // by a forked child
  std::vector<Registration> registrations;
  int refuse = 0;
  int set = kSet;

  uint32_t ready_of(size_t number) const { return ready[file[number]]; }

  void close_number(size_t number, bool keeps) {
    uint32_t old = std::exchange(file[number], 0);
    if (old == 0) return;
    kept[old] = keeps;
    if (!keeps) std::erase_if(registrations, [&](auto& one) { return one.file == old; });
  }
  void reopen(size_t number, bool is_regular) {
    if (file[number] != 0) return;
    file[number] = static_cast<uint32_t>(ready.size());
    ready.push_back(0);
    regular.push_back(is_regular);
    kept.push_back(false);
  }
  // A file that lives on elsewhere speaks under this number.
  bool haunted(size_t number) const {
    for (const Registration& one : registrations) {
      if (one.fd == kFirstNumber + static_cast<int>(number) && one.file != file[number])
        return true;
    }
    return false;
  }

  int epoll_ctl(int set_fd, int operation, int fd, epoll_event* event) override {
    if (set_fd < kFirstNumber) return SystemCalls::epoll_ctl(set_fd, operation, fd, event);
    expect(set_fd == set, "epoll_ctl on a set that is gone");
    auto number = static_cast<size_t>(fd - kFirstNumber);
    expect(number < kNumberCount, "a number that never was");
    if (file[number] == 0) return failed(EBADF);
    if (regular[file[number]]) return failed(EPERM);
    if (int error = operation == EPOLL_CTL_DEL ? 0 : std::exchange(refuse, 0)) return failed(error);
    auto found = std::find_if(registrations.begin(), registrations.end(),
                              [&](auto& one) { return one.fd == fd && one.file == file[number]; });
    bool known = found != registrations.end();
    if (known == (operation == EPOLL_CTL_ADD)) return failed(known ? EEXIST : ENOENT);
    if (operation == EPOLL_CTL_DEL) {
      registrations.erase(found);
    } else {
      if (!known) found = registrations.insert(found, Registration{fd, file[number], 0, 0, true});
      found->events = event->events;
      found->data = event->data.u64;
      found->enabled = true;
    }
    return 0;
  }

  // All that is ready.
  std::vector<epoll_event> collect() {
    std::vector<epoll_event> events;
    for (Registration& one : registrations) {
      uint32_t now = ready[one.file] & (one.events | EPOLLERR | EPOLLHUP);
      if (!one.enabled || now == 0) continue;
      if (one.events & EPOLLONESHOT) one.enabled = false;
      epoll_event event{};
      event.events = now;
      event.data.u64 = one.data;
      events.push_back(event);
    }
    return events;
  }

 private:
  static int failed(int error_number) {
    errno = error_number;
    return -1;
  }
};

}  // namespace rloop::hunt
