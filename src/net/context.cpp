// The policy of flushing; see context.hpp.
#include "net/context.hpp"

#include "net/datagram.hpp"
#include "net/stream.hpp"

namespace rloop::net {
namespace {

// Up to so many dirty streams are sent to directly, more go through the ring with the wait. 0, 2,
// 8 and "always" differed by less than the noise (KERNEL.md 0b).
constexpr int kDirectFlush_streams = 2;

}  // namespace

Context::Context(reactor::Reactor* engine) : reactor(engine) {}
Context::~Context() = default;

void Context::flush_dirty() {
  flush_datagrams();
  if (dirty.empty()) return;
  base::IntrusiveList<Stream, DirtyListTag> batch;
  batch.splice_back(dirty);
  int count = 0;
  if (reactor->capabilities().ring) batch.for_each([&](Stream&) { ++count; });
  bool through_ring = count > kDirectFlush_streams;
  while (!batch.empty()) {
    Stream& stream = batch.pop_front();
    if (through_ring) {
      stream.flush_through_ring();
    } else {
      stream.flush_direct();
    }
  }
}

// One sendmmsg for all datagrams of a socket: as few system calls as through the ring. A socket
// that is dirty again after its errors waits for the next turn.
void Context::flush_datagrams() {
  base::IntrusiveList<Datagram, DirtyListTag> batch;
  batch.splice_back(dirty_datagrams);
  while (!batch.empty())
    batch.pop_front().flush();
}

void Context::flush_dirty_now() {
  flush_datagrams();
  while (!dirty.empty())
    dirty.pop_front().flush_direct();
}

std::span<std::byte> Context::datagram_memory() {
  constexpr size_t kBytes = 1024 * 1024;
  try {
    if (!datagram_pool_) datagram_pool_ = std::make_unique<base::BufferPool>(1, kBytes);
  } catch (const std::exception&) {
    return {};
  }
  return datagram_pool_->buffer(0);
}

}  // namespace rloop::net
