// The engine of a loop: takes operations, waits, and brings their completions home.
//
// One interface, two engines (uring/, epoll/) that know no operation by name. A reactor borrows
// operations from submit() to their final completion and never allocates one. block() is nothing
// but the system call that waits, and runs without the GIL; everything else needs the GIL, except
// wake(). So another thread that holds the GIL may submit, cancel and watch while the loop sleeps
// (programs do, against asyncio's rules): no list is walked meanwhile, and the loop is woken.
// Completions are first taken off the kernel, then run by dispatch(): no recursion, and a callback
// that raises KeyboardInterrupt leaves the rest for the next turn.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "base/clock.hpp"
#include "op/op.hpp"
#include "reactor/capabilities.hpp"
#include "reactor/lingering.hpp"

namespace rloop::reactor {

// Counted since the reactor was made; the loop's statistics() shows them. (What sockets sent and
// received they count by themselves: net/traffic.hpp.)
struct Statistics {
  uint64_t syscalls = 0;       // made by the engine and by the transports for I/O and waiting
  uint64_t submitted = 0;      // operations accepted
  uint64_t completions = 0;    // brought home, also those with more to come
  uint64_t buffers_short = 0;  // receives that found no kernel-selected buffer
  uint64_t buffers_lent = 0;   // by the kernel; what is not returned yet waits for dispatch
  uint64_t buffers_returned = 0;
  uint64_t ring_rebuilds = 0;  // the ring followed the loop to another thread
};

// Somebody who is told with every wait while a descriptor is ready (asyncio's add_reader).
class Watcher {
 public:
  virtual ~Watcher() = default;
  virtual void on_ready() = 0;
};

class Reactor {
 public:
  explicit Reactor(const Config& config, Statistics& statistics);
  Reactor(const Reactor&) = delete;
  Reactor& operator=(const Reactor&) = delete;
  virtual ~Reactor();

  // Starts an idle operation. It is handed to the kernel by the next wait or flush.
  virtual void submit(op::Operation& operation) = 0;
  // Asks for the end of an operation; its final completion (usually -ECANCELED, or its result when
  // it won the race) comes as always. Does nothing to an idle or finishing one.
  virtual void cancel(op::Operation& operation) = 0;
  // The owner cannot wait for the next dispatch: brings the operation home from within this call,
  // if the kernel has ended it (or has not got it yet: -ECANCELED).
  virtual void settle(op::Operation& /*operation*/) {}
  // From now on the owner waits for nothing but the end of this operation, in flight or posted
  // later: dispatch_ends brings it home.
  void hasten(op::Operation& operation);
  // An operation that another reactor has let go of, with what its owner told that one.
  void take_over(op::Operation& operation);
  // Completes an idle operation with `result` in the next dispatch, without the kernel.
  void post(op::Operation& operation, base::Result result);

  // The owner is about to close an owned descriptor, on which nothing is in flight. close(2) alone
  // takes nothing out of an epoll set while a copy (in a forked child, by dup) keeps the file open.
  virtual void forget(op::Descriptor& /*descriptor*/) {}

  // Level-triggered, one watcher per direction; a second one replaces the first. Errors are
  // epoll_ctl's (EPERM: a regular file, EBADF).
  virtual base::Result watch(int fd, op::Direction direction, Watcher& watcher) = 0;
  virtual bool unwatch(int fd, op::Direction direction) = 0;  // false: nobody was watching

  // True: a submitted send waits until the socket takes something. False: it comes home with
  // "again", and its owner waits for room by a poll.
  virtual bool sends_wait_for_room() const = 0;

