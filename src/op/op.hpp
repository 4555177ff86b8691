// What an operation is: one unit of I/O with two verbs and one destination.
//
//   prepare(sqe)      describes it to the kernel's ring;
//   attempt(scratch)  tries it once without blocking: a result, or "again";
//   complete(...)     brings the result home, to the member function named where it is declared:
//                     Completes<op::Send, &Stream::on_send> send_{*this, ...};
//
// An operation is a member of its owner and never allocated by a reactor; its address is the
// user_data of its SQE. It refers to a Descriptor, never to a bare number, and knows no reactor.
// From submit to its final completion it belongs to the reactor: not moved, freed, re-submitted or
// changed (asserted). One thread: the loop's.
#pragma once

#include <sys/socket.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "base/assert.hpp"
#include "base/intrusive_list.hpp"
#include "base/result.hpp"

struct io_uring_sqe;

namespace rloop::op {

class Operation;

enum class Direction : uint8_t { read = 0, write = 1 };

// A file descriptor as operations see it. `owned` descriptors live as long as their operations and
// are registered once, edge-triggered, by the epoll reactor; a foreign one (a socket that the user
// passed to sock_recv) may be closed behind our back and is watched only while somebody waits.
struct DescriptorListTag;
struct Descriptor : base::ListNode<DescriptorListTag> {
  explicit Descriptor(int descriptor_fd, bool is_owned = true)
      : fd(descriptor_fd), owned(is_owned) {}

  // For every system call and submission entry. -1, so that they say EBADF, once somebody else who
  // holds the socket has closed it: then `fd` may be another file by now.
  int number() const { return *holder_ == fd ? fd : -1; }
  // `holder` is where the one who may close the socket keeps its number (another value from then
  // on). It must stay readable for as long as the descriptor lives; null: nobody else.
  void follow(const int* holder) { holder_ = holder ? holder : &fd; }

  // The socket's address family: what its owner knows, or what the kernel says, which is asked
  // once.
  int family() {
    if (known_family == AF_UNSPEC) {
      int asked = AF_UNSPEC;
      socklen_t size = sizeof(asked);
      ::getsockopt(number(), SOL_SOCKET, SO_DOMAIN, &asked, &size);
      set_family(asked);
    }
    return known_family;
  }
  void set_family(int family) { known_family = static_cast<uint8_t>(family); }

  // For code that does its own system calls on readiness: the kernel said "again"; the next edge
  // will tell.
  void mark_drained(Direction direction) { ready[static_cast<int>(direction)] = false; }
  // The system call gave or took less than was asked for, which spares the one that would only
  // learn "again". Not so after a hang-up, when no further edge comes: reads go on until one
  // returns 0.
  void note_short(Direction direction) {
    if (hung_up || (direction == Direction::read && !short_read_drains)) return;
    mark_drained(direction);
  }

  int fd;  // for tables and logs; see number()
  bool owned;
  bool in_watch_set = false;  // of the ring reactor: an operation has waited there
  // State of the epoll reactor; the ring reactor leaves it alone.
  bool registered = false;
  bool ready[2] = {false, true};  // a new socket is writable until it says otherwise
  bool hung_up = false;           // the peer's end is closed: reads go on until they return 0
  // False for AF_UNIX, where a read ends at a message that carried descriptors, and once urgent
  // data came, where it ends at the mark.
  bool short_read_drains = true;
  uint8_t known_family = AF_UNSPEC;  // see family()
  uint32_t slot = 0;                 // where the epoll reactor finds it again
  Operation* waiting[2] = {nullptr, nullptr};

