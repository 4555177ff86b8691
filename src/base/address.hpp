// A socket address: the kernel's sockaddr with its length, and its text for log lines.
//
// Parses numeric IPv4 and IPv6 hosts (with a %zone: interface name or index) without a resolver.
// Owns its bytes, copies freely. Python's address tuples are made from it in native/.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

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

  int family() const { return length_ >= sizeof(sa_family_t) ? storage_.any.sa_family : AF_UNSPEC; }
  const sockaddr* data() const { return &storage_.any; }
  socklen_t length() const { return length_; }

  std::string host() const;       // "127.0.0.1", "fe80::1%lo"; "" for other families
  uint16_t port() const;          // 0 for other families
  std::string to_string() const;  // "127.0.0.1:80", "[::1]:80", "unix:/path", "unix:@abstract"

  // For IPv6 addresses only.
  void set_in6(uint32_t flow_information, uint32_t scope) {
    storage_.in6.sin6_flowinfo = htonl(flow_information);
    storage_.in6.sin6_scope_id = scope;
  }

  bool operator==(const Address& other) const {
    return length_ == other.length_ && std::memcmp(&storage_, &other.storage_, length_) == 0;
  }

  const sockaddr_in6& in6() const { return storage_.in6; }
  const sockaddr_un& un() const { return storage_.un; }

 private:
  union Storage {
    sockaddr any;
    sockaddr_in in;
    sockaddr_in6 in6;
    sockaddr_un un;
    sockaddr_storage storage;
  };
  Storage storage_{};
  socklen_t length_ = 0;
};

}  // namespace rloop::base
