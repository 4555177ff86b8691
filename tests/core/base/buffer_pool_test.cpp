// Receive buffers named by number: one mapping, no overlap.
//
// Who holds a buffer is not the pool's business; that is tested with the buffer ring
// (reactor/uring/buffer_ring_test.cpp). The second test asks for more memory than an address space
// has.
#include "base/buffer_pool.hpp"

#include <gtest/gtest.h>

#include <system_error>

namespace rloop::base {
namespace {

TEST(BufferPoolTest, BuffersDoNotOverlap) {
  BufferPool pool(4, 64);
  EXPECT_EQ(pool.count(), 4U);
  EXPECT_EQ(pool.buffer_size(), 64U);
  for (uint16_t id = 0; id < 4; ++id) {
    for (std::byte& byte : pool.buffer(id))
      byte = static_cast<std::byte>(id);
  }
  for (uint16_t id = 0; id < 4; ++id) {
    EXPECT_EQ(pool.buffer(id).size(), 64U);
    for (std::byte byte : pool.buffer(id))
      ASSERT_EQ(byte, static_cast<std::byte>(id));
  }
}

TEST(BufferPoolTest, ThrowsWhenThereIsNoMemory) {
  EXPECT_THROW(BufferPool(1 << 15, size_t{1} << 45), std::system_error);
}

}  // namespace
}  // namespace rloop::base
