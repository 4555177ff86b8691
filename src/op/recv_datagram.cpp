// The two verbs of a receive of datagrams; see recv_datagram.hpp.
#include "op/recv_datagram.hpp"

#include <liburing.h>

#include <algorithm>
#include <cstring>

namespace rloop::op {
namespace {

constexpr size_t kPayloadOffset = sizeof(io_uring_recvmsg_out) + RecvDatagram::kNameSize;

}  // namespace

ReceivedDatagram::ReceivedDatagram(std::span<const std::byte> data) {
  io_uring_recvmsg_out header{};
  RLOOP_ASSERT(data.size() >= kPayloadOffset, "a received datagram without its header");
  std::memcpy(&header, data.data(), sizeof(header));
  size_t name_size = std::min<size_t>(header.namelen, RecvDatagram::kNameSize);
  from = base::Address::from_bytes(data.subspan(sizeof(header), name_size));
  payload = data.subspan(kPayloadOffset);
}

void RecvDatagram::prepare(io_uring_sqe& sqe) {
  message_ = {};
  message_.msg_namelen = kNameSize;
  io_uring_prep_recvmsg_multishot(&sqe, descriptor().number(), &message_, 0);
  sqe.flags |= IOSQE_BUFFER_SELECT;
  sqe.buf_group = kDatagramBufferGroup;
}

Attempt RecvDatagram::attempt(std::span<std::byte> scratch) {
  std::span<std::byte> payload = scratch.subspan(kPayloadOffset);
  iovec range{.iov_base = payload.data(), .iov_len = payload.size()};
  msghdr message{};
  message.msg_name = scratch.data() + sizeof(io_uring_recvmsg_out);
  message.msg_namelen = kNameSize;
  message.msg_iov = &range;
  message.msg_iovlen = 1;
  ssize_t received = ::recvmsg(descriptor().number(), &message, MSG_DONTWAIT);
  if (received < 0) return {base::Result::from_call(received)};
  io_uring_recvmsg_out header{};
  header.namelen = message.msg_namelen;
  header.payloadlen = static_cast<uint32_t>(received);
  std::memcpy(scratch.data(), &header, sizeof(header));
  size_t size = kPayloadOffset + static_cast<size_t>(received);
  return {base::Result::count(static_cast<int>(size)), scratch.first(size)};
}

}  // namespace rloop::op
