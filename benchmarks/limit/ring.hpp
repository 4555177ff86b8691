// One io_uring and its provided buffers, set up as the engine of src/reactor/uring sets up its own.
//
// A turn is one enter: what was queued is submitted, and one completion at least is waited for. The
// kernel receives into buffers of the ring; one that a completion names is lent to the server until
// it gives it back. The kernel fills buffers in turn, so it is offered few at first (they stay in
// the cache) and twice as many whenever all were lent at once.
#pragma once

#include <liburing.h>

#include <cstddef>
#include <cstdint>

namespace limit {

class Ring {
 public:
  Ring();  // throws std::runtime_error where there is no io_uring
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;
  ~Ring() { io_uring_queue_exit(&ring_); }

  // A new entry; what is queued already is submitted if there is no room.
  io_uring_sqe& entry();

  // Submits, waits, and calls visit(completion) for each one that is there.
  template <class Visit>
  void turn(Visit visit) {
    enter();
    unsigned head = 0;
    unsigned count = 0;
    io_uring_cqe* completion = nullptr;
    io_uring_for_each_cqe(&ring_, head, completion) {
      ++count;
      visit(*completion);
    }
    io_uring_cq_advance(&ring_, count);
  }

  io_uring* raw() { return &ring_; }

 private:
  void enter();

  io_uring ring_{};
  unsigned flags_ = IORING_ENTER_GETEVENTS;
};

class Buffers {
 public:
  static constexpr std::uint16_t kGroup = 0;
  // The largest datagram with what the kernel writes before it. Streams cost the same with 64 to
  // 256 KiB, more with less. No multiple of a page: the buffers' beginnings would compete for the
  // same lines of the cache.
  static constexpr std::size_t kBytes = 65536 + 256;

  // `count` is a power of two <= 32768; memory is used when the kernel fills it.
  Buffers(Ring& ring, unsigned count);
  Buffers(const Buffers&) = delete;
  Buffers& operator=(const Buffers&) = delete;
  ~Buffers();

  // The buffer of a completion, lent from now on.
  std::uint16_t take(const io_uring_cqe& completion);
  char* data(std::uint16_t id) { return memory_ + id * kBytes; }
  void give_back(std::uint16_t id);
  // A receive found none.
  void note_short() { were_short_ = true; }

  // At the end of a turn: the kernel sees what was given back. Whether it has any: a receive that
  // is armed while it has none fails at once, even with nothing to receive (KERNEL.md 3).
  bool publish();

 private:
  void add(std::uint16_t id);

  char* memory_;
  io_uring_buf_ring* entries_;
  unsigned count_;
  unsigned offered_;
  unsigned lent_ = 0;
  int unpublished_ = 0;
  bool were_short_ = false;
};

}  // namespace limit
