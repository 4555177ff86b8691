// Keeps the epoll set in step with the table; see watch_set.hpp.
#include "reactor/watch_set.hpp"

#include <cerrno>
#include <new>
#include <utility>

namespace rloop::reactor {

base::Result WatchSet::watch(int fd, op::Direction direction, Watcher& watcher) {
  Entry& entry = entry_of(fd);
  Watcher*& place = entry.watcher[static_cast<int>(direction)];
  Watcher* before = place;
  place = &watcher;
  // Told to the kernel even when the mask is the same: the number may be another file by now.
  base::Result result = update(entry, true);
  if (!result.ok()) {
    place = before;
    if (!before) update(entry);
  }
  return result;
}

bool WatchSet::unwatch(int fd, op::Direction direction) {
  Entry* entry = find(fd);
  if (!entry) return false;
  Watcher*& place = entry->watcher[static_cast<int>(direction)];
  if (!place) return false;
  place = nullptr;
  update(*entry);
  return true;
}

base::Result WatchSet::wait_once(op::Operation& operation) {
  if (operation.descriptor().number() < 0) return base::Result::error(EBADF);
  Entry* waited;
  try {
    waited = &entry_of(operation.descriptor().fd);
  } catch (const std::bad_alloc&) {
    return base::Result::error(ENOMEM);
  }
  Entry& entry = *waited;
  // Whoever is in the entry already may wait for a file that was closed: then the set does not have
  // the one that has the number now.
  bool others = entry.watcher[0] || entry.watcher[1] || !entry.waiting[0].empty() ||
                !entry.waiting[1].empty();
  entry.waiting[static_cast<int>(operation.direction())].push_back(operation);
  base::Result result = update(entry, others);
  if (!result.ok()) {
    operation.unlink();
    update(entry);
  }
  return result;
}

void WatchSet::remove(op::Operation& operation) {
  operation.unlink();
  if (Entry* entry = find(operation.descriptor().fd)) update(*entry);
}

void WatchSet::forget(int fd) {
  Entry* entry = find(fd);
  bool used = entry && (entry->watcher[0] || entry->watcher[1] || !entry->waiting[0].empty() ||
                        !entry->waiting[1].empty());
  if (entry && !used) take_out(*entry);
}

WatchSet::Entry* WatchSet::find(int fd) {
  auto found = entries_.find(fd);
  return found == entries_.end() ? nullptr : found->second.get();
}

WatchSet::Entry& WatchSet::entry_of(int fd) {
  if (Entry* known = find(fd)) return *known;
  auto made = std::make_unique<Entry>();  // first: without memory the table stays as it is
  made->fd = fd;
  made->generation = ++generations_;
  return *entries_.emplace(fd, std::move(made)).first->second;
}

base::Result WatchSet::update(Entry& entry, bool force) {
  uint32_t wanted = 0;
  for (int direction : {0, 1}) {
    if (entry.watcher[direction] || !entry.waiting[direction].empty()) wanted |= kMask[direction];
  }
  if (wanted == 0) {
    if (entry.registered && !entry.enabled) return base::Result(0);  // parked, for the next wait
    take_out(entry);
    return base::Result(0);
  }
  bool one_shot = !entry.watcher[0] && !entry.watcher[1];
  bool in_step =
      entry.registered && entry.enabled && entry.mask == wanted && entry.one_shot == one_shot;
  if (in_step && !force) return base::Result(0);
  uint32_t former_generation = entry.generation;
  if (force) entry.generation = ++generations_;  // what was collected for it may be a former file's
  base::Result result = control(entry, wanted | (one_shot ? uint32_t{EPOLLONESHOT} : 0));
  if (!result.ok()) {
    entry.generation = former_generation;
    return result;
  }
  entry.mask = wanted;
  entry.one_shot = one_shot;
  entry.registered = entry.enabled = true;
  return result;
}

void WatchSet::take_out(Entry& entry) {
  if (entry.registered) {
    ++statistics_.syscalls;
    // Fails when the user closed the fd first, which removed it from the set already.
    ::epoll_ctl(epoll_fd_, EPOLL_CTL_DEL, entry.fd, nullptr);
  }
  entries_.erase(entry.fd);
}

base::Result WatchSet::control(Entry& entry, uint32_t events) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = data_of(entry);
  int first = entry.registered ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
  ++statistics_.syscalls;
  base::Result result = base::Result::from_call(::epoll_ctl(epoll_fd_, first, entry.fd, &event));
  // The table and the set disagree only after the user closed (and re-used) the number.
  bool stale = entry.registered ? result.is(ENOENT) : result.is(EEXIST);
  if (!stale) return result;
  int second = entry.registered ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
  ++statistics_.syscalls;
  return base::Result::from_call(::epoll_ctl(epoll_fd_, second, entry.fd, &event));
}

void WatchSet::forget_set() {
  epoll_fd_ = -1;
  std::erase_if(entries_, [](auto& item) {
    Entry& entry = *item.second;
    entry.registered = entry.enabled = false;
    return !entry.watcher[0] && !entry.watcher[1] && entry.waiting[0].empty() &&
           entry.waiting[1].empty();
  });
}

void WatchSet::move_to(Reactor& other) {
  for (auto& [fd, entry] : entries_) {
    for (int direction : {0, 1}) {
      while (!entry->waiting[direction].empty()) {
        op::Operation& operation = entry->waiting[direction].pop_front();
        other.take_over(operation);
      }
      if (Watcher* watcher = entry->watcher[direction]) {
        other.watch(fd, static_cast<op::Direction>(direction), *watcher);
      }
    }
  }
  entries_.clear();
}

}  // namespace rloop::reactor
