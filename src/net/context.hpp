// What streams and listeners share: the reactor of their loop, and the list of dirty streams.
//
// The reactor behind a context may be replaced (ring to epoll) while no operation is in flight, so
// everybody reaches it through here. The loop owns the context; it outlives every stream.
#pragma once

#include "base/intrusive_list.hpp"
#include "reactor/reactor.hpp"

namespace rloop::net {

class Stream;
struct DirtyListTag;

struct Context {
  reactor::Reactor* reactor = nullptr;
  // Streams that wrote during this turn. Flushed once per turn, right before the wait.
  base::IntrusiveList<Stream, DirtyListTag> dirty;

  // Between two runs of the loop nobody flushes: then streams send at once.
  bool loop_running = true;

  // One send per dirty stream: directly, or through the ring with the wait that follows.
  void flush_dirty();
  // The same when no wait follows: what the kernel takes now is sent before this returns.
  void flush_dirty_now();
};

}  // namespace rloop::net
