// What liburing 2.3 (Debian 12) lacks, in one place.
//
// Two constants of kernel 6.15, and the two steps of entering the kernel as functions of our own:
// liburing's submit functions of that version cannot pass IORING_ENTER_NO_IOWAIT. Works with newer
// versions of the library too. Loop's thread.
#pragma once

#include <liburing.h>

#include <cstdint>

namespace rloop::reactor {

inline constexpr unsigned kEnterNoIowait = 1U << 7;     // IORING_ENTER_NO_IOWAIT
inline constexpr unsigned kFeatureNoIowait = 1U << 17;  // IORING_FEAT_NO_IOWAIT

// Fills the indirection array of the submission queue with the identity, once after set-up, so
// that publishing entries is one store of the tail. Newer libraries set rings up without it.
inline void fill_submission_array(io_uring& ring) {
  if (!ring.sq.array) return;
  for (unsigned i = 0; i < *ring.sq.kring_entries; ++i)
    ring.sq.array[i] = i;
}

// Publishes the prepared entries; the number that the kernel has not taken yet.
inline unsigned publish_submissions(io_uring& ring) {
  io_uring_smp_store_release(ring.sq.ktail, ring.sq.sqe_tail);
  return ring.sq.sqe_tail - io_uring_smp_load_acquire(ring.sq.khead);
}

// There was no room for all completions: the rest waits in the kernel for an enter.
inline bool completions_overflowed(const io_uring& ring) {
  return (IO_URING_READ_ONCE(*ring.sq.kflags) & IORING_SQ_CQ_OVERFLOW) != 0;
}

// Work is waiting that only an enter by this thread can finish (TASKRUN_FLAG), or completions
// overflowed into kernel memory.
inline bool kernel_has_work(const io_uring& ring) {
  constexpr unsigned kWork = IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW;
  return (IO_URING_READ_ONCE(*ring.sq.kflags) & kWork) != 0;
}

}  // namespace rloop::reactor
