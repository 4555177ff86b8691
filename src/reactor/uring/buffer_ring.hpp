// Lends kernel-selected receive buffers (IORING_REGISTER_PBUF_RING, Linux 5.19).
//
// Owns the buffers' memory, the ring of their descriptors that the kernel reads, and the account
// of which buffers are out. Knows neither operations nor reactor. The memory outlives a ring: when
// the loop moves to another thread the same buffers are registered with the new ring, except those
// that still wait for dispatch. Returned buffers become visible to the kernel in one store per
// batch. The kernel fills buffers in turn, so that each one it was offered is touched sooner or
// later: it is offered a few at first, twice as many whenever all were lent at once. Loop's thread.
#pragma once

#include <liburing.h>

#include <cstdint>
#include <vector>

#include "base/buffer_pool.hpp"
#include "base/result.hpp"
#include "reactor/uring/ring.hpp"

namespace rloop::reactor {

class BufferRing {
 public:
  // `count` is a power of two <= 32768. Throws std::system_error when memory is short.
  BufferRing(size_t count, size_t buffer_size, uint16_t group);
  BufferRing(const BufferRing&) = delete;
  BufferRing& operator=(const BufferRing&) = delete;
  ~BufferRing();

  // Registers with a new ring; ENOMEM when the memory-lock limit does not allow it.
  base::Result register_with(Ring& ring);
  // The kernel lets go of its memory; not while a receive is in flight.
  base::Result unregister_from(Ring& ring);

  // The kernel filled buffer `id`: it is lent until give_back.
  void take(uint16_t id);
  void give_back(uint16_t id);
  // The kernel found none; `take` has not seen all that it filled yet.
  void note_short() { were_short_ = true; }
  // Publishes what was given back since the last time, and more buffers if they were short.
  void publish();
  // In the child of a fork: the ring's memory is not mapped here; the buffers' is, and what is
  // lent stays readable. Another ring's memory is made when it is registered with one.
  void abandon() { entries_ = nullptr; }

  size_t lent_count() const { return lent_count_; }
  size_t offered_count() const { return offered_count_; }
  const base::BufferPool& pool() const { return pool_; }

 private:
  static constexpr size_t kOfferedFirst = 32;

  static io_uring_buf_ring* map_entries(size_t bytes);
  void add(uint16_t id);
  void offer_more();

  base::BufferPool pool_;
  uint16_t group_;
  io_uring_buf_ring* entries_;
  size_t entries_bytes_;
  std::vector<bool> lent_;
  size_t lent_count_ = 0;
  size_t offered_count_;  // buffers 0 to here are the kernel's or lent
  bool were_short_ = false;
  int unpublished_ = 0;
};

}  // namespace rloop::reactor
