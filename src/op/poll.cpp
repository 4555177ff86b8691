// The two verbs of a poll; see poll.hpp.
#include "op/poll.hpp"

#include <liburing.h>
#include <poll.h>

#include <cerrno>

namespace rloop::op {

void Poll::prepare(io_uring_sqe& sqe) {
  unsigned events = direction() == Direction::read ? POLLIN : POLLOUT;
  io_uring_prep_poll_add(&sqe, descriptor().number(), events);
}

Attempt Poll::attempt(std::span<std::byte> /*scratch*/) {
  if (direction() == Direction::read) return {.result = base::Result::count(1), .called = false};
  if (descriptor().number() < 0) return {base::Result::error(EBADF)};  // poll(2) ignores it
  pollfd asked{.fd = descriptor().number(), .events = POLLOUT, .revents = 0};
  base::Result result = base::Result::from_call(::poll(&asked, 1, 0));
  return {result.value() == 0 ? base::Result::again() : result};
}

}  // namespace rloop::op
