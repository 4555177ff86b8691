// The two verbs of a send; see send.hpp.
#include "op/send.hpp"

#include <liburing.h>

namespace rloop::op {
namespace {

constexpr int kFlags = MSG_DONTWAIT | MSG_NOSIGNAL;

Attempt attempt_of(ssize_t sent, size_t wanted) {
  return {base::Result::from_call(sent), {}, sent >= 0 && static_cast<size_t>(sent) < wanted};
}

}  // namespace

Attempt Send::attempt_one(const Descriptor& descriptor, const void* data, size_t size) {
  return attempt_of(::send(descriptor.number(), data, size, kFlags), size);
}

std::span<iovec> Send::ranges() {
  RLOOP_ASSERT(idle(), "a send was changed while in flight");
  return ranges_;
}

void Send::prepare(io_uring_sqe& sqe) {
  if (count_ == 1) {
    const iovec& range = ranges_[0];
    io_uring_prep_send(&sqe, descriptor().number(), range.iov_base, range.iov_len, kFlags);
  } else {
    io_uring_prep_sendmsg(&sqe, descriptor().number(), &message_of_all(), kFlags);
  }
}

Attempt Send::attempt(std::span<std::byte> /*scratch*/) {
  if (count_ == 1) return attempt_one(descriptor(), ranges_[0].iov_base, ranges_[0].iov_len);
  size_t wanted = 0;
  for (const iovec& range : std::span(ranges_).first(count_))
    wanted += range.iov_len;
  return attempt_of(::sendmsg(descriptor().number(), &message_of_all(), kFlags), wanted);
}

const msghdr& Send::message_of_all() {
  message_.msg_iov = ranges_.data();
  message_.msg_iovlen = count_;
  return message_;
}

}  // namespace rloop::op
