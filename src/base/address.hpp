// A socket address: the kernel's sockaddr with its length, and its text for log lines.
//
// Parses numeric IPv4 and IPv6 hosts (with a %zone: interface name or index) without a resolver.
// Owns its bytes, copies freely. Python's address tuples are made from it in native/.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstdint>
#include <optional>
#include <string>

#include "base/result.hpp"

namespace rloop::base {

class Address {
 public:
  Address() = default;

  // A numeric host; nullopt when `host` is not a literal of `family` (AF_UNSPEC: either).
  static std::optional<Address> parse(const std::string& host, uint16_t port,
                                      int family = AF_UNSPEC);
  // The local or the remote end of a socket; an errno as getsockname/getpeername give it.
  static Result local(int fd, Address& out);
  static Result remote(int fd, Address& out);

  int family() const { return length_ >= sizeof(sa_family_t) ? storage_.any.sa_family : AF_UNSPEC; }
  const sockaddr* data() const { return &storage_.any; }
  socklen_t length() const { return length_; }

  std::string host() const;       // "127.0.0.1", "fe80::1%lo"; "" for other families
  uint16_t port() const;          // 0 for other families
  std::string to_string() const;  // "127.0.0.1:80", "[::1]:80", "unix:/path", "unix:@abstract"

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
