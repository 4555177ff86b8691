// The watched descriptors of a RingReactor: their events, and the waits that are theirs alone.
//
// The ring polls the watch set, and an epoll_wait then says what is ready. Where nothing but
// watched descriptors has woken the loop for some waits (gRPC, pipes of children, sock_*), and
// nothing else waits in the ring, the wait is in the set itself: a poll of a set through the ring
// costs 3 us a wake more. Then the watch set has the waker's eventfd too, whose read stays in the
// ring. The first operation that wants the ring has it back. Loop's thread; GIL held.
#include <poll.h>
#include <sys/epoll.h>

#include <new>
#include <utility>

#include "reactor/uring/ring_reactor.hpp"

namespace rloop::reactor {

void RingReactor::on_watches_ready(const op::Completion& /*completion*/) {
  size_t direct_count = std::exchange(watch_count_, 0);
  if (ending_) return;
  WatchEvents fresh;
  std::span<const epoll_event> events;
  if (direct_count > 0) {
    events = std::span(*watch_events_).first(direct_count);
  } else {
    ++statistics_.syscalls;
    base::Result count = epoll_wait_.wait(watch_fd_.get(), fresh, 0);
    if (count.ok()) events = std::span(fresh).first(static_cast<size_t>(count.value()));
  }
  size_t place = 0;
  for (const epoll_event& event : events)
    watches_.report(event, [&](op::Operation& operation, base::Result result) {
      arrive_in_batch(operation, result, place++);
    });
  // Goes to the kernel with the next wait, after the watchers' handles had their turn: as long as
  // one is ready the poll completes at once, which is what level-triggered means. (A watcher that
  // was just told may have watched something new and submitted it already.)
  if (watch_poll_.idle()) submit(watch_poll_);
}

// The poll of the watch set is all that the next wait is for.
bool RingReactor::watches_wait_alone() {
  return queued_.holds_only(watch_poll_) && cancels_.empty() && ring_.is_clean() &&
         (in_flight_.empty() || in_flight_.holds_only(waker_.operation()));
}

// Whether the wait that begins is one of the watch set itself.
bool RingReactor::waits_directly() {
  watch_streak_ = watches_wait_alone() ? watch_streak_ + 1 : 0;
  if (watch_streak_ > config_.watches_before_direct && watch_waker()) {
    watch_streak_ = config_.watches_before_direct;
    return true;
  }
  forget_waker();
  return false;
}

bool RingReactor::watch_waker() {
  if (waker_watched_) return true;
  if (!watch_events_) watch_events_.reset(new (std::nothrow) WatchEvents);
  epoll_event event{.events = EPOLLIN, .data = {.u64 = kWakerEvent}};
  ++statistics_.syscalls;
  waker_watched_ = watch_events_ && waker_.fd() >= 0 &&
                   ::epoll_ctl(watch_fd_.get(), EPOLL_CTL_ADD, waker_.fd(), &event) == 0;
  if (!waker_watched_) watch_streak_ = 0;
  return waker_watched_;
}

void RingReactor::forget_waker() {
  if (!std::exchange(waker_watched_, false)) return;
  ++statistics_.syscalls;
  ::epoll_ctl(watch_fd_.get(), EPOLL_CTL_DEL, waker_.fd(), nullptr);
}

// The events wait for the poll of the set to come home, as from the ring.
base::Result RingReactor::collect_watches() {
  watched_at_ = base::ticks();
  if (waited_.is(EINTR)) return base::Result(0);
  if (!waited_.ok()) return waited_;
  bool woken = false;
  std::span<epoll_event> events = std::span(*watch_events_);
  for (const epoll_event& event : events.first(static_cast<size_t>(waited_.value()))) {
    if (event.data.u64 == kWakerEvent) {
      woken = true;
    } else {
      events[watch_count_++] = event;
    }
  }
  if (watch_count_ > 0) {
    RLOOP_ASSERT(watch_poll_.state() == op::State::queued, "watches were reported to nobody");
    watch_poll_.unlink();
    arrive(watch_poll_, base::Result(POLLIN), 0, true);
  }
  if (!woken) return base::Result(0);
  ++statistics_.syscalls;
  base::Result entered = ring_.enter(0);  // where the waker's read is
  collect_completions();
  return entered;
}

}  // namespace rloop::reactor
