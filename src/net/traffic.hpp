// What went through a socket.
//
// Counted by each socket alone, and added up when somebody asks the loop: so to know it of every
// connection costs nothing per message.
#pragma once

#include <cstddef>
#include <cstdint>

namespace rloop::net {

struct Traffic {
  uint64_t messages_in = 0;   // receives that carried data
  uint64_t messages_out = 0;  // sends that took data
  uint64_t bytes_in = 0;
  uint64_t bytes_out = 0;

  void received(size_t size) {
    ++messages_in;
    bytes_in += size;
  }
  void sent(size_t size) {
    ++messages_out;
    bytes_out += size;
  }
  Traffic& operator+=(const Traffic& other) {
    messages_in += other.messages_in;
    messages_out += other.messages_out;
    bytes_in += other.bytes_in;
    bytes_out += other.bytes_out;
    return *this;
  }
};

}  // namespace rloop::net