  // True when a turn that will not block still has a reason to enter the kernel.
  virtual bool needs_poll() = 0;
  // Between a wait and its dispatch: the wait took as much as one does, and there may be more.
  virtual bool may_have_more() const { return false; }
  // True when that reason cannot wait for another turn: something was submitted that only a wait
  // hands over, or the end of a closed connection is awaited.
  bool must_enter() const { return hastened_count_ > 0 || has_unsubmitted(); }
  // Enters the kernel: hands over what was submitted, and waits up to timeout_ns (0: not at all,
  // kNever: until something comes). Interrupted by a signal it returns early. An error is fatal
  // for the loop. Completions are kept for dispatch. The three steps, for whoever gives the GIL
  // up in the middle one:
  base::Result wait(int64_t timeout_ns) {
    prepare_wait(timeout_ns);
    block();
    return collect();
  }
  virtual void prepare_wait(int64_t timeout_ns) = 0;
  virtual void block() = 0;
  virtual base::Result collect() = 0;
  // Runs the completions that the last wait brought, at most 256 before returning to the loop.
  virtual void dispatch() = 0;
  // Of these only the ones of hastened operations. A connection that is closed ends before what
  // was scheduled after the close runs, as in asyncio; data comes after it.
  void dispatch_ends() {
    if (hastened_count_ > 0) dispatch_only_ends();
  }
  // All but these: what ends during a turn waits for the next one.
  void dispatch_others() {
    if (has_undispatched() || interrupted_) dispatch_but_ends();
  }
  // Hands what was submitted to the kernel without waiting or collecting.
  virtual void flush() {}
  // True when dispatch has something to do without another wait.
  virtual bool has_undispatched() const { return arrivals_head_ < arrivals_.size(); }
  // How much, counted up to `most` at least; what a watch has to say may come on top.
  virtual size_t undispatched_count(size_t /*most*/) const {
    return arrivals_.size() - arrivals_head_;
  }
  // Operations that are not idle: with the kernel, or on their way to it or back.
  size_t busy_count() const { return busy_count_; }
  // How an operation ended whose final completion waits for dispatch; Result(0) when none does.
  base::Result undispatched_end(const op::Operation& operation) const;
  // Called by a completion that leaves an exception behind: dispatch returns after it.
  void interrupt_dispatch() { interrupted_ = true; }
  bool interrupted() const { return interrupted_; }

  // Before the GIL is given up for block(). From then on wake() ends the wait.
  void announce_sleep() { sleeping_.store(true, std::memory_order_seq_cst); }
  // Seen with the GIL held: another thread calls while the loop waits.
  bool asleep() const { return sleeping_.load(std::memory_order_relaxed); }
  // Ends the current or the announced wait; any thread, async-signal-safe.
  virtual void wake() = 0;
  // The same with the GIL held, for nothing while the loop is awake: wake() takes a locked
  // instruction to see that. What another thread submits, cancels, posts or schedules is not left
  // lying.
  void rouse() {
    if (asleep()) [[unlikely]]
      wake();
  }

  // Called when the loop starts to run on the calling thread. An error (errno) means that this
  // engine cannot work here: move everything to another one with move_to.
  virtual base::Result attach_to_thread() = 0;
  // Called when the loop stops running: ends what could not be replayed on another thread.
  virtual void quiesce() = 0;
  // The kernel refuses to go on with this engine (a sandbox that was set up late): everything is
  // taken back from it, to be brought home or moved. An operation of which nobody can know how far
  // it came ends with `why`.
  virtual void give_up(base::Result why) = 0;
  // Hands all operations and watchers over; this reactor must never have been attached, or must
  // have given up.
  virtual void move_to(Reactor& other) = 0;
  // Ends every operation and waits for them, at most `limit_ns`; the number that did not come
  // home (their memory must be leaked).
  virtual size_t drain(int64_t limit_ns) = 0;
  // drain or another end has begun: the engine's own operations are not asked again. Until then a
  // cancelled one was cancelled by nobody here, and is.
  bool ending() const { return ending_; }
  // In the child of a fork, for a loop that did not run: lets go of what the parent shares and goes
  // on with an engine of its own, made when it is first needed. What was in flight waits for it,
  // what the parent's kernel had brought home already is the child's too.
  virtual void start_over() = 0;
  // The same for a loop that ran: closes the descriptors, touches nothing that is shared. Every
  // operation becomes idle, uncompleted; from then on the reactor takes none and runs none.
  virtual void abandon() = 0;

