// Implements sockets.hpp.
#include "sockets.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdint>
#include <cstring>
#include <stdexcept>

namespace limit {
namespace {

constexpr int kBacklog = 4096;

int new_socket(int family, int type) {
  const int fd = socket(family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) {
    fail("socket");
  }
  return fd;
}

int bound_to_path(const std::string& path) {
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  if (path.size() >= sizeof name.sun_path) {
    throw std::runtime_error("the socket path is longer than 107 bytes: " + path);
  }
  std::memcpy(name.sun_path, path.data(), path.size());
  struct stat status{};
  if (stat(path.c_str(), &status) == 0 && S_ISSOCK(status.st_mode)) {
    unlink(path.c_str());
  }
  const int fd = new_socket(AF_UNIX, SOCK_STREAM);
  if (bind(fd, reinterpret_cast<const sockaddr*>(&name), sizeof name) != 0) {
    fail("bind to " + path);
  }
  return fd;
}

sockaddr_in parse_name(const std::string& address) {
  sockaddr_in name{};
  name.sin_family = AF_INET;
  const std::size_t colon = address.find(':');
  const std::string host = address.substr(0, colon);
  std::uint16_t port = 0;
  const char* const end = address.data() + address.size();
  if (colon != std::string::npos && inet_pton(AF_INET, host.c_str(), &name.sin_addr) == 1 &&
      (ntohl(name.sin_addr.s_addr) >> 24U) == 127) {
    const auto [stop, error] = std::from_chars(address.data() + colon + 1, end, port);
    if (error == std::errc() && stop == end) {
      name.sin_port = htons(port);
      return name;
    }
  }
  throw std::runtime_error("the address must be 127.x.y.z:PORT or unix:PATH, not " + address);
}

int bound_to_name(const std::string& address, int type) {
  const sockaddr_in name = parse_name(address);
  const int fd = new_socket(AF_INET, type);
  const int on = 1;
  if (type == SOCK_STREAM) {
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  }
  if (bind(fd, reinterpret_cast<const sockaddr*>(&name), sizeof name) != 0) {
    fail("bind to " + address);
  }
  return fd;
}

}  // namespace

void fail(const std::string& what, int error) {
  throw std::runtime_error(what + ": " + std::strerror(error));
}

void fail(const std::string& what) {
  fail(what, errno);
}

int open_server_socket(const Options& options) {
  const std::string path = path_of(options.address);
  if (options.datagrams) {
    return bound_to_name(options.address, SOCK_DGRAM);
  }
  const int fd = path.empty() ? bound_to_name(options.address, SOCK_STREAM) : bound_to_path(path);
  const int size = options.socket_buffer_bytes;
  for (const int buffer : {SO_SNDBUF, SO_RCVBUF}) {  // what is accepted inherits them
    if (size != 0 && setsockopt(fd, SOL_SOCKET, buffer, &size, sizeof size) != 0) {
      fail("setsockopt of a buffer");
    }
  }
  if (listen(fd, kBacklog) != 0) {
    fail("listen");
  }
  return fd;
}

std::string path_of(const std::string& address) {
  for (const std::string prefix : {"unix:", "file:"}) {
    if (address.starts_with(prefix)) {
      return address.substr(prefix.size());
    }
  }
  return {};
}

std::string name_of(int fd) {
  sockaddr_storage name{};
  socklen_t size = sizeof name;
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&name), &size) != 0) {
    fail("getsockname");
  }
  if (name.ss_family == AF_UNIX) {
    return reinterpret_cast<const sockaddr_un*>(&name)->sun_path;
  }
  const auto* v4 = reinterpret_cast<const sockaddr_in*>(&name);
  char host[INET_ADDRSTRLEN] = {};
  inet_ntop(AF_INET, &v4->sin_addr, host, sizeof host);
  return "('" + std::string(host) + "', " + std::to_string(ntohs(v4->sin_port)) + ")";
}

bool is_unix(int fd) {
  int family = 0;
  socklen_t size = sizeof family;
  if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &size) != 0) {
    fail("getsockopt");
  }
  return family == AF_UNIX;
}

void set_nodelay(int fd) {
  const int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

}  // namespace limit
