// Maps and unmaps; see buffer_pool.hpp.
#include "base/buffer_pool.hpp"

#include <sys/mman.h>

#include <cerrno>
#include <system_error>

namespace rloop::base {

BufferPool::BufferPool(size_t count, size_t size) : count_(count), size_(size) {
  void* memory = ::mmap(nullptr, count * size, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) {
    throw std::system_error(errno, std::generic_category(), "mmap of receive buffers");
  }
  memory_ = static_cast<std::byte*>(memory);
}

BufferPool::~BufferPool() {
  ::munmap(memory_, count_ * size_);
}

}  // namespace rloop::base
