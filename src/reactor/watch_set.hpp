// Level-triggered readiness of descriptors that are not ours: add_reader, add_writer, sock_*.
//
// A table fd -> who waits for which direction, kept in an epoll set. The epoll reactor lends its
// own set; the ring reactor has a private one and polls it with one operation, because the ring
// has no level-triggered poll (KERNEL.md 6). asyncio's contract comes with epoll: EPERM for
// regular files, errors and hang-ups wake both directions.
//
// A persistent Watcher is told with every wait. One-shot waiters are Poll operations, which leave
// their fd registered but disabled (EPOLLONESHOT): the next wait costs one epoll_ctl, not two,
// and a number that was closed and re-used in between is noticed by ENOENT. Operations on owned
// descriptors wait here too where the ring's own poll will not do (op::Readiness).
#pragma once

#include <sys/epoll.h>

#include <cerrno>
#include <cstdint>
#include <memory>
#include <unordered_map>

#include "op/op.hpp"
#include "reactor/reactor.hpp"

namespace rloop::reactor {

class WatchSet {
 public:
  // `tag`, one bit, is or-ed into epoll_event.data.u64, whose upper half is the fd.
  WatchSet(int epoll_fd, uint64_t tag, Statistics& statistics)
      : epoll_fd_(epoll_fd), tag_(tag), statistics_(statistics) {}

  base::Result watch(int fd, op::Direction direction, Watcher& watcher);
  bool unwatch(int fd, op::Direction direction);
  // Waits once; `operation` is in the set until it is ready or removed.
  base::Result wait_once(op::Operation& operation);
  void remove(op::Operation& operation);
  // The owner is about to close the descriptor; nobody waits for it any more.
  void forget(int fd);

  // Reports an event of the epoll set: persistent watchers are told, one-shot operations are
  // unlinked and handed to `ready(operation, result)`; the result is the events, as poll(2) says.
  template <class Ready>
  void report(const epoll_event& event, Ready ready) {
    Entry* entry = find(fd_of(event));
    if (!entry || !is_of(*entry, event)) return;
    entry->enabled = entry->enabled && !entry->one_shot;
    for (int direction : {0, 1}) {
      if (!(event.events & (kMask[direction] | EPOLLERR | EPOLLHUP))) continue;
      while (!entry->waiting[direction].empty())
        ready(entry->waiting[direction].pop_front(), base::Result(static_cast<int>(event.events)));
      if (Watcher* watcher = entry->watcher[direction]) watcher->on_ready();
      // The watcher may have removed itself, and its entry with it.
      entry = find(fd_of(event));
      if (!entry || !is_of(*entry, event)) return;
    }
    update(*entry);
  }

  // In the child of a fork: the set is the parent's. Who waits stays in the table.
  void forget_set();
  // Another one; complete() tells it of everything in the table.
  void adopt_set(int epoll_fd) {
    epoll_fd_ = epoll_fd;
    complete_ = false;
  }
  // The first error of a watched descriptor (EBADF: it was closed meanwhile), again until nobody
  // watches it; one-shot operations that fail are handed to `failed(operation, result)`.
  template <class Failed>
  base::Result complete(Failed failed) {
    base::Result first(0);
    if (complete_) return first;
    for (auto next = entries_.begin(); next != entries_.end();) {  // update may erase the entry
      Entry* entry = (next++)->second.get();
      base::Result result = update(*entry);
      if (result.is(EINVAL)) result = base::Result::error(EBADF);  // the set got its number
      if (result.ok()) continue;
      for (auto& waiting : entry->waiting) {
        while (!waiting.empty())
          failed(waiting.pop_front(), result);
      }
      if (first.ok() && (entry->watcher[0] || entry->watcher[1])) first = result;
    }
    complete_ = first.ok();
    return first;
  }

  void move_to(Reactor& other);
  // Takes every one-shot operation out of the set.
  template <class Take>
  void take_waiting(Take take) {
    for (auto& [fd, entry] : entries_) {
      for (auto& waiting : entry->waiting) {
        while (!waiting.empty())
          take(waiting.pop_front());
      }
    }
  }

 private:
  static constexpr uint32_t kMask[2] = {EPOLLIN, EPOLLOUT};
  struct Entry {
    int fd;
    Watcher* watcher[2] = {nullptr, nullptr};
    base::IntrusiveList<op::Operation, op::OperationListTag> waiting[2];
    uint32_t mask = 0;
    // Events come home a while after the wait: meanwhile the number may have become another file's.
    uint32_t generation = 0;
    bool registered = false;  // known to the epoll set
    bool enabled = false;     // ... and not disabled by EPOLLONESHOT
    bool one_shot = false;
  };

  static int fd_of(const epoll_event& event) { return static_cast<int>(event.data.u64 >> 32); }
  uint64_t data_of(const Entry& entry) const {
    return (static_cast<uint64_t>(entry.fd) << 32) | (entry.generation << 1) | tag_;
  }
  bool is_of(const Entry& entry, const epoll_event& event) const {
    return event.data.u64 == data_of(entry);
  }
  Entry* find(int fd);
  Entry& entry_of(int fd);
  base::Result update(Entry& entry, bool force = false);
  void take_out(Entry& entry);
  base::Result control(Entry& entry, uint32_t events);

  int epoll_fd_;
  uint32_t generations_ = 0;
  bool complete_ = true;  // the epoll set knows what the table does
  uint64_t tag_;
  Statistics& statistics_;
  // Not absl's: its table is broken when it cannot grow for want of memory.
  std::unordered_map<int, std::unique_ptr<Entry>> entries_;
};

}  // namespace rloop::reactor
