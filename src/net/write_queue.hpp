// What a stream still has to send, in order: segments, the first possibly sent in part.
//
// As many segments lie inline as a handler usually writes. They are released as soon as they are
// consumed. Knows neither descriptor nor operation.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <span>

#include "absl/container/inlined_vector.h"
#include "net/segment.hpp"

namespace rloop::net {

class WriteQueue {
 public:
  bool empty() const { return first_ == segments_.size(); }
  size_t backlog_bytes() const { return backlog_bytes_; }

  // Ignores an empty segment.
  void append(Segment segment);
  // Describes the next bytes to send; returns the number of ranges written, at most out.size().
  size_t describe(std::span<iovec> out) const;
  // Copies the backlog, which fits into `out`.
  void copy(std::span<std::byte> out) const;
  // The first `bytes` of the backlog were sent. bytes <= backlog_bytes().
  void consume(size_t bytes);
  void clear();

 private:
  absl::InlinedVector<Segment, 4> segments_;
  size_t first_ = 0;  // index of the first segment that is not done, cut to what is left of it
  size_t backlog_bytes_ = 0;
};

}  // namespace rloop::net
