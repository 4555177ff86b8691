// The kernel's half of stream sockets, in memory: what the peer sent, what it has room for, its
// end.
//
// Answers the system calls on its own numbers, which no real descriptor has. It keeps no bytes:
// they are numbered (numbered_bytes.hpp), so what is received is made from a position, and what is
// sent is checked against one, at the moment at which the kernel would copy it. A call on a number
// that was closed is a fault of the caller.
#pragma once

#include <cerrno>
#include <vector>

#include "hunt/failure.hpp"
#include "hunt/numbered_bytes.hpp"
#include "hunt/system_calls.hpp"

namespace rloop::hunt {

inline constexpr int kFirstNumber = 1 << 20;

struct StreamSocket {
  uint64_t number = 0;  // of the stream, for its bytes
  bool open = true;
  // From the peer.
  uint64_t in_sent = 0, in_taken = 0;
  bool in_ended = false;
  int in_error = 0;
  // To the peer.
  uint64_t written = 0;  // what the user has written so far
  uint64_t out_taken = 0;
  uint64_t room = 0;
  bool hung_up = false;    // polls say that there is room
  int out_error = 0;       // from now on
  bool out_loose = false;  // an error happened: what is lost behind it is lost
  bool shut_down = false;
  // A real kernel: what it has taken so far is not known, and a reset loses what it held.
  bool exact = true;
  bool in_loose = false;
  // Of the next call.
  int refuse_send = 0, refuse_recv = 0;
  size_t most_sent = SIZE_MAX, most_received = SIZE_MAX;

  bool readable() const { return in_sent > in_taken || in_ended || in_error != 0; }
  bool writable() const { return room > 0 || hung_up || out_error != 0; }
};

class StreamKernel : public SystemCalls {
 public:
  explicit StreamKernel(size_t count) : sockets(count) {
    for (size_t i = 0; i < count; ++i)
      sockets[i].number = i;
  }

  ssize_t send(int fd, const void* bytes, size_t size, int flags) override;
  ssize_t sendmsg(int fd, const msghdr* message, int flags) override;
  ssize_t recv(int fd, void* bytes, size_t size, int flags) override;
  int shutdown(int fd, int how) override;
  int poll(pollfd* fds, nfds_t count, int timeout_ms) override;
  int close(int fd) override;
  int clock_gettime(clockid_t clock, timespec* now) override;

  std::vector<StreamSocket> sockets;
  int64_t now_ns = 1'000'000'000;

 private:
  StreamSocket* find(int fd);
  // How much a send of so much may take; -1 and errno.
  ssize_t may_send(StreamSocket& socket, size_t size);
  void take(StreamSocket& socket, const void* bytes, size_t size);
};

}  // namespace rloop::hunt
