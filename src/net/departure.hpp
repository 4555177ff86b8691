// When what a socket has written leaves, and what that is told from.
//
// Eight bytes of each socket, which net::Context keeps: how often it wrote in the present turn and
// in those before. A stream that wrote equally often in two turns, more than once and quickly, is
// expected to do so again: a head, then a body. Its first pieces are sent with the remark that more
// follows (MSG_MORE), so that they travel, and wake the peer, together. The kernel has them all the
// same, and sends them with the end of the process, or by itself after 200 ms.
#pragma once

#include <cstdint>

namespace rloop::net {

// When what an idle socket has written is handed to the kernel: before write() returns, the same
// with the remark that more follows, or with its group.
enum class Departure { now, ahead_of_more, with_its_group };

// How a socket writes, and what it may still send at once in the turn in which it wrote last.
struct SentAtOnce {
  uint32_t turn = 0;
  uint8_t left = 0;
  uint8_t writes = 0;         // in that turn
  uint8_t writes_before = 0;  // in the one before that in which it wrote
  uint8_t pieces = 0;         // so many are expected; above kDistrusted: none, for the difference

  // Turns in which a stream writes, after one in which the rest did not come.
  static constexpr uint8_t kDistrusted = 128, kDistrustTurns = 64;

  void begin_turn(uint32_t now, uint8_t writes_at_once) {
    bool habit = writes > 1 && writes == writes_before;
    uint8_t distrust = pieces > kDistrusted ? static_cast<uint8_t>(pieces - 1) : uint8_t{0};
    pieces = distrust > 0 ? distrust : habit ? writes : uint8_t{0};
    writes_before = writes;
    writes = 0;
    turn = now;
    left = writes_at_once;
  }
  void count_write() { writes += writes < kDistrusted; }
  bool wrote_in_pieces() const { return writes_before > 1; }
  bool expects_more() const { return writes < pieces && pieces < kDistrusted; }
  // Too slow for pieces of one answer.
  void forget_habit() { writes_before = pieces = 0; }
  // What was expected did not come.
  void distrust() { pieces = kDistrusted + kDistrustTurns; }
};

}  // namespace rloop::net
