// Implements load.hpp; read that one first. In the order in which things happen: connecting,
// starting a request, sending its rest, receiving and checking, finishing.
// Single-threaded; every socket is non-blocking once connected. An error that the peer causes
// (closed, reset, silent) becomes an exception whose text names the connection and its progress.
#include "load.hpp"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <stdexcept>

namespace loadgen {

namespace {

constexpr std::size_t kReceiveBytes = 256 * 1024;
constexpr std::size_t kMaxPieces = 64;
constexpr std::uint64_t kLostNs = 1'000'000'000;

}  // namespace

Load::Load(const Endpoint& endpoint, std::size_t message_bytes, std::size_t messages_per_request,
           int connections, bool churn)
    : endpoint_(endpoint),
      churn_(churn),
      // Another place in each process: the ports of the last one may still be taken.
      source_(static_cast<std::uint32_t>(getpid()) * 257U),
      message_bytes_(message_bytes),
      messages_per_request_(messages_per_request),
      request_bytes_(message_bytes * messages_per_request),
      pattern_(message_bytes),
      receive_buffer_(kReceiveBytes) {
  // Reserved first: epoll keeps pointers to the elements.
  connections_.reserve(static_cast<std::size_t>(connections));
  for (int i = 0; i < connections; ++i) {
    Connection& connection = connections_.emplace_back();
    connection.id = static_cast<std::uint32_t>(i);
    if (!churn_) {
      open(connection);
    }
  }
}

Load::~Load() {
  for (const Connection& connection : connections_) {
    if (connection.fd >= 0) {
      close(connection.fd);
    }
  }
}

void Load::open(Connection& connection) {
  connection.fd = churn_ ? endpoint_.connect_from(source_++) : endpoint_.connect();
  connection.waits_for_output = false;
  watch(connection.fd, &connection, EPOLLIN);
}

void Load::start_idle() {
  for (Connection& connection : connections_) {
    if (!connection.busy) {
      start_request(connection);
    }
  }
}

void Load::on_ready(void* pointer, std::uint32_t events) {
  auto& connection = *static_cast<Connection*>(pointer);
  if ((events & EPOLLOUT) != 0) {
    send_rest(connection);
  }
  if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) {
    receive(connection);
  }
}

void Load::on_silence() {
  if (!endpoint_.is_datagram()) {
    return;
  }
  const std::uint64_t now = now_ns();
  for (Connection& connection : connections_) {
    if (connection.busy && now - connection.started_ns > kLostNs) {
      connection.sent = 0;
      connection.received = 0;
      send_rest(connection);
    }
  }
}

void Load::start_request(Connection& connection) {
  connection.sent = 0;
  connection.received = 0;
  connection.mismatched = false;
  connection.busy = true;
  busy_count_ += 1;
  connection.started_ns = now_ns();
  if (churn_) {
    open(connection);
  }
  send_rest(connection);
}

void Load::send_rest(Connection& connection) {
  while (connection.sent < request_bytes_) {
    std::array<iovec, kMaxPieces> pieces;
    std::size_t count = 0;
    std::size_t end = connection.sent;
    while (count < kMaxPieces && end < request_bytes_) {
      const Piece piece = pattern_.at(connection.id, connection.first_message, end);
      pieces[count++] = {const_cast<char*>(piece.data), piece.size};
      end += piece.size;
    }
    msghdr message{};
    message.msg_iov = pieces.data();
    message.msg_iovlen = count;
    const ssize_t sent = sendmsg(connection.fd, &message, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) {
      continue;
    }
    if (sent < 0 && errno == EAGAIN) {
      want_output(connection, true);
      return;
    }
    if (sent < 0) {
      fail("send on connection " + std::to_string(connection.id));
    }
    connection.sent += static_cast<std::size_t>(sent);
  }
  want_output(connection, false);
}

void Load::receive(Connection& connection) {
  const ssize_t size = recv(connection.fd, receive_buffer_.data(), receive_buffer_.size(), 0);
  if (size < 0 && (errno == EAGAIN || errno == EINTR)) {
    return;
  }
  const std::string where = size > 0 ? "" : "connection " + std::to_string(connection.id);
  if (size < 0) {
    fail("receive on " + where);
  }
  if (size == 0) {
    throw std::runtime_error("the server closed " + where + " after " +
                             std::to_string(connection.first_message) + " messages and " +
                             std::to_string(connection.received) + " bytes");
  }
  check(connection, receive_buffer_.data(), static_cast<std::size_t>(size));
  if (connection.received == request_bytes_) {
    finish_request(connection);
  }
}

void Load::check(Connection& connection, const char* data, std::size_t size) {
  if (endpoint_.is_datagram() && !connection.busy) {
    return;  // the answer to a datagram that was taken for lost
  }
  // In a closed loop nothing may come back that was not sent.
  if (!connection.busy || size > connection.sent - connection.received) {
    throw std::runtime_error("connection " + std::to_string(connection.id) +
                             " received more bytes than it had sent");
  }
  while (size > 0) {
    const Piece piece = pattern_.at(connection.id, connection.first_message, connection.received);
    const std::size_t length = std::min(size, piece.size);
    if (std::memcmp(data, piece.data, length) != 0 && !connection.mismatched) {
      connection.mismatched = true;
      report_mismatch(connection);
    }
    connection.received += length;
    data += length;
    size -= length;
  }
}

void Load::report_mismatch(const Connection& connection) {
  constexpr std::uint64_t kReported = 5;
  if (++reported_count_ > kReported) {
    return;
  }
  const std::uint64_t message = connection.first_message + connection.received / message_bytes_;
  std::fprintf(stderr, "loadgen: wrong bytes: connection %u, message %llu, from byte %zu on\n",
               connection.id, static_cast<unsigned long long>(message),
               connection.received % message_bytes_);
}

void Load::finish_request(Connection& connection) {
  latencies_.add(now_ns() - connection.started_ns);
  mismatches_ += connection.mismatched ? 1 : 0;
  connection.first_message += messages_per_request_;
  connection.busy = false;
  busy_count_ -= 1;
  if (churn_) {
    close(connection.fd);
    connection.fd = -1;
  }
  if (sending()) {
    start_request(connection);
  }
}

void Load::want_output(Connection& connection, bool wanted) {
  if (connection.waits_for_output == wanted) {
    return;
  }
  connection.waits_for_output = wanted;
  change(connection.fd, &connection, wanted ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

}  // namespace loadgen
