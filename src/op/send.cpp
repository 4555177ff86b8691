// The two verbs of a send; see send.hpp.
#include "op/send.hpp"

#include <liburing.h>

#include <algorithm>

namespace rloop::op {

std::span<iovec> Send::ranges(size_t wanted) {
  RLOOP_ASSERT(idle(), "a send was changed while in flight");
  if (wanted > 1 && !several_) several_ = std::make_unique<Several>();
  uses_several_ = wanted > 1;
  return {latest_ranges(), std::clamp(wanted, size_t{1}, kMaxRanges)};
}

void Send::prepare(io_uring_sqe& sqe) {
  constexpr int kFlags = MSG_DONTWAIT | MSG_NOSIGNAL;
  if (count_ == 1) {
    const iovec& range = *latest_ranges();
    io_uring_prep_send(&sqe, descriptor().number(), range.iov_base, range.iov_len, kFlags);
  } else {
    io_uring_prep_sendmsg(&sqe, descriptor().number(), &message_of_all(), kFlags);
  }
}

Attempt Send::attempt(std::span<std::byte> /*scratch*/) {
  constexpr int kFlags = MSG_DONTWAIT | MSG_NOSIGNAL;
  size_t wanted = 0;
  ssize_t sent;
  if (count_ == 1) {
    const iovec& range = *latest_ranges();
    wanted = range.iov_len;
    sent = ::send(descriptor().number(), range.iov_base, wanted, kFlags);
  } else {
    const msghdr& message = message_of_all();
    for (const iovec& range : std::span(message.msg_iov, count_))
      wanted += range.iov_len;
    sent = ::sendmsg(descriptor().number(), &message, kFlags);
  }
  return {base::Result::from_call(sent), {}, sent >= 0 && sent < static_cast<ssize_t>(wanted)};
}

const msghdr& Send::message_of_all() {
  several_->message.msg_iov = latest_ranges();
  several_->message.msg_iovlen = count_;
  return several_->message;
}

}  // namespace rloop::op
