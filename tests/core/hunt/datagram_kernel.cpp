// Answers of a datagram socket that exists in memory alone; see datagram_kernel.hpp.
#include "hunt/datagram_kernel.hpp"

#include <netinet/in.h>

#include <algorithm>
#include <utility>

namespace rloop::hunt {
bool DatagramKernel::find(int fd) const {
  if (fd < 0) return false;
  expect(fd == kFirstNumber, "a call on a number that never was");
  expect(open, "a system call on a number that was closed");
  return true;
}

ssize_t DatagramKernel::sendmsg(int fd, const msghdr* message, int /*flags*/) {
  if (!find(fd)) return refused(EBADF);
  int error = std::exchange(refuse_send, 0);
  if (error == EINTR || error == EAGAIN) return refused(error);
  if (error == 0 && room == 0) return refused(EAGAIN);
  expect(sent < outgoing.size(), "more was sent than there was");
  if (!forgiving) {
    expect(message->msg_iovlen == 1 && message->msg_iov->iov_len == outgoing[sent],
           "not the datagram that comes next");
    expect(
        NumberedBytes::match(300, sent * 137,
                             {static_cast<std::byte*>(message->msg_iov->iov_base), outgoing[sent]}),
        "what was sent is not what comes next");
  }
  ++sent;
  if (error != 0) {
    ++refused_count;
    return refused(error);
  }
  --room;
  return static_cast<ssize_t>(message->msg_iov->iov_len);
}

int DatagramKernel::sendmmsg(int fd, mmsghdr* messages, unsigned count, int flags) {
  unsigned most = std::min(count, std::exchange(most_sent, UINT32_MAX));
  for (unsigned i = 0; i < most; ++i) {
    // An error behind the first comes with the next call.
    if (i > 0 && (refuse_send != 0 || room == 0)) return static_cast<int>(i);
    ssize_t size = sendmsg(fd, &messages[i].msg_hdr, flags);
    if (size < 0) return -1;
    messages[i].msg_len = static_cast<unsigned>(size);
  }
  return static_cast<int>(most);
}

ssize_t DatagramKernel::recvmsg(int fd, msghdr* message, int /*flags*/) {
  if (!find(fd)) return refused(EBADF);
  if (taken == incoming.size()) return refused(EAGAIN);
  const Incoming& next = incoming[taken++];
  if (next.error_number != 0) return refused(next.error_number);
  expect(message->msg_iovlen == 1 && message->msg_iov->iov_len >= next.size, "no room");
  write_incoming(taken - 1, {static_cast<std::byte*>(message->msg_iov->iov_base), next.size});
  sockaddr_in from{};
  from.sin_family = AF_INET;
  from.sin_port = htons(static_cast<uint16_t>(taken));
  std::memcpy(message->msg_name, &from, std::min<size_t>(sizeof(from), message->msg_namelen));
  message->msg_namelen = sizeof(from);
  return static_cast<ssize_t>(next.size);
}

int DatagramKernel::recvmmsg(int fd, mmsghdr* messages, unsigned count, int flags,
                             timespec* /*timeout*/) {
  for (unsigned i = 0; i < count; ++i) {
    bool stops = taken < incoming.size() ? incoming[taken].error_number != 0 : true;
    if (i > 0 && stops) return static_cast<int>(i);
    ssize_t size = recvmsg(fd, &messages[i].msg_hdr, flags);
    if (size < 0) return -1;
    messages[i].msg_len = static_cast<unsigned>(size);
  }
  return static_cast<int>(count);
}

int DatagramKernel::poll(pollfd* fds, nfds_t /*count*/, int /*timeout_ms*/) {
  if (!find(fds->fd)) return 0;
  fds->revents = 0;
  if (taken < incoming.size()) fds->revents |= static_cast<short>(fds->events & POLLIN);
  if (room > 0) fds->revents |= static_cast<short>(fds->events & POLLOUT);
  return fds->revents != 0 ? 1 : 0;
}

int DatagramKernel::close(int fd) {
  if (fd < kFirstNumber) return SystemCalls::close(fd);
  expect(open, "closed twice");
  open = false;
  return 0;
}

int DatagramKernel::clock_gettime(clockid_t /*clock*/, timespec* now) {
  *now = {.tv_sec = now_ns / 1'000'000'000, .tv_nsec = now_ns % 1'000'000'000};
  return 0;
}

}  // namespace rloop::hunt
