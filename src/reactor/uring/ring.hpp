// One io_uring: set-up, submission entries, entering the kernel, completions.
//
// Owns the ring's descriptor and mappings; knows neither operations nor buffers. DEFER_TASKRUN and
// SINGLE_ISSUER bind it to the thread that opens it (6.1): from any other thread only close() and
// the reading of completions that are in its memory are legal. MADV_DONTFORK keeps the mappings
// out of children. Its descriptor is not registered with the thread (5.18, 20 to 40 ns per enter):
// nobody but that thread could close the ring then, and not even it in a sandbox that refuses
// io_uring_register.
#pragma once

#include <liburing.h>

#include <utility>

#include "base/result.hpp"
#include "reactor/capabilities.hpp"

namespace rloop::reactor {

class Ring {
 public:
  Ring() = default;
  Ring(Ring&& other) noexcept { *this = std::move(other); }
  Ring& operator=(Ring&& other) noexcept;
  ~Ring() { close(); }

  // Opens with these sizes; ENOMEM is the memory-lock limit (see ring_supply.hpp).
  base::Result open(unsigned sq_entries, unsigned cq_entries, const Capabilities& capabilities);
  // For a ring that is open already: what its next user may use of it.
  void allow(const Capabilities& capabilities);
  void close();
  // In the child of a fork: the descriptor only, the memory is the parent's.
  void abandon();
  bool is_open() const { return open_; }
  // When any ring of this process was closed last, by base::now_ns(); 0: none yet.
  static int64_t last_close_ns();

  // Waits for free space if need be: a full queue is handed to the kernel. Null only when the
  // kernel takes nothing until completions are consumed.
  io_uring_sqe* next_submission();
  bool has_submissions() const;

  // Submits, runs the kernel's deferred work, and waits for one completion: not at all (0), up to
  // timeout_ns, or for ever (base::kNever). EINTR, ETIME, EAGAIN and EBUSY are no errors.
  base::Result enter(int64_t timeout_ns);

  // Submits alone. What can be done at once is; its completions wait for the next enter.
  void submit();

  // Calls visit(user_data) for each entry that the kernel has not taken: it is as if they had never
  // been made.
  template <class Visit>
  void for_each_submission(Visit visit) const {
    for (unsigned i = io_uring_smp_load_acquire(ring_.sq.khead); i != ring_.sq.sqe_tail; ++i)
      visit(ring_.sq.sqes[i & (*ring_.sq.kring_entries - 1)].user_data);
  }

  bool has_completions() const { return io_uring_cq_ready(&ring_) != 0; }
  bool kernel_has_work() const;
  // Completions wait in the kernel, where only an enter reaches them.
  bool has_overflowed() const;
  bool has_no_iowait() const;  // the kernel knows it and the ring uses it
  // Nothing is left of what was submitted to it, as far as the ring can know.
  bool is_clean() const { return !has_submissions() && !has_completions() && !kernel_has_work(); }

  // The sizes that its first user wanted, who may have got less.
  void note_asked_for(unsigned sq_entries, unsigned cq_entries) {
    asked_sq_ = sq_entries;
    asked_cq_ = cq_entries;
  }
  bool was_asked_for(unsigned sq_entries, unsigned cq_entries) const {
    return asked_sq_ == sq_entries && asked_cq_ == cq_entries;
  }

  // Hands at most `limit` completions to visit(user_data, result, flags) and frees their places.
  template <class Visit>
  unsigned consume(unsigned limit, Visit visit) {
    unsigned head, count = 0;
    io_uring_cqe* cqe;
    io_uring_for_each_cqe(&ring_, head, cqe) {
      if (count == limit) break;
      visit(cqe->user_data, cqe->res, cqe->flags);
      ++count;
    }
    io_uring_cq_advance(&ring_, count);
    return count;
  }

  io_uring& raw() { return ring_; }
  unsigned cq_entries() const { return *ring_.cq.kring_entries; }
  uint64_t enter_count() const { return enter_count_; }

 private:
  mutable io_uring ring_{};
  bool open_ = false;
  unsigned enter_flags_ = 0;
  unsigned asked_sq_ = 0, asked_cq_ = 0;
  uint64_t enter_count_ = 0;
};

}  // namespace rloop::reactor
