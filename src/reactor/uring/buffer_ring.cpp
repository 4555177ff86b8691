// Registration and the account of lent buffers; see buffer_ring.hpp.
#include "reactor/uring/buffer_ring.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <system_error>

#include "base/assert.hpp"

namespace rloop::reactor {

BufferRing::BufferRing(size_t count, size_t buffer_size, uint16_t group)
    : pool_(count, buffer_size),
      group_(group),
      entries_(map_entries(count * sizeof(io_uring_buf))),
      entries_bytes_(count * sizeof(io_uring_buf)),
      lent_(count, false),
      offered_count_(std::min(count, kOfferedFirst)) {
  if (!entries_) throw std::system_error(errno, std::generic_category(), "mmap of the buffer ring");
}

// Null when there is no memory.
io_uring_buf_ring* BufferRing::map_entries(size_t bytes) {
  void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return nullptr;
  ::madvise(memory, bytes, MADV_DONTFORK);
  return static_cast<io_uring_buf_ring*>(memory);
}

BufferRing::~BufferRing() {
  if (entries_) ::munmap(entries_, entries_bytes_);
}

base::Result BufferRing::register_with(Ring& ring) {
  if (!entries_) entries_ = map_entries(entries_bytes_);
  if (!entries_) return base::Result::error(ENOMEM);
  io_uring_buf_reg registration{};
  registration.ring_addr = reinterpret_cast<uint64_t>(entries_);
  registration.ring_entries = static_cast<uint32_t>(pool_.count());
  registration.bgid = group_;
  int error = io_uring_register_buf_ring(&ring.raw(), &registration, 0);
  if (error < 0) return base::Result(error);
  // The kernel's head starts at zero, so the tail does.
  io_uring_buf_ring_init(entries_);
  unpublished_ = 0;
  for (size_t id = 0; id < offered_count_; ++id) {
    if (!lent_[id]) add(static_cast<uint16_t>(id));
  }
  publish();
  return base::Result(0);
}

base::Result BufferRing::unregister_from(Ring& ring) {
  int error = io_uring_unregister_buf_ring(&ring.raw(), group_);
  return base::Result(error == -ENOENT ? 0 : std::min(error, 0));
}

void BufferRing::take(uint16_t id) {
  RLOOP_ASSERT(!lent_[id], "the kernel lent a buffer twice");
  lent_[id] = true;
  if (++lent_count_ == offered_count_) were_short_ = true;
}

void BufferRing::give_back(uint16_t id) {
  RLOOP_ASSERT(lent_[id], "a buffer came back that was not lent");
  lent_[id] = false;
  --lent_count_;
  add(id);
}

void BufferRing::add(uint16_t id) {
  if (!entries_) return;
  std::span<std::byte> buffer = pool_.buffer(id);
  io_uring_buf_ring_add(entries_, buffer.data(), static_cast<unsigned>(buffer.size()), id,
                        io_uring_buf_ring_mask(static_cast<uint32_t>(pool_.count())),
                        unpublished_++);
}

void BufferRing::offer_more() {
  were_short_ = false;
  size_t wanted = std::min(pool_.count(), offered_count_ * 2);
  while (offered_count_ < wanted)
    add(static_cast<uint16_t>(offered_count_++));
}

void BufferRing::publish() {
  if (were_short_) offer_more();
  if (unpublished_ == 0 || !entries_) return;
  io_uring_buf_ring_advance(entries_, unpublished_);
  unpublished_ = 0;
}

}  // namespace rloop::reactor