 private:
  const int* holder_ = &fd;
};

// What an attempt did. `data` points into the scratch memory for receives. `drained` says that the
// descriptor gave or took all it could, which spares the attempt that would only learn "again", and
// never of one that failed; `ended` that a multishot operation is over (end of stream); `called`
// that it was a system call.
struct Attempt {
  base::Result result;
  std::span<const std::byte> data = {};
  bool drained = false;
  bool ended = false;
  bool called = true;
};

struct Completion {
  base::Result result;
  bool more = false;                     // the operation is still in flight
  std::span<const std::byte> data = {};  // received bytes, lent until the handler returns
};

// idle -> queued -> in_flight -> finishing -> idle. Queued: accepted by the reactor, unknown to
// the kernel. Finishing: the final result is known and waits for dispatch.
enum class State : uint8_t { idle, queued, in_flight, finishing };

// Who tells that a poll is ready. The ring's own poll always ends at a hang-up too, and keeps a
// file open whose owner closes it; an epoll set does neither (KERNEL.md: seen in real deployments).
enum class Readiness : uint8_t { by_engine, by_epoll_set };

// What a ring can do with an operation whose thread goes away or whose ring is replaced: ask again,
// always, or unless completions of it may be lost with the ring (and the bytes that they brought);
// or nothing, where it must be known how far it came.
enum class Replay : uint8_t { yes, unless_lost, no };

// Kernel-selected receive buffers come from a group of a ring: one for streams, one for datagrams.
inline constexpr uint8_t kReceiveBufferGroup = 0;
inline constexpr uint8_t kDatagramBufferGroup = 1;
inline constexpr uint8_t kBufferGroups = 2;
inline constexpr uint8_t kNoBufferGroup = kBufferGroups;

struct OperationListTag;
class Operation : public base::ListNode<OperationListTag> {
 public:
  Operation(Descriptor& descriptor, Direction direction, Replay replay = Replay::yes,
            uint8_t buffer_group = kNoBufferGroup)
      : descriptor_(descriptor),
        direction_(direction),
        replay_(replay),
        buffer_group_(buffer_group) {}
  Operation(const Operation&) = delete;
  Operation& operator=(const Operation&) = delete;
  virtual ~Operation() { RLOOP_ASSERT(idle(), "an operation was destroyed while in flight"); }

  virtual void prepare(io_uring_sqe& sqe) = 0;
  virtual Attempt attempt(std::span<std::byte> scratch) = 0;
  virtual void complete(const Completion& completion) = 0;

  Descriptor& descriptor() { return descriptor_; }
  Direction direction() const { return direction_; }
  Replay replay() const { return replay_; }
  // Where its buffers come from, if it takes any.
  uint8_t buffer_group() const { return buffer_group_; }
  bool takes_buffers() const { return buffer_group_ != kNoBufferGroup; }
  State state() const { return state_; }
  bool idle() const { return state_ == State::idle; }

  // The ring reactor lets it wait in its watch set. (The epoll reactor has everything in a set.)
  bool waits_in_epoll_set() const {
    return !descriptor_.owned || readiness_ == Readiness::by_epoll_set;
  }

  // Multishot: one submission, many completions. A capability decides; see each operation.
  bool multishot() const { return multishot_; }
  void set_multishot(bool on) {
    RLOOP_ASSERT(idle(), "an operation was changed while in flight");
    multishot_ = on;
  }

  // For reactors only.
  void set_state(State state) { state_ = state; }
  // Its owner waits for nothing but its end (Reactor::hasten).
  bool hastened() const { return hastened_; }
  void set_hastened() { hastened_ = true; }
  bool cancel_requested() const { return cancel_requested_; }
  void set_cancel_requested(bool requested) { cancel_requested_ = requested; }

 protected:
  void set_readiness(Readiness readiness) { readiness_ = readiness; }

 private:
  Descriptor& descriptor_;
  // Eight bytes: each connection has two operations at least.
  Direction direction_;
  Readiness readiness_ = Readiness::by_engine;
  Replay replay_;
  uint8_t buffer_group_;
  State state_ = State::idle;
  bool multishot_ = false;
  bool cancel_requested_ = false;
  bool hastened_ = false;
};

namespace detail {
template <class Member>
struct OwnerOf;
template <class Owner>
struct OwnerOf<void (Owner::*)(const Completion&)> {
  using type = Owner;
};
}  // namespace detail

// An operation whose completions come home to `Member` of its owner.
template <class Op, auto Member>
class Completes final : public Op {
 public:
  using Owner = typename detail::OwnerOf<decltype(Member)>::type;

  template <class... Arguments>
  explicit Completes(Owner& owner, Arguments&&... arguments)
      : Op(std::forward<Arguments>(arguments)...), owner_(owner) {}

  void complete(const Completion& completion) override { (owner_.*Member)(completion); }

 private:
  Owner& owner_;
};

}  // namespace rloop::op
