// Receive datagrams with their senders' addresses into memory that the reactor lends.
//
// On the ring it is a multishot recvmsg (6.0) with buffers from group 1, each large enough for any
// UDP datagram. Attempted, it is one recvmsg(2) into the scratch. Either way the data of a
// completion is a header, the address and the payload, as the kernel lays them out
// (io_uring_recvmsg_out); ReceivedDatagram reads it. The result is the size of all three, so an
// empty datagram is no end of anything: it only ends the multishot, and so does an error.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include "base/address.hpp"
#include "op/op.hpp"

namespace rloop::op {

struct ReceivedDatagram {
  // `data` of a completion of RecvDatagram.
  explicit ReceivedDatagram(std::span<const std::byte> data);

  base::Address from;
  std::span<const std::byte> payload;
};

class RecvDatagram : public Operation {
 public:
  // INET and INET6 only: what one buffer takes besides the payload.
  static constexpr size_t kNameSize = sizeof(sockaddr_in6);
  static constexpr size_t kBufferSize = 65'536 + 64;  // bytes

  explicit RecvDatagram(Descriptor& descriptor)
      : Operation(descriptor, Direction::read, Replay::unless_lost, kDatagramBufferGroup) {}

  void prepare(io_uring_sqe& sqe) override;
  Attempt attempt(std::span<std::byte> scratch) override;

 private:
  msghdr message_{};
};

}  // namespace rloop::op
