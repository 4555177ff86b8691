// What the sockets of a loop share: its reactor, and the lists of those that wrote.
//
// The reactor behind a context may be replaced (ring to epoll) while no operation is in flight, so
// everybody reaches it through here. The loop owns the context; it outlives every socket.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "base/buffer_pool.hpp"
#include "base/intrusive_list.hpp"
#include "reactor/reactor.hpp"

namespace rloop::net {

class Stream;
class Datagram;
struct DirtyListTag;

// Which system call an error comes from.
enum class IoStep { read, write };

struct Context {
  explicit Context(reactor::Reactor* engine = nullptr);
  ~Context();

  reactor::Reactor* reactor;
  // Streams that wrote during this turn. Flushed once per turn, right before the wait.
  base::IntrusiveList<Stream, DirtyListTag> dirty;
  base::IntrusiveList<Datagram, DirtyListTag> dirty_datagrams;

  // Between two runs of the loop nobody flushes: then sockets send at once.
  bool loop_running = true;
  // The loop counts its turns here.
  uint32_t turn = 0;

  bool has_dirty() const { return !dirty.empty() || !dirty_datagrams.empty(); }
  // One send per dirty stream: directly, or through the ring with the wait that follows.
  void flush_dirty();
  // The same when no wait follows: what the kernel takes now is sent before this returns.
  void flush_dirty_now();
  // Where datagrams are received that the reactor lends no buffers for: 1 MiB, made when first
  // asked for. Empty when there is no memory.
  std::span<std::byte> datagram_memory();

 private:
  void flush_datagrams();

  std::unique_ptr<base::BufferPool> datagram_pool_;
};

}  // namespace rloop::net
