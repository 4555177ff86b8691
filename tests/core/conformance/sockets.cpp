// System calls with assertions; see sockets.hpp.
//
// A helper that fails says so and aborts: the machine is at fault then (no loopback, no
// descriptors), and a hundred expectations that follow would only hide it. Waiting for the far end
// is done with poll(2) and a limit, never with a sleep.
#include "conformance/sockets.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <filesystem>

namespace rloop::test {
namespace {

// Less than that, and TCP over the loopback waits for its timers.
constexpr int kSmall_bytes = 32 * 1024;
constexpr int kKind = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC;

// A failed helper is a broken test machine, not a failed expectation.
int checked(int returned, const char* what) {
  if (returned < 0) {
    ADD_FAILURE() << what << ": errno " << errno;
    std::abort();
  }
  return returned;
}

void set_option(int fd, int option, int value) {
  checked(::setsockopt(fd, SOL_SOCKET, option, &value, sizeof(value)), "setsockopt");
}

}  // namespace

SocketPair unix_pair() {
  int pair[2];
  checked(::socketpair(AF_UNIX, kKind, 0, pair), "socketpair");
  return {base::UniqueFd(pair[0]), base::UniqueFd(pair[1])};
}

SocketPair tcp_pair() {
  TestListener listener = listen_on_loopback(1);
  base::UniqueFd far = connect_to(listener);
  base::UniqueFd near(checked(
      ::accept4(listener.fd.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC), "accept4"));
  return {std::move(near), std::move(far)};
}

void shrink_buffers(const SocketPair& pair) {
  for (int fd : {pair.near.get(), pair.far.get()}) {
    set_option(fd, SO_SNDBUF, kSmall_bytes);
    set_option(fd, SO_RCVBUF, kSmall_bytes);
  }
}

void minimise_buffers(const SocketPair& pair) {
  for (int fd : {pair.near.get(), pair.far.get()}) {
    set_option(fd, SO_SNDBUF, 1);
    set_option(fd, SO_RCVBUF, 1);
  }
}

TestListener listen_on_loopback(int backlog) {
  TestListener listener;
  listener.fd.reset(checked(::socket(AF_INET, kKind, 0), "socket"));
  listener.address.sin_family = AF_INET;
  listener.address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof(listener.address);
  auto* address = reinterpret_cast<sockaddr*>(&listener.address);
  checked(::bind(listener.fd.get(), address, length), "bind");
  checked(::listen(listener.fd.get(), backlog), "listen");
  checked(::getsockname(listener.fd.get(), address, &length), "getsockname");
  return listener;
}

base::UniqueFd connect_to(const TestListener& listener) {
  base::UniqueFd fd(checked(::socket(AF_INET, kKind, 0), "socket"));
  const auto* address = reinterpret_cast<const sockaddr*>(&listener.address);
  if (::connect(fd.get(), address, sizeof(listener.address)) < 0 && errno != EINPROGRESS) {
    checked(-1, "connect");
  }
  return fd;
}

bool connection_is_refused(const TestListener& listener) {
  base::UniqueFd fd(checked(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket"));
  const auto* address = reinterpret_cast<const sockaddr*>(&listener.address);
  return ::connect(fd.get(), address, sizeof(listener.address)) < 0 && errno == ECONNREFUSED;
}

void write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    ssize_t written = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    checked(static_cast<int>(written), "send");
    bytes.remove_prefix(static_cast<size_t>(written));
  }
}

std::string read_available(int fd) {
  std::string bytes;
  std::array<char, 65536> piece;
  for (ssize_t got; (got = ::recv(fd, piece.data(), piece.size(), MSG_DONTWAIT)) > 0;) {
    bytes.append(piece.data(), static_cast<size_t>(got));
  }
  return bytes;
}

std::string read_to_end(int fd) {
  std::string bytes;
  std::array<char, 65536> piece;
  for (;;) {
    pollfd waiting{.fd = fd, .events = POLLIN, .revents = 0};
    constexpr int kLimit_ms = 20'000;
    if (::poll(&waiting, 1, kLimit_ms) != 1) {
      ADD_FAILURE() << "the stream did not end";
      return bytes;
    }
    ssize_t got = ::recv(fd, piece.data(), piece.size(), MSG_DONTWAIT);
    if (got <= 0) return bytes;
    bytes.append(piece.data(), static_cast<size_t>(got));
  }
}

bool at_end_of_stream(int fd) {
  char byte;
  return ::recv(fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK) == 0;
}

size_t fill(int fd) {
  const std::string piece(4096, 'f');
  size_t total = 0;
  for (ssize_t sent; (sent = ::send(fd, piece.data(), piece.size(), MSG_DONTWAIT)) > 0;) {
    total += static_cast<size_t>(sent);
  }
  return total;
}

int descriptor_of(std::string_view what) {
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code gone;
    if (std::filesystem::read_symlink(entry.path(), gone) == what) {
      return std::stoi(entry.path().filename().string());
    }
  }
  return -1;
}

void reset_on_close(int fd) {
  linger hard{.l_onoff = 1, .l_linger = 0};
  checked(::setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard)), "SO_LINGER");
}

std::string pattern(size_t size, unsigned seed) {
  std::string bytes(size, '\0');
  uint32_t state = seed * 2654435761U + 1;
  for (char& byte : bytes) {
    state = state * 1664525U + 1013904223U;
    byte = static_cast<char>(state >> 24);
  }
  return bytes;
}

}  // namespace rloop::test
