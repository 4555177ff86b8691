// The two verbs of a receive; see recv.hpp.
#include "op/recv.hpp"

#include <liburing.h>
#include <sys/socket.h>

namespace rloop::op {

void Recv::prepare(io_uring_sqe& sqe) {
  if (multishot()) {
    io_uring_prep_recv_multishot(&sqe, descriptor().number(), nullptr, 0, 0);
  } else {
    io_uring_prep_recv(&sqe, descriptor().number(), nullptr, 0, 0);
  }
  sqe.flags |= IOSQE_BUFFER_SELECT;
  sqe.buf_group = kReceiveBufferGroup;
}

Attempt Recv::attempt(std::span<std::byte> scratch) {
  ssize_t received = ::recv(descriptor().number(), scratch.data(), scratch.size(), MSG_DONTWAIT);
  base::Result result = base::Result::from_call(received);
  size_t size = received > 0 ? static_cast<size_t>(received) : 0;
  return {result, scratch.first(size), received >= 0 && size < scratch.size(), received == 0};
}

}  // namespace rloop::op
