// Implements load.hpp; read that one first. In the order in which things happen: connecting, one
// turn of epoll, starting a request, sending its rest, receiving and checking, finishing.
// Single-threaded; every socket is non-blocking once connected. An error that the peer causes
// (closed, reset, silent) becomes an exception whose text names the connection and its progress.
#include "load.hpp"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <fcntl.h>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <stdexcept>

namespace loadgen {

namespace {

constexpr std::size_t kReceiveBytes = 256 * 1024;
constexpr std::size_t kMaxPieces = 64;
constexpr int kMaxEvents = 256;

[[noreturn]] void fail(const std::string& what) {
  throw std::runtime_error(what + ": " + std::strerror(errno));
}

bool is_loopback(const sockaddr* address) {
  if (address->sa_family == AF_INET) {
    const auto* v4 = reinterpret_cast<const sockaddr_in*>(address);
    return (ntohl(v4->sin_addr.s_addr) >> 24U) == 127;
  }
  const auto* v6 = reinterpret_cast<const sockaddr_in6*>(address);
  return IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr);
}

int connected(int family, const sockaddr* address, socklen_t size, const std::string& name) {
  const int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) {
    fail("socket");
  }
  if (connect(fd, address, size) != 0) {
    fail("connect to " + name);
  }
  if (family != AF_UNIX) {
    const int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  }
  if (fcntl(fd, F_SETFL, O_NONBLOCK) != 0) {
    fail("fcntl");
  }
  return fd;
}

int connect_unix(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) {
    throw std::runtime_error("the socket path is longer than 107 bytes: " + path);
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  return connected(AF_UNIX, reinterpret_cast<const sockaddr*>(&address), sizeof address, path);
}

int connect_tcp(const std::string& name) {
  const std::size_t colon = name.rfind(':');
  if (colon == std::string::npos) {
    throw std::runtime_error("the address must be host:port or unix:path, not " + name);
  }
  std::string host = name.substr(0, colon);
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  }
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int error = getaddrinfo(host.c_str(), name.c_str() + colon + 1, &hints, &found);
  if (error != 0) {
    throw std::runtime_error("cannot resolve " + name + ": " + gai_strerror(error));
  }
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owned(found, &freeaddrinfo);
  if (!is_loopback(found->ai_addr)) {
    throw std::runtime_error(name + " is not a loopback address");
  }
  return connected(found->ai_family, found->ai_addr, found->ai_addrlen, name);
}

int connect_to(const std::string& address) {
  const std::string prefix = "unix:";
  if (address.starts_with(prefix)) {
    return connect_unix(address.substr(prefix.size()));
  }
  return connect_tcp(address);
}

}  // namespace

std::uint64_t now_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1000000000U +
         static_cast<std::uint64_t>(now.tv_nsec);
}

Load::Load(std::size_t message_bytes, std::size_t messages_per_request)
    : message_bytes_(message_bytes),
      messages_per_request_(messages_per_request),
      request_bytes_(message_bytes * messages_per_request),
      pattern_(message_bytes),
      epoll_fd_(epoll_create1(EPOLL_CLOEXEC)),
      receive_buffer_(kReceiveBytes) {
  if (epoll_fd_ < 0) {
    fail("epoll_create1");
  }
}

Load::~Load() {
  for (const Connection& connection : connections_) {
    close(connection.fd);
  }
  close(epoll_fd_);
}

void Load::connect_all(const std::string& address, int count) {
  // Reserved first: epoll keeps pointers to the elements.
  connections_.reserve(static_cast<std::size_t>(count));
  for (int i = 0; i < count; ++i) {
    Connection& connection = connections_.emplace_back();
    connection.id = static_cast<std::uint32_t>(i);
    connection.fd = connect_to(address);
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.ptr = &connection;
    if (epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, connection.fd, &event) != 0) {
      fail("epoll_ctl");
    }
  }
}

void Load::run(double seconds) {
  const std::uint64_t deadline_ns = now_ns() + static_cast<std::uint64_t>(seconds * 1e9);
  sending_ = true;
  for (Connection& connection : connections_) {
    if (!connection.busy) {
      start_request(connection);
    }
  }
  while (now_ns() < deadline_ns) {
    turn(deadline_ns);
  }
}

void Load::drain(double limit_seconds) {
  const std::uint64_t deadline_ns = now_ns() + static_cast<std::uint64_t>(limit_seconds * 1e9);
  sending_ = false;
  while (busy_count_ > 0) {
    if (now_ns() >= deadline_ns) {
      throw std::runtime_error(std::to_string(busy_count_) + " of " +
                               std::to_string(connections_.size()) +
                               " connections got no complete echo in time");
    }
    turn(deadline_ns);
  }
}

void Load::reset_figures() {
  latencies_.clear();
}

void Load::turn(std::uint64_t deadline_ns) {
  std::array<epoll_event, kMaxEvents> events;
  const std::uint64_t now = now_ns();
  const std::uint64_t left_ns = deadline_ns > now ? deadline_ns - now : 0;
  const int timeout_ms = static_cast<int>((left_ns + 999999) / 1000000);
  const int count = epoll_wait(epoll_fd_, events.data(), kMaxEvents, timeout_ms);
  if (count < 0 && errno != EINTR) {
    fail("epoll_wait");
  }
  for (int i = 0; i < count; ++i) {
    const epoll_event& event = events[static_cast<std::size_t>(i)];
    auto& connection = *static_cast<Connection*>(event.data.ptr);
    if ((event.events & EPOLLOUT) != 0) {
      send_rest(connection);
    }
    if ((event.events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) {
      receive(connection);
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
  if (sending_) {
    start_request(connection);
  }
}

void Load::want_output(Connection& connection, bool wanted) {
  if (connection.waits_for_output == wanted) {
    return;
  }
  connection.waits_for_output = wanted;
  epoll_event event{};
  event.events = wanted ? EPOLLIN | EPOLLOUT : EPOLLIN;
  event.data.ptr = &connection;
  if (epoll_ctl(epoll_fd_, EPOLL_CTL_MOD, connection.fd, &event) != 0) {
    fail("epoll_ctl");
  }
}

}  // namespace loadgen
