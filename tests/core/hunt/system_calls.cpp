// From the linker's names to whoever is installed, and on to the kernel; see system_calls.hpp.
//
// __wrap_x is what the core's call of x arrives at, __real_x the one of the C library (or of the
// sanitizer, which looks at the memory as always).
#include "hunt/system_calls.hpp"

#include <liburing.h>

// NOLINTBEGIN(bugprone-reserved-identifier): the linker makes these names.
extern "C" {
ssize_t __real_send(int fd, const void* bytes, size_t size, int flags);
ssize_t __real_sendmsg(int fd, const msghdr* message, int flags);
int __real_sendmmsg(int fd, mmsghdr* messages, unsigned count, int flags);
ssize_t __real_recv(int fd, void* bytes, size_t size, int flags);
ssize_t __real_recvmsg(int fd, msghdr* message, int flags);
int __real_recvmmsg(int fd, mmsghdr* messages, unsigned count, int flags, timespec* timeout);
int __real_accept4(int fd, sockaddr* address, socklen_t* length, int flags);
int __real_shutdown(int fd, int how);
int __real_poll(pollfd* fds, nfds_t count, int timeout_ms);
int __real_epoll_ctl(int set, int operation, int fd, epoll_event* event);
int __real_epoll_wait(int set, epoll_event* events, int most, int timeout_ms);
int __real_close(int fd);
int __real_clock_gettime(clockid_t clock, timespec* now);
int __real_io_uring_queue_init_params(unsigned entries, io_uring* ring, io_uring_params* params);
void __real_io_uring_queue_exit(io_uring* ring);
int __real_io_uring_enter2(unsigned fd, unsigned to_submit, unsigned wanted, unsigned flags,
                           sigset_t* argument, size_t size);
}

namespace rloop::hunt {

SystemCalls* SystemCalls::installed = nullptr;

SystemCalls::~SystemCalls() = default;

ssize_t SystemCalls::send(int fd, const void* bytes, size_t size, int flags) {
  return __real_send(fd, bytes, size, flags);
}
ssize_t SystemCalls::sendmsg(int fd, const msghdr* message, int flags) {
  return __real_sendmsg(fd, message, flags);
}
int SystemCalls::sendmmsg(int fd, mmsghdr* messages, unsigned count, int flags) {
  return __real_sendmmsg(fd, messages, count, flags);
}
ssize_t SystemCalls::recv(int fd, void* bytes, size_t size, int flags) {
  return __real_recv(fd, bytes, size, flags);
}
ssize_t SystemCalls::recvmsg(int fd, msghdr* message, int flags) {
  return __real_recvmsg(fd, message, flags);
}
int SystemCalls::recvmmsg(int fd, mmsghdr* messages, unsigned count, int flags, timespec* timeout) {
  return __real_recvmmsg(fd, messages, count, flags, timeout);
}
int SystemCalls::accept4(int fd, sockaddr* address, socklen_t* length, int flags) {
  return __real_accept4(fd, address, length, flags);
}
int SystemCalls::shutdown(int fd, int how) {
  return __real_shutdown(fd, how);
}
int SystemCalls::poll(pollfd* fds, nfds_t count, int timeout_ms) {
  return __real_poll(fds, count, timeout_ms);
}
int SystemCalls::epoll_ctl(int set, int operation, int fd, epoll_event* event) {
  return __real_epoll_ctl(set, operation, fd, event);
}
int SystemCalls::epoll_wait(int set, epoll_event* events, int most, int timeout_ms) {
  return __real_epoll_wait(set, events, most, timeout_ms);
}
int SystemCalls::close(int fd) {
  return __real_close(fd);
}
int SystemCalls::clock_gettime(clockid_t clock, timespec* now) {
  return __real_clock_gettime(clock, now);
}
int SystemCalls::io_uring_queue_init_params(unsigned entries, io_uring* ring,
                                            io_uring_params* params) {
  return __real_io_uring_queue_init_params(entries, ring, params);
}
void SystemCalls::io_uring_queue_exit(io_uring* ring) {
  __real_io_uring_queue_exit(ring);
}
int SystemCalls::io_uring_enter2(unsigned fd, unsigned to_submit, unsigned wanted, unsigned flags,
                                 sigset_t* argument, size_t size) {
  return __real_io_uring_enter2(fd, to_submit, wanted, flags, argument, size);
}

}  // namespace rloop::hunt

