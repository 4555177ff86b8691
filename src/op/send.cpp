// The two verbs of a send; see send.hpp.
#include "op/send.hpp"

#include <liburing.h>

namespace rloop::op {

void Send::prepare(io_uring_sqe& sqe) {
  if (message_.msg_iovlen == 1) {
    io_uring_prep_send(&sqe, descriptor().fd, ranges_[0].iov_base, ranges_[0].iov_len,
                       MSG_WAITALL | MSG_NOSIGNAL);
  } else {
    message_.msg_iov = ranges_.data();
    io_uring_prep_sendmsg(&sqe, descriptor().fd, &message_, MSG_WAITALL | MSG_NOSIGNAL);
  }
}

Attempt Send::attempt(std::span<std::byte> /*scratch*/) {
  size_t wanted = 0;
  for (size_t i = 0; i < message_.msg_iovlen; ++i)
    wanted += ranges_[i].iov_len;
  ssize_t sent;
  if (message_.msg_iovlen == 1) {
    sent = ::send(descriptor().fd, ranges_[0].iov_base, wanted, MSG_DONTWAIT | MSG_NOSIGNAL);
  } else {
    message_.msg_iov = ranges_.data();
    sent = ::sendmsg(descriptor().fd, &message_, MSG_DONTWAIT | MSG_NOSIGNAL);
  }
  return {base::Result::from_call(sent), {}, sent < static_cast<ssize_t>(wanted)};
}

}  // namespace rloop::op
