// The epoll reactor: the completion semantics of io_uring on top of readiness.
//
// Each owned descriptor is registered once, edge-triggered in both directions, when its first
// operation is submitted. Readiness is remembered in the Descriptor; an operation whose descriptor
// is ready is attempted in dispatch, a multishot one again on the next turn while the descriptor
// stays ready (fairness: one attempt per descriptor and turn, which for a Stream may be several
// receives of 512 KiB in all). No epoll_ctl until close(2). Foreign descriptors go through the
// WatchSet. Loop's thread, GIL held, except in wait.
#pragma once

#include <sys/epoll.h>

#include <array>
#include <vector>

#include "base/fd.hpp"
#include "reactor/epoll/slot_table.hpp"
#include "reactor/epoll_wait.hpp"
#include "reactor/reactor.hpp"
#include "reactor/waker.hpp"
#include "reactor/watch_set.hpp"

namespace rloop::reactor {

class EpollReactor final : public Reactor {
 public:
  EpollReactor(const Config& config, Statistics& statistics);
  ~EpollReactor() override;

  void submit(op::Operation& operation) override;
  void cancel(op::Operation& operation) override;
  void forget(op::Descriptor& descriptor) override;
  base::Result watch(int fd, op::Direction direction, Watcher& watcher) override;
  bool unwatch(int fd, op::Direction direction) override;
  bool sends_wait_for_room() const override { return true; }
  bool needs_poll() override;
  bool may_have_more() const override {
    return waited_.ok() && static_cast<size_t>(waited_.value()) == kMaxBatch;
  }
  void prepare_wait(int64_t timeout_ns) override;
  void block() override;
  base::Result collect() override;
  void dispatch() override;
  bool has_undispatched() const override;
  size_t undispatched_count(size_t most) const override;
  void wake() override;
  base::Result attach_to_thread() override;
  void quiesce() override {}
  void give_up(base::Result why) override;
  void move_to(Reactor& other) override;
  size_t drain(int64_t limit_ns) override;
  void start_over() override;
  void abandon() override;
  const char* name() const override { return "epoll"; }

 private:
  using DescriptorList = base::IntrusiveList<op::Descriptor, op::DescriptorListTag>;

  using Reactor::run_batch;
  void run_batch() override;
  base::Result open_set();
  base::Result complete_watches();
  void let_go_of_set();
  base::Result register_descriptor(op::Descriptor& descriptor);
  void note_ready(op::Descriptor& descriptor, uint32_t events);
  void attempt_ready();
  void attempt_if_ready(op::Descriptor& descriptor, op::Direction direction);
  void finish(op::Operation& operation, base::Result result);
  void detach(op::Operation& operation);
  static bool wanted(const op::Descriptor& descriptor);
  void report_watches();

  base::UniqueFd epoll_fd_;
  WatchSet watches_;
  SlotTable slots_;  // of the registered descriptors
  DescriptorList ready_;
  base::IntrusiveList<op::Operation, op::OperationListTag> in_flight_;
  std::array<epoll_event, kMaxBatch> events_;
  std::vector<epoll_event> watch_events_;  // of the WatchSet, on their way to dispatch
  uint64_t waited_at_ = 0;                 // base::ticks()
  int64_t wait_timeout_ns_ = 0;            // of the wait under way
  base::Result waited_{0};                 // the number of events_, or its error
  EpollWait epoll_wait_;
  Waker waker_;
};

}  // namespace rloop::reactor
