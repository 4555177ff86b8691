// Appending, describing, consuming; see write_queue.hpp.
#include "net/write_queue.hpp"

#include <algorithm>

#include "base/assert.hpp"

namespace rloop::net {

void WriteQueue::append(Segment segment) {
  if (segment.size == 0) return;
  // A queue that never runs empty must not keep its finished head for ever.
  if (first_ > 32 && first_ * 2 > segments_.size()) {
    segments_.erase(segments_.begin(), segments_.begin() + static_cast<ptrdiff_t>(first_));
    first_ = 0;
  }
  size_t size = segment.size;
  segments_.push_back(std::move(segment));
  backlog_bytes_ += size;  // not before: there may be no memory for it
}

size_t WriteQueue::describe(std::span<iovec> out) const {
  size_t count = std::min(out.size(), segments_.size() - first_);
  for (size_t i = 0; i < count; ++i) {
    const Segment& segment = segments_[first_ + i];
    out[i] = {.iov_base = const_cast<std::byte*>(segment.data), .iov_len = segment.size};
  }
  return count;
}

void WriteQueue::copy(std::span<std::byte> out) const {
  RLOOP_ASSERT(backlog_bytes_ <= out.size(), "more was queued than there is room for");
  std::byte* place = out.data();
  for (const Segment& segment : std::span(segments_).subspan(first_))
    place = std::copy_n(segment.data, segment.size, place);
}

void WriteQueue::consume(size_t bytes) {
  RLOOP_ASSERT(bytes <= backlog_bytes_, "more was sent than was queued");
  backlog_bytes_ -= bytes;
  while (bytes > 0) {
    Segment& segment = segments_[first_];
    size_t step = std::min(bytes, segment.size);
    segment.data += step;
    segment.size -= step;
    bytes -= step;
    if (segment.size == 0) {
      segment = Segment();
      ++first_;
    }
  }
  if (empty()) clear();
}

void WriteQueue::clear() {
  segments_.clear();
  first_ = backlog_bytes_ = 0;
}

}  // namespace rloop::net
