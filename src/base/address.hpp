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
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/result.hpp"

namespace rloop::base {

class Address {
 public:
  Address() = default;
  Address(const Address& other) : Address(other.bytes(), other.length_) {}
  Address(Address&& other) noexcept { swap(other); }
  Address& operator=(Address other) noexcept {
    swap(other);
    return *this;
  }
  ~Address() {
    if (!lies_inline()) delete[] elsewhere();
  }

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
  const sockaddr* data() const { return reinterpret_cast<const sockaddr*>(bytes()); }
  socklen_t length() const { return length_; }

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

  bool operator==(const Address& other) const {
    return length_ == other.length_ && std::memcmp(bytes(), other.bytes(), length_) == 0;
  }

  // A copy as the given sockaddr type; zero where the address is shorter.
  template <class Sockaddr>
  Sockaddr as() const {
    Sockaddr copy{};
    std::memcpy(&copy, bytes(), std::min(sizeof(copy), size_t{length_}));
    return copy;
  }

 private:
  // length <= sizeof(sockaddr_storage)
  Address(const void* sockaddr, size_t length);
  void swap(Address& other) noexcept;

  const std::byte* bytes() const { return lies_inline() ? room_.data() : elsewhere(); }
  bool lies_inline() const { return length_ <= sizeof(room_); }
  std::byte* elsewhere() const {
    std::byte* place;
    std::memcpy(&place, room_.data(), sizeof(place));
    return place;
  }

  // The sockaddr, or where a longer one lies: a path of AF_UNIX. 32 bytes with the length.
  alignas(sockaddr_in6) std::array<std::byte, sizeof(sockaddr_in6)> room_{};
  uint8_t length_ = 0;
};

}  // namespace rloop::base
