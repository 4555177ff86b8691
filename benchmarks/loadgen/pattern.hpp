// The bytes that loadgen sends and expects back.
//
// A message is `message_bytes - 1` bytes that contain no newline, then a newline, so that a server
// reading lines echoes it too. The bytes are a slice of one random table; where the slice begins
// depends on the connection and on the message's number, so an answer that reaches the wrong
// connection, comes twice, in the wrong order or shifted by a byte does not compare equal. Nothing
// is built per message: sending gathers pieces of the table, checking compares with them.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace loadgen {

// A contiguous run of expected bytes.
struct Piece {
  const char* data;
  std::size_t size;
};

class Pattern {
 public:
  explicit Pattern(std::size_t message_bytes) : message_bytes_(message_bytes) {
    table_.resize(kStarts + message_bytes);
    std::uint64_t state = 0x9e3779b97f4a7c15U;
    for (char& byte : table_) {
      state = mix(state);
      byte = static_cast<char>(state >> 32);
      if (byte == '\n') {
        byte = '\r';
      }
    }
  }

  // The run that begins `position` bytes after the start of message `first_message`; messages
  // follow each other without a gap.
  Piece at(std::uint32_t connection, std::uint64_t first_message, std::size_t position) const {
    const std::size_t within = position % message_bytes_;
    if (within == message_bytes_ - 1) {
      return {"\n", 1};
    }
    const std::uint64_t message = first_message + position / message_bytes_;
    const std::size_t start = mix((message << 20U) ^ connection) % kStarts;
    return {table_.data() + start + within, message_bytes_ - 1 - within};
  }

 private:
  // A prime near 64 Ki: two messages are alike by chance once in 65521, and the table stays in
  // the second-level cache.
  static constexpr std::size_t kStarts = 65521;

  // The finaliser of splitmix64 (public domain constants).
  static std::uint64_t mix(std::uint64_t x) {
    x += 0x9e3779b97f4a7c15U;
    x = (x ^ (x >> 30U)) * 0xbf58476d1ce4e5b9U;
    x = (x ^ (x >> 27U)) * 0x94d049bb133111ebU;
    return x ^ (x >> 31U);
  }

  std::size_t message_bytes_;
  std::vector<char> table_;
};

}  // namespace loadgen
