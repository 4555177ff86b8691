// What the sockets of a loop share: its reactor, when they send, and the lists of those that wrote.
//
// asyncio's write() hands the bytes to the kernel before it returns, and programs rely on it: a
// handler that writes and then computes, exits or writes through a copy of the socket. So does
// this, except where gathering what many connections write in one turn saves system calls: then
// they are handed over in groups. And what a stream in the habit of writing in pieces sends first
// may wait in the kernel for the rest, until its handler returns. departure() and
// hand_over_if_due() are the whole policy.
//
// The reactor behind a context may be replaced (ring to epoll, which takes over what is in flight),
// so everybody reaches it through here. The loop owns the context; it outlives every socket. GIL
// held.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "base/buffer_pool.hpp"
#include "base/clock.hpp"
#include "base/intrusive_list.hpp"
#include "base/meter.hpp"
#include "net/departure.hpp"
#include "net/traffic.hpp"
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

  // Between two runs of the loop nobody flushes: then sockets send at once.
  bool loop_running = true;
  // The loop counts its turns here.
  uint32_t turn = 1;
  // How the loop spends its time; it feeds it.
  base::Meter meter;
  // Pieces of one answer follow each other within this time, in base::ticks(). A handler that
  // computes or blocks in between has something to tell.
  uint64_t longest_between_pieces = base::ticks_of(1'000'000);
  // Of the sockets that are gone.
  Traffic past_traffic;

  void begin_turn();
  // Called for each write of a socket that is idle. `sent` is the socket's own count.
  Departure departure(SentAtOnce& sent);
  // The same for a socket whose writes are whole.
  bool may_send_now(SentAtOnce& sent) { return departure(sent) != Departure::with_its_group; }
  // Not many sockets write in this turn, nor did in the last one.
  bool few_write() const;
  // The socket's writes wait for the rest of their group.
  void gather(Stream& stream);
  void gather(Datagram& datagram);
  // The socket has sent ahead of more.
  void expect_more_of(Stream& stream);
  // The rest was sent, or never will be.
  void expect_no_more_of(Stream& stream) {
    if (ahead_ == &stream) ahead_ = nullptr;
  }
  // Between two handlers of a turn: one that takes long must not keep what others wrote.
  void hand_over_if_due() {
    if (has_gathered()) [[unlikely]]
      hand_over_if_old();
  }
  // The part of it that concerns the handler which has just returned.
  void send_what_is_ahead() {
    if (ahead_) [[unlikely]]
      send_without_the_rest();
  }

  // Writes of this turn wait for their group, or for more.
  bool has_gathered() const { return gathered_count_ != 0 || ahead_; }
  bool has_dirty() const { return !dirty_.empty() || !dirty_datagrams_.empty(); }
  // Right before the wait: one send per dirty socket, directly, or through the ring with the wait.
  void flush_dirty();
  // The same when no wait follows: what the kernel takes now is sent before this returns.
  void flush_dirty_now();
  // Where datagrams are received that the reactor lends no buffers for: 1 MiB, made when first
  // asked for. Empty when there is no memory.
  std::span<std::byte> datagram_memory();

 private:
  Departure departure_of_piece(SentAtOnce& sent);
  void send_without_the_rest();
  void hand_over_if_old();
  void hand_over();
  void flush_streams(bool through_ring);
  void flush_datagrams();

  // Sockets with gathered writes. The counts are those of the present group.
  base::IntrusiveList<Stream, DirtyListTag> dirty_;
  base::IntrusiveList<Datagram, DirtyListTag> dirty_datagrams_;
  size_t gathered_count_ = 0;
  int64_t gathered_since_ns_ = 0;
  // Where there is a ring: how many sockets wrote in this turn and in the last in which any did,
  // and how many more may send at once in this one.
  int writers_ = 0, writers_before_ = 0;
  int sockets_left_ = 0;
  Stream* ahead_ = nullptr;  // it has sent pieces, and its handler has not returned
  // Whose piece was written last, and when, in base::ticks(). Compared only.
  const SentAtOnce* last_piece_of_ = nullptr;
  uint64_t last_piece_at_ = 0;

  std::unique_ptr<base::BufferPool> datagram_pool_;
};

}  // namespace rloop::net
