// The peer of a stream of the real world: plain calls on the other end of its socket pair.
//
// Both directions carry numbered bytes. What the kernel has taken from the near end is not known
// there, so this end decides what arrived.
#pragma once

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <span>
#include <vector>

#include "base/fd.hpp"
#include "conformance/sockets.hpp"
#include "hunt/failure.hpp"
#include "hunt/numbered_bytes.hpp"
#include "hunt/stream_kernel.hpp"

namespace rloop::hunt {

struct FarEnd {
  void send(StreamSocket& socket, size_t size) {
    if (socket.in_ended) return;
    std::vector<std::byte> bytes(size);
    NumberedBytes::write(socket.number + 100, socket.in_sent, bytes);
    ssize_t sent = ::send(fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent > 0) socket.in_taken = socket.in_sent += static_cast<uint64_t>(sent);
  }

  void end(StreamSocket& socket) {
    socket.in_ended = true;
    ::shutdown(fd.get(), SHUT_WR);
  }

  // What either side held is lost.
  void reset(StreamSocket& socket, bool is_tcp) {
    socket.in_ended = socket.in_loose = socket.out_loose = true;
    if (is_tcp) test::reset_on_close(fd.get());
    fd.reset();
  }

  void receive(const StreamSocket& socket, size_t most) {
    if (!fd.valid()) return;
    std::array<std::byte, 8192> bytes;
    while (most > 0) {
      ssize_t got = ::recv(fd.get(), bytes.data(), std::min(most, bytes.size()), MSG_DONTWAIT);
      if (got == 0) saw_end = true;
      if (got <= 0) return;
      auto size = static_cast<size_t>(got);
      expect(NumberedBytes::match(socket.number, taken, std::span(bytes).first(size)),
             "what the peer got is not what comes next");
      taken += size;
      most -= size;
      expect(taken <= socket.written, "the peer got more than was written");
    }
  }

  base::UniqueFd fd;
  uint64_t taken = 0;
  bool saw_end = false;
};

}  // namespace rloop::hunt
