// The kernel's half of one datagram socket, in memory: what came, what it has room for, its errors.
//
// Bytes are numbered as in stream_kernel.hpp: datagram n of either direction has its own, and the
// sizes are kept. What comes in, errors too, is one queue; the user must see it in that order. An
// error of a send takes the datagram at the head of the user's queue with it.
#pragma once

#include <cerrno>
#include <vector>

#include "hunt/failure.hpp"
#include "hunt/numbered_bytes.hpp"
#include "hunt/stream_kernel.hpp"
#include "hunt/system_calls.hpp"

namespace rloop::hunt {

class DatagramKernel : public SystemCalls {
 public:
  struct Incoming {
    size_t size = 0;
    int error_number = 0;
  };

  ssize_t sendmsg(int fd, const msghdr* message, int flags) override;
  int sendmmsg(int fd, mmsghdr* messages, unsigned count, int flags) override;
  ssize_t recvmsg(int fd, msghdr* message, int flags) override;
  int recvmmsg(int fd, mmsghdr* messages, unsigned count, int flags, timespec* timeout) override;
  int poll(pollfd* fds, nfds_t count, int timeout_ms) override;
  int close(int fd) override;
  int clock_gettime(clockid_t clock, timespec* now) override;

  static void write_incoming(uint64_t number, std::span<std::byte> out) {
    NumberedBytes::write(200, number * 131, out);
  }
  static bool is_incoming(uint64_t number, std::span<const std::byte> bytes) {
    return NumberedBytes::match(200, number * 131, bytes);
  }
  static void write_outgoing(uint64_t number, std::span<std::byte> out) {
    NumberedBytes::write(300, number * 137, out);
  }

  bool open = true;
  std::vector<Incoming> incoming;
  size_t taken = 0;              // of these
  std::vector<size_t> outgoing;  // sizes of what the user has sent
  size_t sent = 0;               // of these, with those that were refused
  size_t refused_count = 0;
  size_t room = 0;
  bool forgiving = false;  // the program closed the socket: order alone counts
  // Of the next call that sends.
  int refuse_send = 0;
  unsigned most_sent = UINT32_MAX;
  int64_t now_ns = 1'000'000'000;

 private:
  bool find(int fd) const;
};

}  // namespace rloop::hunt
