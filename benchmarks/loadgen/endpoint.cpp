// Implements endpoint.hpp.
#include "endpoint.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <stdexcept>

#include "workload.hpp"

namespace loadgen {

namespace {

bool is_loopback(const sockaddr* address) {
  if (address->sa_family == AF_INET) {
    const auto* v4 = reinterpret_cast<const sockaddr_in*>(address);
    return (ntohl(v4->sin_addr.s_addr) >> 24U) == 127;
  }
  const auto* v6 = reinterpret_cast<const sockaddr_in6*>(address);
  return IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr);
}

}  // namespace

Endpoint::Endpoint(const std::string& address, int buffer_bytes)
    : name_(address), buffer_bytes_(buffer_bytes) {
  const std::string unix_prefix = "unix:";
  const std::string udp_prefix = "udp:";
  if (address.starts_with(unix_prefix)) {
    use_path(address.substr(unix_prefix.size()));
  } else if (address.starts_with(udp_prefix)) {
    type_ = SOCK_DGRAM;
    resolve(address.substr(udp_prefix.size()));
  } else {
    resolve(address);
  }
}

void Endpoint::use_path(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) {
    throw std::runtime_error("the socket path is longer than 107 bytes: " + path);
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  std::memcpy(&address_, &address, sizeof address);
  size_ = sizeof address;
}

void Endpoint::resolve(const std::string& name) {
  const std::size_t colon = name.rfind(':');
  if (colon == std::string::npos) {
    throw std::runtime_error("the address must be host:port, udp:host:port or unix:path, not " +
                             name);
  }
  std::string host = name.substr(0, colon);
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  }
  addrinfo hints{};
  hints.ai_socktype = type_;
  addrinfo* found = nullptr;
  const int error = getaddrinfo(host.c_str(), name.c_str() + colon + 1, &hints, &found);
  if (error != 0) {
    throw std::runtime_error("cannot resolve " + name + ": " + gai_strerror(error));
  }
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owned(found, &freeaddrinfo);
  if (!is_loopback(found->ai_addr)) {
    throw std::runtime_error(name + " is not a loopback address");
  }
  std::memcpy(&address_, found->ai_addr, found->ai_addrlen);
  size_ = found->ai_addrlen;
}

int Endpoint::connect() const {
  return finish(open());
}

int Endpoint::connect_from(std::uint32_t source) const {
  const int fd = open();
  if (address_.ss_family == AF_INET) {
    sockaddr_in from{};
    from.sin_family = AF_INET;
    // 127.1.0.1 and on: none of them is the address that a server of ours listens on.
    from.sin_addr.s_addr = htonl(0x7f010001U + source % 0xffffU);
    const int on = 1;
    // The port is chosen by connect, which can use one again for another source or destination.
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    if (bind(fd, reinterpret_cast<const sockaddr*>(&from), sizeof from) != 0) {
      fail("bind to a source address");
    }
  }
  return finish(fd);
}

int Endpoint::open() const {
  const int fd = socket(address_.ss_family, type_ | SOCK_CLOEXEC, 0);
  if (fd < 0) {
    fail("socket");
  }
  for (const int option : {SO_SNDBUF, SO_RCVBUF}) {
    if (buffer_bytes_ != 0 &&
        setsockopt(fd, SOL_SOCKET, option, &buffer_bytes_, sizeof buffer_bytes_) != 0) {
      fail("setsockopt of a buffer");
    }
  }
  return fd;
}

int Endpoint::finish(int fd) const {
  if (::connect(fd, reinterpret_cast<const sockaddr*>(&address_), size_) != 0) {
    fail("connect to " + name_);
  }
  if (address_.ss_family != AF_UNIX && type_ == SOCK_STREAM) {
    const int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  }
  if (fcntl(fd, F_SETFL, O_NONBLOCK) != 0) {
    fail("fcntl");
  }
  return fd;
}

}  // namespace loadgen
