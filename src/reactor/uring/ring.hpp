// One io_uring: set-up, submission entries, entering the kernel, completions.
//
// Owns the ring's descriptor and mappings; knows neither operations nor buffers. DEFER_TASKRUN and
// SINGLE_ISSUER bind it to the thread that opens it (6.1): from any other thread only close() and
// the reading of completions that are in its memory are legal. MADV_DONTFORK keeps the mappings
// out of children.
#pragma once

#include <liburing.h>

#include "base/result.hpp"
#include "reactor/capabilities.hpp"

namespace rloop::reactor {

class Ring {
 public:
  Ring() = default;
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;
  ~Ring() { close(); }

  // Opens with at most these sizes. ENOMEM (the memory-lock limit) halves them down to 1024
  // completions and 64 submissions before it is an answer.
  base::Result open(unsigned sq_entries, unsigned cq_entries, const Capabilities& capabilities);
  void close();
  // In the child of a fork: the descriptor only, the memory is the parent's.
  void abandon();
  bool is_open() const { return open_; }

  // Spares the lookup of the descriptor on each enter (5.18). The registration belongs to the
  // thread and holds the ring open, so it lasts only while the loop runs: then any thread can
  // close the ring for good.
  void register_descriptor();
  void unregister_descriptor();

  // Waits for free space if need be: a full queue is handed to the kernel. Null only when the
  // kernel takes nothing until completions are consumed.
  io_uring_sqe* next_submission();
  bool has_submissions() const;

  // Submits, runs the kernel's deferred work, and waits for one completion: not at all (0), up to
  // timeout_ns, or for ever (base::kNever). EINTR, ETIME, EAGAIN and EBUSY are no errors.
  base::Result enter(int64_t timeout_ns);

  // Submits alone. What can be done at once is; its completions wait for the next enter.
  void submit();

  bool has_completions() const { return io_uring_cq_ready(&ring_) != 0; }
  bool kernel_has_work() const;
  bool has_no_iowait() const;  // the kernel knows it and the ring uses it

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
  bool may_register_ = false;
  unsigned enter_flags_ = 0;
  uint64_t enter_count_ = 0;
};

}  // namespace rloop::reactor
