// What the sockets of a loop share: its reactor, when they send, and the lists of those that wrote.
//
// asyncio's write() hands the bytes to the kernel before it returns, and programs rely on it: a
// handler that writes and then computes, exits or writes through a copy of the socket. So does
// this, except where many connections write in one turn: then they are handed over in groups. That
// saves system calls on a ring, and on both engines segments, wake-ups of the peers, and the misses
// of handlers whose caches a send has cooled. may_send_now() and due_after_handler() are the whole
// policy.
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
#include "net/traffic.hpp"
#include "reactor/reactor.hpp"

namespace rloop::net {

class Stream;
class Datagram;
struct DirtyListTag;

// Which system call an error comes from.
enum class IoStep { read, write };

// What a socket may still send at once in the turn in which it wrote last. (Four bytes: every
// connection has it. A turn is taken for another one 268 million turns later, which costs nothing.)
struct SentAtOnce {
  static constexpr int kTurnBits = 28;
  uint32_t turn : kTurnBits = 0;
  uint32_t left : 4 = 0;
};

struct Context {
  // So many sockets send at once in a turn. But none does where more than a pair wrote in the turn
  // before and this one has more than a pair of things to run: there is something to gain by
  // gathering, and the head of an answer that left alone would cost a segment, and wake its client
  // once more.
  static constexpr size_t kFew = 4, kPair = 2, kMuch = kPair + 1;

  explicit Context(reactor::Reactor* engine = nullptr);
  ~Context();

  reactor::Reactor* reactor;

  // Between two runs of the loop nobody flushes: then sockets send at once.
  bool loop_running = true;
  // The loop counts its turns here.
  uint32_t turn = 1;
  // How the loop spends its time; it feeds it.
  base::Meter meter;
  // Of the sockets that are gone.
  Traffic past_traffic;

  // `to_run`: handles and completions, as far as they are known, counted up to kMuch at least. More
  // may write than that.
  void begin_turn(size_t to_run);
  // Whether an idle socket that has written hands it to the kernel before write() returns.
  // `sent` is the socket's own count.
  bool may_send_now(SentAtOnce& sent);
  // Not many sockets write in this turn, nor will, as it looks.
  bool few_write() const;
  // The socket's writes wait for the rest of their group.
  void gather(Stream& stream);
  void gather(Datagram& datagram);
  // After each handler: whether what was gathered should leave now, for the next one may take long
  // and must not keep what others wrote.
  bool due_after_handler() { return times_handlers_ && handler_ended(base::now_ns()); }
  // May call owners.
  void hand_over_gathered();
  void hand_over_if_due() {
    if (due_after_handler()) [[unlikely]]
      hand_over_gathered();
  }

  bool has_dirty() const { return !dirty_.empty() || !dirty_datagrams_.empty(); }
  // Right before the wait: one send per dirty socket, directly, or through the ring with the wait.
  void flush_dirty() {
    if (has_dirty() || gathered_count_ != 0) [[unlikely]]
      flush_all_dirty();
  }
  // The same when no wait follows: what the kernel takes now is sent before this returns.
  void flush_dirty_now();
  // Where datagrams are received that the reactor lends no buffers for: 1 MiB, made when first
  // asked for. Empty when there is no memory.
  std::span<std::byte> datagram_memory();

 private:
  static constexpr uint32_t kTurns = 1U << SentAtOnce::kTurnBits;

  void time_handlers(int64_t now_ns);
  bool handler_ended(int64_t now_ns);
  bool group_is_full(int64_t now_ns) const;
  void note_gathered();
  void hand_over();
  void flush_all_dirty();
  void flush_streams(bool through_ring);
  void flush_datagrams();

  // Sockets with gathered writes. The counts are those of the present group.
  base::IntrusiveList<Stream, DirtyListTag> dirty_;
  base::IntrusiveList<Datagram, DirtyListTag> dirty_datagrams_;
  size_t gathered_count_ = 0;
  int64_t gathered_since_ns_ = 0;
  // From the first moment of a turn on in which something may be gathered.
  bool times_handlers_ = false;
  int64_t handler_began_ns_ = 0;
  // How many sockets wrote in this turn and in the last in which any did,
  // and how many more may send at once in this one.
  size_t writers_ = 0, writers_before_ = 0;
  size_t sockets_left_ = 0;
  bool little_to_run_ = false;

  std::unique_ptr<base::BufferPool> datagram_pool_;
};

}  // namespace rloop::net
