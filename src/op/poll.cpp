// The two verbs of a poll; see poll.hpp.
#include "op/poll.hpp"

#include <liburing.h>
#include <poll.h>

namespace rloop::op {

void Poll::prepare(io_uring_sqe& sqe) {
  unsigned events = direction() == Direction::read ? POLLIN : POLLOUT;
  io_uring_prep_poll_add(&sqe, descriptor().fd, events);
}

Attempt Poll::attempt(std::span<std::byte> /*scratch*/) {
  if (direction() == Direction::read) return {base::Result::count(1)};
  pollfd asked{.fd = descriptor().fd, .events = POLLOUT, .revents = 0};
  base::Result result = base::Result::from_call(::poll(&asked, 1, 0));
  return {result.value() == 0 ? base::Result::again() : result};
}

}  // namespace rloop::op
