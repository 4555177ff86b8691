// The system calls of the core, taken over by the linker in this executable alone.
//
// The core calls send(2), accept4(2), epoll_ctl(2) and so on by name; `-Wl,--wrap=send` makes each
// such call arrive here (tests/meson.build lists them), without a hook, a virtual function or a
// branch in the product. So operations' attempts, the streams' and datagrams' own calls and the
// engines are all reached at the one place where the kernel begins. Whoever is `installed` answers:
// a kernel that is a script, or a layer of faults in front of the real one. What it does not
// override goes to the kernel.
#pragma once

#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <time.h>

#include <cerrno>
#include <cstddef>

struct io_uring;
struct io_uring_params;

namespace rloop::hunt {

class SystemCalls {
 public:
  virtual ~SystemCalls();

  virtual ssize_t send(int fd, const void* bytes, size_t size, int flags);
  virtual ssize_t sendmsg(int fd, const msghdr* message, int flags);
  virtual int sendmmsg(int fd, mmsghdr* messages, unsigned count, int flags);
  virtual ssize_t recv(int fd, void* bytes, size_t size, int flags);
  virtual ssize_t recvmsg(int fd, msghdr* message, int flags);
  virtual int recvmmsg(int fd, mmsghdr* messages, unsigned count, int flags, timespec* timeout);
  virtual int accept4(int fd, sockaddr* address, socklen_t* length, int flags);
  virtual int shutdown(int fd, int how);
  virtual int poll(pollfd* fds, nfds_t count, int timeout_ms);
  virtual int epoll_ctl(int set, int operation, int fd, epoll_event* event);
  virtual int epoll_wait(int set, epoll_event* events, int most, int timeout_ms);
  virtual int close(int fd);
  virtual int clock_gettime(clockid_t clock, timespec* now);
  virtual int io_uring_queue_init_params(unsigned entries, io_uring* ring, io_uring_params* params);
  virtual void io_uring_queue_exit(io_uring* ring);
  virtual int io_uring_enter2(unsigned fd, unsigned to_submit, unsigned wanted, unsigned flags,
                              sigset_t* argument, size_t size);

  // Null: the kernel.
  static SystemCalls* installed;
};

// What a call that fails answers.
inline int refused(int error_number) {
  errno = error_number;
  return -1;
}

// Installed for as long as it lives.
class Installed {
 public:
  explicit Installed(SystemCalls& calls) { SystemCalls::installed = &calls; }
  ~Installed() { SystemCalls::installed = nullptr; }
  Installed(const Installed&) = delete;
  Installed& operator=(const Installed&) = delete;
};

}  // namespace rloop::hunt