  virtual const char* name() const = 0;  // "io_uring" or "epoll"
  const Capabilities& capabilities() const { return capabilities_; }
  const Config& config() const { return config_; }
  Statistics& statistics() { return statistics_; }
  // The loop's one hot receive buffer; its content is gone with the next receive.
  std::span<std::byte> scratch() {
    return foreign_scratch_.empty() ? std::span(scratch_.get(), config_.scratch_size)
                                    : foreign_scratch_;
  }
  // Takes memory of the owner's for it, as large or larger, until the next call; empty: its own
  // again. `large_scratch` stays what it is.
  void set_scratch(std::span<std::byte> memory) { foreign_scratch_ = memory; }
  // Somebody received so many bytes at once: more may follow soon.
  void note_received(size_t size) {
    lingering_.received(size);
    if (size >= Lingering::kMuch_bytes) [[unlikely]]
      bulk_came_ = true;
  }
  // Whether there was such a one, since this was asked last.
  bool take_bulk_came() { return std::exchange(bulk_came_, false); }
  // The same and what lies behind it, for receives whose size somebody else has chosen.
  std::span<std::byte> large_scratch() { return {scratch_.get(), config_.large_scratch_size}; }

 protected:
  // A completion on its way from the kernel to dispatch. `flags` belong to the engine.
  struct Arrival {
    op::Operation* operation;
    base::Result result;
    uint32_t flags;
  };
  static constexpr size_t kMaxBatch = 256;
  // Without a flag that says whether something waits, a turn that does not block looks at the
  // kernel at most this often: an epoll_wait costs as much as running a callback, and 20 us is less
  // than any network's latency.
  static constexpr int64_t kBusyPollInterval_ns = 20'000;
  // `looked_at`: when it did so last, in base::ticks(); 0: never.
  bool is_time_to_look(uint64_t looked_at) const {
    return base::ticks() - looked_at >= busy_poll_interval_ticks_;
  }

  // Takes the memory that the final arrival of an operation needs, before it becomes busy: only
  // here, on the way in, may memory be short (std::bad_alloc, and nothing has changed).
  void expect_arrival();
  // Memory for a batch of arrivals that are not final; false when there is none.
  bool make_room_for_batch();
  void arrive(op::Operation& operation, base::Result result, uint32_t flags, bool final);
  // The final arrival of an operation whose turn is now: `place` behind the one that runs, in the
  // batch that runs.
  void arrive_in_batch(op::Operation& operation, base::Result result, size_t place);
  // Takes the next arrival of the current batch; false when the batch is done or interrupted.
  bool next_arrival(Arrival& out);
  size_t begin_batch();
  void dispatch_only_ends();
  void dispatch_but_ends();
  void run_batch(size_t batch_end) {
    batch_end_ = batch_end;
    run_batch();
  }
  // Something was accepted that the kernel has not got yet.
  virtual bool has_unsubmitted() const { return false; }
  // Brings the arrivals of the current batch home.
  virtual void run_batch() = 0;
  // The final arrival of an operation, before its turn.
  void bring_home_now(op::Operation& operation);
  // What abandon has in common: undispatched arrivals are forgotten, nothing is accepted any more.
  void die();
  // Ends an operation that arrived finally and runs its completion.
  void bring_home(op::Operation& operation, const op::Completion& completion);

  Config config_;
  uint64_t busy_poll_interval_ticks_ = base::ticks_of(kBusyPollInterval_ns);
  Capabilities capabilities_;
  Statistics& statistics_;
  std::vector<Arrival> arrivals_;
  size_t arrivals_head_ = 0;
  size_t batch_end_ = 0;  // of the batch that runs
  // Brings the arrivals of a batch that `first` chooses to its front; returns the end
  // of these.
  template <class First>
  size_t gather(size_t batch_end, First first);

  size_t busy_count_ = 0;   // operations that are not idle: each arrives finally once
  bool ends_wait_ = false;  // dispatch_others runs
  int hastened_count_ = 0;  // hastened operations that are not idle
  bool interrupted_ = false;
  bool dead_ = false;  // abandoned
  bool ending_ = false;
  std::atomic<bool> sleeping_{false};
  Lingering lingering_;
  bool bulk_came_ = false;
  std::unique_ptr<std::byte[]> scratch_;
  std::span<std::byte> foreign_scratch_;
};

// The io_uring reactor; throws std::system_error when the process-wide probe says that it cannot
// work. Its ring is made by the first wait that needs it.
std::unique_ptr<Reactor> make_ring_reactor(const Config& config, Statistics& statistics);
// The epoll reactor; throws std::system_error (EMFILE, ENOMEM).
std::unique_ptr<Reactor> make_epoll_reactor(const Config& config, Statistics& statistics);

}  // namespace rloop::reactor
