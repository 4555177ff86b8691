// Answers of sockets that exist in memory alone; see stream_kernel.hpp.
#include "hunt/stream_kernel.hpp"

#include <algorithm>
#include <utility>

namespace rloop::hunt {
// Null: EBADF.
StreamSocket* StreamKernel::find(int fd) {
  if (fd < 0) return nullptr;
  size_t index = static_cast<size_t>(fd) - kFirstNumber;
  expect(fd >= kFirstNumber && index < sockets.size(), "a call on a number that never was");
  expect(sockets[index].open, "a system call on a number that was closed");
  return &sockets[index];
}

ssize_t StreamKernel::may_send(StreamSocket& socket, size_t size) {
  expect(size > 0, "a send of nothing");
  size_t most = std::min(size, std::exchange(socket.most_sent, SIZE_MAX));
  if (int error = std::exchange(socket.refuse_send, 0)) return refused(error);
  if (socket.out_error != 0) return refused(socket.out_error);
  if (socket.shut_down) return refused(EPIPE);
  if (socket.room == 0) return refused(EAGAIN);
  return static_cast<ssize_t>(std::min<uint64_t>(most, socket.room));
}

void StreamKernel::take(StreamSocket& socket, const void* bytes, size_t size) {
  expect(socket.out_loose || NumberedBytes::match(socket.number, socket.out_taken,
                                                  {static_cast<const std::byte*>(bytes), size}),
         "what was sent is not what comes next");
  socket.out_taken += size;
  socket.room -= size;
  expect(socket.out_taken <= socket.written, "more was sent than was written");
}

ssize_t StreamKernel::send(int fd, const void* bytes, size_t size, int /*flags*/) {
  StreamSocket* socket = find(fd);
  if (!socket) return refused(EBADF);
  ssize_t taken = may_send(*socket, size);
  if (taken > 0) take(*socket, bytes, static_cast<size_t>(taken));
  return taken;
}

ssize_t StreamKernel::sendmsg(int fd, const msghdr* message, int /*flags*/) {
  StreamSocket* socket = find(fd);
  if (!socket) return refused(EBADF);
  std::span ranges(message->msg_iov, message->msg_iovlen);
  size_t size = 0;
  for (const iovec& range : ranges)
    size += range.iov_len;
  ssize_t taken = may_send(*socket, size);
  size_t left = taken > 0 ? static_cast<size_t>(taken) : 0;
  for (const iovec& range : ranges) {
    size_t part = std::min(left, range.iov_len);
    if (part > 0) take(*socket, range.iov_base, part);
    left -= part;
  }
  return taken;
}

ssize_t StreamKernel::recv(int fd, void* bytes, size_t size, int /*flags*/) {
  StreamSocket* socket = find(fd);
  if (!socket) return refused(EBADF);
  size_t most = std::min(size, std::exchange(socket->most_received, SIZE_MAX));
  if (int error = std::exchange(socket->refuse_recv, 0)) return refused(error);
  size_t there = static_cast<size_t>(socket->in_sent - socket->in_taken);
  if (there > 0) {
    size_t taken = std::min(most, there);
    NumberedBytes::write(socket->number + 100, socket->in_taken,
                         {static_cast<std::byte*>(bytes), taken});
    socket->in_taken += taken;
    return static_cast<ssize_t>(taken);
  }
  if (int error = std::exchange(socket->in_error, 0)) return refused(error);
  return socket->in_ended ? 0 : refused(EAGAIN);
}

int StreamKernel::shutdown(int fd, int /*how*/) {
  StreamSocket* socket = find(fd);
  if (!socket) return refused(EBADF);
  expect(!socket->shut_down, "shut down twice");
  expect(socket->out_loose || socket->out_taken == socket->written,
         "shut down before everything was sent");
  socket->shut_down = true;
  return 0;
}

int StreamKernel::poll(pollfd* fds, nfds_t /*count*/, int /*timeout_ms*/) {
  StreamSocket* socket = find(fds->fd);
  if (!socket) return 0;
  fds->revents = 0;
  if (socket->readable()) fds->revents |= static_cast<short>(fds->events & POLLIN);
  if (socket->writable()) fds->revents |= static_cast<short>(fds->events & POLLOUT);
  // A peer that is gone: there is always something to read then, an error or the end at last.
  bool gone = (socket->hung_up || socket->out_error != 0) && socket->readable();
  if (gone) fds->revents |= POLLHUP;
  return fds->revents != 0 ? 1 : 0;
}

int StreamKernel::close(int fd) {
  if (fd < kFirstNumber) return SystemCalls::close(fd);
  find(fd)->open = false;
  return 0;
}

int StreamKernel::clock_gettime(clockid_t /*clock*/, timespec* now) {
  *now = {.tv_sec = now_ns / 1'000'000'000, .tv_nsec = now_ns % 1'000'000'000};
  return 0;
}

}  // namespace rloop::hunt
