// A reactor that a script drives, on the queue of arrivals of the product's own Reactor.
//
// It behaves like one of the two engines. As the ring: what is submitted is queued until enter(),
// described by its submission entry, carried out when the script says so, with completions that
// wait for dispatch and a few lent buffers; a cancel is a request. As epoll: operations are
// attempted at dispatch into the scratch, and a cancel is immediate. What an operation does to its
// socket goes through SystemCalls::installed. What was lent is overwritten as soon as it is given
// back. In memory only, so that a step costs less than a microsecond.
#pragma once

#include <array>
#include <vector>

#include "hunt/failure.hpp"
#include "reactor/reactor.hpp"

namespace rloop::hunt {

class ScriptReactor final : public reactor::Reactor {
 public:
  ScriptReactor(reactor::Statistics& statistics, const reactor::Capabilities& capabilities);
  ~ScriptReactor() override;

  // --- what the owner asks for ---------------------------------------------------------------

  void submit(op::Operation& operation) override;
  void cancel(op::Operation& operation) override;
  void forget(op::Descriptor& descriptor) override;

  // --- what the kernel does ------------------------------------------------------------------

  size_t in_flight_count() const { return pending_.size(); }
  op::Operation& in_flight(size_t which) const { return *pending_[which].operation; }
  // What is queued reaches the kernel.
  void enter();
  // Goes as far as it can now. A multishot receive goes on unless it `stops`.
  void advance(size_t which, bool stops);
  void advance_all();
  // Ends without having done anything.
  void end(size_t which, int error_number);
  // Ends what was cancelled; operation i wins the race if bit i % 16 is set.
  void run_cancels(unsigned winners);
  // The ring is replaced: what can be repeated is queued again.
  void take_back();
  // Nothing is in flight, queued or on its way to dispatch, but what was posted.
  bool at_rest() const { return pending_.empty() && queued_.empty() && !has_undispatched(); }
  // A send in flight points to this memory.
  bool sends_from(const std::byte* bytes, size_t size) const;

  // --- what the loop does --------------------------------------------------------------------

  void dispatch() override { run_batch(begin_batch()); }
  void flush() override { enter(); }
  bool sends_wait_for_room() const override { return !capabilities_.ring; }
  bool needs_poll() override { return true; }
  void prepare_wait(int64_t) override { enter(); }
  void block() override { sleeping_.store(false, std::memory_order_relaxed); }
  base::Result collect() override { return base::Result(0); }
  void wake() override { sleeping_.store(false, std::memory_order_relaxed); }
  void quiesce() override;
  base::Result attach_to_thread() override { return base::Result(0); }
  base::Result watch(int, op::Direction, reactor::Watcher&) override { return base::Result(0); }
  bool unwatch(int, op::Direction) override { return false; }
  void give_up(base::Result) override {}
  void move_to(Reactor&) override {}
  size_t drain(int64_t) override { return 0; }
  void start_over() override {}
  void abandon() override {}
  const char* name() const override { return "script"; }

 private:
  struct Pending {
    op::Operation* operation;
    uint8_t opcode;
    int fd;
    uint64_t address;
    uint32_t length;
  };
  // Flags of an arrival: more is to come, and (from bit 8 on) one more than the lent buffer.
  static constexpr uint32_t kMore = 1;
  static constexpr size_t kBufferCount = 4;
  static constexpr size_t kBufferBytes = 4096;  // of which streams get config().buffer_size

  using Reactor::run_batch;
  void run_batch() override;
  void start(op::Operation& operation);
  void attempt(op::Operation& operation);
  void receive(const Pending& pending, bool stops);
  ssize_t fill(const Pending& pending, std::span<std::byte> buffer);
  void arrive_at(op::Operation& operation, ssize_t result, uint32_t flags = 0);
  void remove(op::Operation& operation);
  bool is_ring() const { return capabilities_.ring; }

  std::vector<op::Operation*> queued_;
  std::vector<Pending> pending_;
  std::array<bool, kBufferCount> lent_{};
  std::array<std::array<std::byte, kBufferBytes>, kBufferCount> buffers_;
};

}  // namespace rloop::hunt