extern "C" {
using rloop::hunt::SystemCalls;
ssize_t __wrap_send(int fd, const void* bytes, size_t size, int flags) {
  if (SystemCalls* calls = SystemCalls::installed) return calls->send(fd, bytes, size, flags);
  return __real_send(fd, bytes, size, flags);
}
ssize_t __wrap_sendmsg(int fd, const msghdr* message, int flags) {
  if (SystemCalls* calls = SystemCalls::installed) return calls->sendmsg(fd, message, flags);
  return __real_sendmsg(fd, message, flags);
}
int __wrap_sendmmsg(int fd, mmsghdr* messages, unsigned count, int flags) {
  if (SystemCalls* calls = SystemCalls::installed)
    return calls->sendmmsg(fd, messages, count, flags);
  return __real_sendmmsg(fd, messages, count, flags);
}
ssize_t __wrap_recv(int fd, void* bytes, size_t size, int flags) {
  if (SystemCalls* calls = SystemCalls::installed) return calls->recv(fd, bytes, size, flags);
  return __real_recv(fd, bytes, size, flags);
}
ssize_t __wrap_recvmsg(int fd, msghdr* message, int flags) {
  if (SystemCalls* calls = SystemCalls::installed) return calls->recvmsg(fd, message, flags);
  return __real_recvmsg(fd, message, flags);
}
int __wrap_recvmmsg(int fd, mmsghdr* messages, unsigned count, int flags, timespec* timeout) {
  if (SystemCalls* calls = SystemCalls::installed)
    return calls->recvmmsg(fd, messages, count, flags, timeout);
  return __real_recvmmsg(fd, messages, count, flags, timeout);
}
int __wrap_accept4(int fd, sockaddr* address, socklen_t* length, int flags) {
  if (SystemCalls* calls = SystemCalls::installed)
    return calls->accept4(fd, address, length, flags);
  return __real_accept4(fd, address, length, flags);
}
int __wrap_shutdown(int fd, int how) {
  if (SystemCalls* calls = SystemCalls::installed) return calls->shutdown(fd, how);
  return __real_shutdown(fd, how);
}
int __wrap_poll(pollfd* fds, nfds_t count, int timeout_ms) {
  if (SystemCalls* calls = SystemCalls::installed) return calls->poll(fds, count, timeout_ms);
  return __real_poll(fds, count, timeout_ms);
}
int __wrap_epoll_ctl(int set, int operation, int fd, epoll_event* event) {
  if (SystemCalls* calls = SystemCalls::installed)
    return calls->epoll_ctl(set, operation, fd, event);
  return __real_epoll_ctl(set, operation, fd, event);
}
int __wrap_epoll_wait(int set, epoll_event* events, int most, int timeout_ms) {
  if (SystemCalls* calls = SystemCalls::installed)
    return calls->epoll_wait(set, events, most, timeout_ms);
  return __real_epoll_wait(set, events, most, timeout_ms);
}
int __wrap_close(int fd) {
  if (SystemCalls* calls = SystemCalls::installed) return calls->close(fd);
  return __real_close(fd);
}
int __wrap_clock_gettime(clockid_t clock, timespec* now) {
  if (SystemCalls* calls = SystemCalls::installed) return calls->clock_gettime(clock, now);
  return __real_clock_gettime(clock, now);
}
int __wrap_io_uring_queue_init_params(unsigned entries, io_uring* ring, io_uring_params* params) {
  if (SystemCalls* calls = SystemCalls::installed)
    return calls->io_uring_queue_init_params(entries, ring, params);
  return __real_io_uring_queue_init_params(entries, ring, params);
}
void __wrap_io_uring_queue_exit(io_uring* ring) {
  if (SystemCalls* calls = SystemCalls::installed) return calls->io_uring_queue_exit(ring);
  __real_io_uring_queue_exit(ring);
}
int __wrap_io_uring_enter2(unsigned fd, unsigned to_submit, unsigned wanted, unsigned flags,
                           sigset_t* argument, size_t size) {
  if (SystemCalls* calls = SystemCalls::installed)
    return calls->io_uring_enter2(fd, to_submit, wanted, flags, argument, size);
  return __real_io_uring_enter2(fd, to_submit, wanted, flags, argument, size);
}
}
// NOLINTEND(bugprone-reserved-identifier)
