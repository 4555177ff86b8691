// A socket address: the kernel's sockaddr with its length, and its text for log lines.
//
// Parses numeric IPv4 and IPv6 hosts (with a %zone: interface name or index) without a resolver.
// Owns its bytes, copies freely; Internet addresses lie inline, for every connection keeps two.
// Python's address tuples are made from it in native/.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "absl/container/inlined_vector.h"
#include "base/result.hpp"

namespace rloop::base {

class Address {
 public:
  Address() = default;

  // A numeric host; nullopt when `host` is not a literal of `family` (AF_UNSPEC: either).
  static std::optional<Address> parse(const std::string& host, uint16_t port,
                                      int family = AF_UNSPEC);
  // What the kernel wrote; more than fits is cut off.
  static Address from_bytes(std::span<const std::byte> bytes);
  // A path, or an abstract name (first byte 0); nullopt when it is too long.
  static std::optional<Address> unix_path(std::string_view path);
  // The local or the remote end of a socket; an errno as getsockname/getpeername give it.
  static Result local(int fd, Address& out);
  static Result remote(int fd, Address& out);

  int family() const { return as<sockaddr>().sa_family; }
  const sockaddr* data() const { return reinterpret_cast<const sockaddr*>(bytes_.data()); }
  socklen_t length() const { return static_cast<socklen_t>(bytes_.size()); }

  std::string host() const;       // "127.0.0.1", "fe80::1%lo"; "" for other families
  std::string bare_host() const;  // without the zone
  uint16_t port() const;          // 0 for other families
  // AF_UNIX: the path without its final NUL, or the abstract name with its first one; "" for
  // others.
  std::string unix_name() const;
  std::string to_string() const;  // "127.0.0.1:80", "[::1]:80", "unix:/path", "unix:@abstract"

  // For IPv6 addresses only.
  void set_in6(uint32_t flow_information, uint32_t scope) {
    sockaddr_in6 changed = as<sockaddr_in6>();
    changed.sin6_flowinfo = htonl(flow_information);
    changed.sin6_scope_id = scope;
    *this = Address(&changed, length());
  }

  bool operator==(const Address& other) const = default;

  // A copy as the given sockaddr type; zero where the address is shorter.
  template <class Sockaddr>
  Sockaddr as() const {
    Sockaddr copy{};
    std::memcpy(&copy, bytes_.data(), std::min(sizeof(copy), bytes_.size()));
    return copy;
  }

 private:
  Address(const void* sockaddr, size_t length)
      : bytes_(static_cast<const std::byte*>(sockaddr),
               static_cast<const std::byte*>(sockaddr) + length) {}

  // The bytes of the sockaddr. (The room of a sockaddr_in6, rounded up to what costs nothing.)
  absl::InlinedVector<std::byte, 32> bytes_;
};

}  // namespace rloop::base
