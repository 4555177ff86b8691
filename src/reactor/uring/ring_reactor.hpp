// The io_uring reactor: one system call per turn submits, waits and collects.
//
// Operations queue here until the next wait, so that submitting costs no system call and works
// while no ring exists (before the loop runs, between two threads). The ring belongs to the thread
// that runs the loop. The first wait that needs one makes it; where the loop has moved it is
// another one, to which everything in flight is submitted again. Nothing is received outside our
// own enter (DEFER_TASKRUN), so no byte is lost on the way. Loop's thread, GIL held, except in
// block.
#pragma once

#include <pthread.h>
#include <sys/epoll.h>
#include <sys/types.h>

#include <array>
#include <cerrno>
#include <memory>
#include <optional>
#include <vector>

#include "base/fd.hpp"
#include "op/poll.hpp"
#include "reactor/epoll_wait.hpp"
#include "reactor/reactor.hpp"
#include "reactor/uring/buffer_ring.hpp"
#include "reactor/uring/ring.hpp"
#include "reactor/waker.hpp"
#include "reactor/watch_set.hpp"

namespace rloop::reactor {

class RingReactor final : public Reactor {
 public:
  RingReactor(const Config& config, Statistics& statistics);
  ~RingReactor() override;

  void submit(op::Operation& operation) override;
  void cancel(op::Operation& operation) override;
  void settle(op::Operation& operation) override;
  void forget(op::Descriptor& descriptor) override;
  base::Result watch(int fd, op::Direction direction, Watcher& watcher) override;
  bool unwatch(int fd, op::Direction direction) override;
  bool sends_wait_for_room() const override { return false; }
  bool needs_poll() override;
  bool may_have_more() const override;
  void prepare_wait(int64_t timeout_ns) override;
  void block() override;
  base::Result collect() override;
  void dispatch() override;
  void flush() override;
  void wake() override;
  base::Result attach_to_thread() override;
  void quiesce() override;
  void give_up(base::Result why) override;
  void move_to(Reactor& other) override;
  size_t drain(int64_t limit_ns) override;
  void start_over() override;
  void abandon() override;
  const char* name() const override { return "io_uring"; }

 private:
  // The user_data of cancels, whose own results nobody needs: the target's completion says it all.
  static constexpr uint64_t kNobody = 0;
  using OperationList = base::IntrusiveList<op::Operation, op::OperationListTag>;

  using Reactor::run_batch;
  void run_batch() override;
  bool has_unsubmitted() const override {
    return !queued_.empty() || !cancels_.empty() || (ring_.is_open() && ring_.has_submissions());
  }
  base::Result hold_place();
  bool wants_ring(int64_t timeout_ns);
  base::Result open_ring();
  void put_ring_away();
  base::Result provide_buffers(uint16_t group);
  base::Result register_buffers(uint16_t group);
  bool& lends(uint16_t group);
  void stop_lending(uint16_t group, base::Result why);
  bool has_refusals() const { return !refusals_[0].ok() || !refusals_[1].ok(); }
  void tell_refusals();
  void tell_refusal(uint16_t group, base::Result why);
  base::Result open_watch_set();
  base::Result complete_watch_set();
  void let_go_of_descriptors();
  void make_room_for_one();
  void watch_once(op::Operation& operation);
  base::Result poll_watch_set();
  void take_back(op::Operation& operation, OperationList& again);
  void take_back_unsubmitted();
  void take_back_in_flight(base::Result unknown = base::Result::error(ECANCELED),
                           bool completions_lost = false);
  void prepare_queued();
  void prepare_cancels();
  bool collect_completions();  // false: no memory
  void collect_all();
  void collect_one(uint64_t user_data, int result, uint32_t flags);
  void forget_cancel(op::Operation& operation);
  bool unreplayable_in_flight();
  void end_own_operations();
  void on_watches_ready(const op::Completion& completion);
  bool watches_wait_alone();
  bool waits_directly();
  bool watch_waker();
  void forget_waker();
  void enter(int64_t timeout_ns);
  base::Result collect_watches();

  Ring ring_;
  base::UniqueFd place_;  // among the process's descriptors, for a ring that is not made yet
  int waits_without_ring_ = 0;
  pid_t owner_thread_ = 0;     // that attached last; 0: none
  pthread_t owner_pthread_{};  // the same: asking for it is no system call
  // The wait under way: whether it enters the kernel, for how long, and what came of it.
  bool wait_enters_ = false;
  bool direct_ = false;  // or whether it is one of the watch set itself
  int64_t wait_timeout_ns_ = 0;
  base::Result waited_{0};
  std::optional<BufferRing> buffers_[op::kBufferGroups];  // each once it is wanted
  bool registered_[op::kBufferGroups] = {};               // with the present ring
  std::array<base::Result, op::kBufferGroups> refusals_{base::Result(0),
                                                        base::Result(0)};  // untold
  OperationList queued_;                 // accepted, not in the ring yet
  OperationList in_flight_;              // the kernel's
  std::vector<op::Operation*> cancels_;  // in flight, their cancel is not in the ring yet

  // add_reader and add_writer: a private epoll set, polled through the ring.
  base::UniqueFd watch_fd_;
  WatchSet watches_;
  op::Descriptor watch_descriptor_;
  op::Completes<op::Poll, &RingReactor::on_watches_ready> watch_poll_{*this, watch_descriptor_,
                                                                      op::Direction::read};
  // Waits of that set alone; see ring_watches.cpp.
  using WatchEvents = std::array<epoll_event, kMaxBatch>;
  static constexpr uint64_t kWakerEvent = UINT64_MAX;  // no descriptor's
  EpollWait epoll_wait_;
  std::unique_ptr<WatchEvents> watch_events_;  // what such a wait brought, until it is reported
  size_t watch_count_ = 0;
  int watch_streak_ = 0;     // waits in a row that were for the set only
  uint64_t watched_at_ = 0;  // base::ticks()
  bool waker_watched_ = false;
  Waker waker_;
};

}  // namespace rloop::reactor
