// Memory for receiving: `count` buffers of `size` bytes in one private mapping.
//
// The kernel hands the pages out when they are first written, so a pool of 4 MiB costs an idle
// loop nothing. Numbers, not pointers, name a buffer (they are the kernel's buffer ids). The pool
// owns the memory and knows neither ring nor who holds a buffer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace rloop::base {

class BufferPool {
 public:
  // Throws std::system_error with mmap's errno when there is no memory.
  BufferPool(size_t count, size_t size);
  BufferPool(const BufferPool&) = delete;
  BufferPool& operator=(const BufferPool&) = delete;
  ~BufferPool();

  size_t count() const { return count_; }
  size_t buffer_size() const { return size_; }
  std::span<std::byte> buffer(uint16_t id) const { return {memory_ + id * size_, size_}; }

 private:
  size_t count_;
  size_t size_;
  std::byte* memory_;
};

}  // namespace rloop::base
