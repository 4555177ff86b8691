// Readiness in, completions out; see epoll_reactor.hpp.
#include "reactor/epoll/epoll_reactor.hpp"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <new>
#include <system_error>
#include <utility>

#include "absl/cleanup/cleanup.h"

namespace rloop::reactor {
namespace {

// epoll_event.data.u64 is a token of ours, whose lowest bit is 0, or an fd with this tag for the
// WatchSet.
constexpr uint64_t kWatchTag = 1;

int make_epoll() {
  int fd = ::epoll_create1(EPOLL_CLOEXEC);
  if (fd < 0) throw std::system_error(errno, std::generic_category(), "epoll_create1");
  return fd;
}

}  // namespace

EpollReactor::EpollReactor(const Config& config, Statistics& statistics)
    : Reactor(config, statistics),
      epoll_fd_(make_epoll()),
      watches_(epoll_fd_.get(), kWatchTag, statistics),
      waker_(*this, /*blocking=*/false) {
  capabilities_ = Capabilities{.ring = false,
                               .multishot_recv = true,
                               .multishot_recvmsg = false,
                               .buffer_ring = false,
                               .no_iowait = false};
  watch_events_.reserve(kMaxBatch);
}

EpollReactor::~EpollReactor() {
  ending_ = true;
  if (!waker_.operation().idle()) finish(waker_.operation(), base::Result::error(ECANCELED));
  while (has_undispatched())
    dispatch();
}

void EpollReactor::submit(op::Operation& operation) {
  if (dead_) return;
  RLOOP_ASSERT(operation.idle(), "an operation was submitted while in flight");
  expect_arrival();
  ++statistics_.submitted;
  operation.set_state(op::State::in_flight);
  op::Descriptor& descriptor = operation.descriptor();
  if (!descriptor.owned) {
    base::Result result = open_set();
    if (result.ok()) result = watches_.wait_once(operation);
    if (!result.ok()) arrive(operation, result, 0, true);
    return;
  }
  in_flight_.push_back(operation);
  op::Operation*& place = descriptor.waiting[static_cast<int>(operation.direction())];
  RLOOP_ASSERT(!place, "two operations of one direction on one descriptor");
  place = &operation;
  if (!descriptor.registered) {
    base::Result result = open_set();
    if (operation.state() != op::State::in_flight) return;  // opening the set registers everything
    if (result.ok()) result = register_descriptor(descriptor);
    if (!result.ok()) return finish(operation, result);
  }
  bool ready = descriptor.ready[static_cast<int>(operation.direction())];
  if (ready && !descriptor.linked()) {
    ready_.push_back(descriptor);
    rouse();
  }
}

void EpollReactor::cancel(op::Operation& operation) {
  if (operation.state() != op::State::in_flight) return;
  if (operation.descriptor().owned) return finish(operation, base::Result::error(ECANCELED));
  watches_.remove(operation);
  arrive(operation, base::Result::error(ECANCELED), 0, true);
}

// Takes an owned operation away from its descriptor; its completion comes with the next dispatch.
void EpollReactor::finish(op::Operation& operation, base::Result result) {
  detach(operation);
  arrive(operation, result, 0, true);
}

// A descriptor without operations may die at any time, so no list may hold it.
void EpollReactor::detach(op::Operation& operation) {
  op::Descriptor& descriptor = operation.descriptor();
  descriptor.waiting[static_cast<int>(operation.direction())] = nullptr;
  operation.unlink();
  if (descriptor.linked() && !descriptor.waiting[0] && !descriptor.waiting[1]) descriptor.unlink();
}

base::Result EpollReactor::register_descriptor(op::Descriptor& descriptor) {
  if (descriptor.registered) return base::Result(0);
  int fd = descriptor.number();
  epoll_event event{};
  event.events = EPOLLIN | EPOLLOUT | EPOLLPRI | EPOLLRDHUP | EPOLLET;
  try {
    event.data.u64 = slots_.take(descriptor);
  } catch (const std::bad_alloc&) {
    return base::Result::error(ENOMEM);
  }
  ++statistics_.syscalls;
  base::Result result =
      base::Result::from_call(::epoll_ctl(epoll_fd_.get(), EPOLL_CTL_ADD, fd, &event));
  // A socket that went through sock_* before it became a transport is parked in the WatchSet.
  if (result.is(EEXIST)) {
    ++statistics_.syscalls;
    result = base::Result::from_call(::epoll_ctl(epoll_fd_.get(), EPOLL_CTL_MOD, fd, &event));
  }
  if (!result.ok()) {
    slots_.free(descriptor);
    return result;
  }
  descriptor.registered = true;
  descriptor.short_read_drains = descriptor.family() != AF_UNIX;
  return result;
}

void EpollReactor::forget(op::Descriptor& descriptor) {
  if (!descriptor.registered) return;
  descriptor.registered = false;
  slots_.free(descriptor);
  if (descriptor.number() < 0) return;  // the number may be registered for another file
  ++statistics_.syscalls;
  ::epoll_ctl(epoll_fd_.get(), EPOLL_CTL_DEL, descriptor.fd, nullptr);
}

base::Result EpollReactor::watch(int fd, op::Direction direction, Watcher& watcher) {
  if (dead_) return base::Result::error(EBADF);
  base::Result result = open_set();
  return result.ok() ? watches_.watch(fd, direction, watcher) : result;
}

bool EpollReactor::unwatch(int fd, op::Direction direction) {
  return watches_.unwatch(fd, direction);
}

bool EpollReactor::needs_poll() {
  return is_time_to_look(waited_at_);
}

void EpollReactor::prepare_wait(int64_t timeout_ns) {
  wait_timeout_ns_ = has_undispatched() ? 0 : timeout_ns;
  lingering_.wait_begins(wait_timeout_ns_);
  ++statistics_.syscalls;
}

void EpollReactor::block() {
  bool found = lingering_.finds(wait_timeout_ns_, [this] {
    waited_ = epoll_wait_.wait(epoll_fd_.get(), events_, 0);
    return !waited_.ok() || waited_.value() > 0;
  });
  if (!found) waited_ = epoll_wait_.wait(epoll_fd_.get(), events_, wait_timeout_ns_);
  sleeping_.store(false, std::memory_order_relaxed);
}

base::Result EpollReactor::collect() {
  waited_at_ = base::ticks();
  statistics_.syscalls += lingering_.take_extra_calls();
  if (waited_.is(EINTR)) return base::Result(0);
  if (!waited_.ok()) return waited_;
  for (const epoll_event& event : std::span(events_).first(static_cast<size_t>(waited_.value()))) {
    if (event.data.u64 & kWatchTag) {
      watch_events_.push_back(event);  // their watchers are told by dispatch
    } else if (op::Descriptor* descriptor = slots_.find(event.data.u64)) {
      note_ready(*descriptor, event.events);
    }
  }
  return base::Result(0);
}

void EpollReactor::note_ready(op::Descriptor& descriptor, uint32_t events) {
  constexpr uint32_t kEnd = EPOLLERR | EPOLLHUP;
  if (events & (EPOLLRDHUP | kEnd)) descriptor.hung_up = true;
  if (events & EPOLLPRI) descriptor.short_read_drains = false;
  if (events & (EPOLLIN | EPOLLRDHUP | kEnd)) descriptor.ready[0] = true;
  if (events & (EPOLLOUT | kEnd)) descriptor.ready[1] = true;
  if (wanted(descriptor) && !descriptor.linked()) ready_.push_back(descriptor);
}

// Somebody waits for a direction that is ready.
bool EpollReactor::wanted(const op::Descriptor& descriptor) {
  return (descriptor.ready[0] && descriptor.waiting[0]) ||
         (descriptor.ready[1] && descriptor.waiting[1]);
}

bool EpollReactor::has_undispatched() const {
  return Reactor::has_undispatched() || !ready_.empty() || !watch_events_.empty();
}

size_t EpollReactor::undispatched_count(size_t most) const {
  return Reactor::undispatched_count(most) + ready_.count_up_to(most);
}

void EpollReactor::report_watches() {
  std::vector<epoll_event> events = std::exchange(watch_events_, {});
  for (const epoll_event& event : events) {
    watches_.report(event, [this](op::Operation& operation, base::Result result) {
      arrive(operation, result, 0, true);
    });
  }
  events.clear();
  watch_events_ = std::move(events);  // its memory is there for the next wait
}

void EpollReactor::dispatch() {
  if (!watch_events_.empty()) report_watches();
  run_batch(begin_batch());
  if (!interrupted_) attempt_ready();
}

void EpollReactor::run_batch() {
  for (Arrival arrival; next_arrival(arrival);) {
    bring_home(*arrival.operation, {.result = arrival.result});
  }
}

// One attempt for each descriptor that is ready now; those that stay ready wait for the next turn.
void EpollReactor::attempt_ready() {
  DescriptorList batch;
  batch.splice_back(ready_);
  absl::Cleanup keep_rest = [&] {  // also when a completion has no memory: no edge comes again
    if (!dead_) return ready_.splice_back(batch);
    while (!batch.empty())
      batch.pop_front();  // forked inside a completion: nothing is attempted any more
  };
  while (!batch.empty() && !interrupted_) {
    op::Descriptor& descriptor = batch.pop_front();
    bool done = false;
    absl::Cleanup keep = [&] {
      if (!done && !dead_ && wanted(descriptor) && !descriptor.linked())
        batch.push_back(descriptor);
    };
    // The writer first: a send that frees the backlog may make the reader's answer possible. But
    // after a hang-up only the reader learns what came, and that it was a reset.
    bool reads_first = descriptor.hung_up;
    attempt_if_ready(descriptor, reads_first ? op::Direction::read : op::Direction::write);
    // An owner never ends inside the completion of an attempt (by then its operations would have
    // been cancelled and detached): the descriptor is still there for its second direction.
    if (dead_ || interrupted_) break;
    attempt_if_ready(descriptor, reads_first ? op::Direction::write : op::Direction::read);
    done = true;
  }
}

void EpollReactor::attempt_if_ready(op::Descriptor& descriptor, op::Direction direction) {
  int index = static_cast<int>(direction);
  if (!descriptor.ready[index] || !descriptor.waiting[index]) return;
  op::Operation& operation = *descriptor.waiting[index];
  op::Attempt attempt = operation.attempt(scratch());
  if (attempt.called) ++statistics_.syscalls;
  if (attempt.result.is_again()) {
    descriptor.mark_drained(direction);
    return;
  }
  if (attempt.drained) descriptor.note_short(direction);
  bool more = operation.multishot() && attempt.result.ok() && !attempt.ended;
  if (more) {
    if (descriptor.ready[index] && !descriptor.linked()) ready_.push_back(descriptor);
  } else {
    detach(operation);
  }
  bring_home(operation, {.result = attempt.result, .more = more, .data = attempt.data});
}

void EpollReactor::wake() {
  if (sleeping_.exchange(false)) waker_.signal();
}

// In the child of a fork there is none at first.
base::Result EpollReactor::open_set() {
  if (epoll_fd_.valid()) return base::Result(0);
  epoll_fd_.reset(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll_fd_.valid()) return base::Result::error(errno);
  watches_.adopt_set(epoll_fd_.get());
  (void)complete_watches();  // whoever runs the loop is told
  in_flight_.for_each([this](op::Operation& operation) {
    base::Result registered = register_descriptor(operation.descriptor());
    if (!registered.ok()) finish(operation, registered);
  });
  return base::Result(0);
}

base::Result EpollReactor::complete_watches() {
  return watches_.complete([this](op::Operation& operation, base::Result failure) {
    arrive(operation, failure, 0, true);
  });
}

void EpollReactor::let_go_of_set() {
  epoll_fd_.reset();
  slots_.for_each([this](op::Descriptor& descriptor) {
    descriptor.registered = false;
    slots_.free(descriptor);
  });
  watches_.forget_set();
  watch_events_.clear();
}

base::Result EpollReactor::attach_to_thread() {
  base::Result renewed = waker_.open_again();
  if (renewed.ok()) renewed = open_set();
  if (renewed.ok()) renewed = complete_watches();
  if (!renewed.ok()) return renewed;
  waker_.arm();
  waited_at_ = 0;  // the first turn of a run looks at the kernel, however short the run
  return base::Result(0);
}

void EpollReactor::give_up(base::Result /*why*/) {
  base::assertion_failed("the epoll reactor is the last resort", __FILE__, __LINE__);
}

void EpollReactor::move_to(Reactor& /*other*/) {
  base::assertion_failed("the epoll reactor is the last resort", __FILE__, __LINE__);
}

size_t EpollReactor::drain(int64_t /*limit_ns*/) {
  ending_ = true;
  in_flight_.for_each(
      [this](op::Operation& operation) { finish(operation, base::Result::error(ECANCELED)); });
  watches_.take_waiting([this](op::Operation& operation) {
    arrive(operation, base::Result::error(ECANCELED), 0, true);
  });
  while (Reactor::has_undispatched())
    dispatch();
  return 0;
}

void EpollReactor::start_over() {
  let_go_of_set();
  waker_.close();
  sleeping_.store(false, std::memory_order_relaxed);
}

void EpollReactor::abandon() {
  in_flight_.for_each([this](op::Operation& operation) {
    detach(operation);
    operation.set_state(op::State::idle);
  });
  watches_.take_waiting([](op::Operation& operation) { operation.set_state(op::State::idle); });
  die();
  while (!ready_.empty())
    ready_.pop_front();
  start_over();
}

std::unique_ptr<Reactor> make_epoll_reactor(const Config& config, Statistics& statistics) {
  return std::make_unique<EpollReactor>(config, statistics);
}

}  // namespace rloop::reactor
