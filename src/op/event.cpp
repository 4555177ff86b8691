// The two verbs of an eventfd's read; see event.hpp.
#include "op/event.hpp"

#include <liburing.h>
#include <unistd.h>

namespace rloop::op {

void ReadEvent::prepare(io_uring_sqe& sqe) {
  io_uring_prep_read(&sqe, descriptor().number(), &counter_, sizeof(counter_), 0);
}

Attempt ReadEvent::attempt(std::span<std::byte> /*scratch*/) {
  ssize_t got = ::read(descriptor().number(), &counter_, sizeof(counter_));
  return {base::Result::from_call(got), {}, true};
}

}  // namespace rloop::op
