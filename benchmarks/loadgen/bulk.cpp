// Implements bulk.hpp.
#include "bulk.hpp"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <stdexcept>

namespace loadgen {

namespace {

constexpr std::size_t kBlockBytes = 256 * 1024;

}  // namespace

Bulk::Bulk(const Endpoint& endpoint, std::size_t message_bytes, int connections, bool to_server)
    : message_bytes_(message_bytes),
      to_server_(to_server),
      // Newlines now and then, for a server that reads lines.
      block_(kBlockBytes, 'x'),
      expected_(to_server ? 0 : kBlockBytes, 'x') {
  for (std::size_t end = message_bytes; end <= block_.size() && to_server; end += message_bytes) {
    block_[end - 1] = '\n';
  }
  // Reserved first: epoll keeps pointers to the elements.
  connections_.reserve(static_cast<std::size_t>(connections));
  for (int i = 0; i < connections; ++i) {
    int& fd = connections_.emplace_back(endpoint.connect());
    watch(fd, &fd, to_server ? EPOLLOUT : EPOLLIN);
  }
}

Bulk::~Bulk() {
  for (const int fd : connections_) {
    close(fd);
  }
}

void Bulk::reset_figures() {
  Workload::reset_figures();
  bytes_ = 0;
}

void Bulk::on_ready(void* connection, std::uint32_t /*events*/) {
  const int fd = *static_cast<int*>(connection);
  if (to_server_) {
    send_block(fd);
  } else {
    receive_block(fd);
  }
}

void Bulk::send_block(int fd) {
  const ssize_t sent = send(fd, block_.data(), block_.size(), MSG_NOSIGNAL);
  if (sent < 0 && errno != EAGAIN && errno != EINTR) {
    fail("send");
  }
  bytes_ += sent > 0 ? static_cast<std::uint64_t>(sent) : 0;
}

void Bulk::receive_block(int fd) {
  const ssize_t size = recv(fd, block_.data(), block_.size(), 0);
  if (size < 0 && (errno == EAGAIN || errno == EINTR)) {
    return;
  }
  if (size < 0) {
    fail("receive");
  }
  if (size == 0) {
    throw std::runtime_error("the server closed the connection after " + std::to_string(bytes_) +
                             " bytes");
  }
  bytes_ += static_cast<std::uint64_t>(size);
  if (std::memcmp(block_.data(), expected_.data(), static_cast<std::size_t>(size)) != 0) {
    mismatches_ += 1;
  }
}

}  // namespace loadgen
