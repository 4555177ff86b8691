// The two verbs of an accept; see accept.hpp.
#include "op/accept.hpp"

#include <liburing.h>
#include <sys/socket.h>

namespace rloop::op {

void Accept::prepare(io_uring_sqe& sqe) {
  constexpr int kFlags = SOCK_NONBLOCK | SOCK_CLOEXEC;
  if (multishot()) {
    io_uring_prep_multishot_accept(&sqe, descriptor().fd, nullptr, nullptr, kFlags);
  } else {
    io_uring_prep_accept(&sqe, descriptor().fd, nullptr, nullptr, kFlags);
  }
}

Attempt Accept::attempt(std::span<std::byte> /*scratch*/) {
  int fd = ::accept4(descriptor().fd, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
  return {base::Result::from_call(fd)};
}

}  // namespace rloop::op
