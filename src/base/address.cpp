// Parsing and printing of socket addresses; see address.hpp.
#include "base/address.hpp"

#include <arpa/inet.h>
#include <net/if.h>

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstring>
#include <utility>

#include "base/text.hpp"

namespace rloop::base {
namespace {

// The interface index behind a %zone: a name that exists here, or a number. 0: neither.
uint32_t zone_index(const std::string& zone) {
  if (uint32_t index = ::if_nametoindex(zone.c_str())) return index;
  uint32_t index = 0;
  auto [end, error] = std::from_chars(zone.data(), zone.data() + zone.size(), index);
  return error == std::errc() && end == zone.data() + zone.size() ? index : 0;
}

}  // namespace

Address::Address(const void* sockaddr, size_t length) {
  std::byte* place = room_.data();
  if (length > sizeof(room_)) {
    place = new std::byte[length];
    std::memcpy(room_.data(), &place, sizeof(place));
  }
  if (length > 0) std::memcpy(place, sockaddr, length);
  length_ = static_cast<uint8_t>(length);
}

void Address::swap(Address& other) noexcept {
  std::swap(room_, other.room_);
  std::swap(length_, other.length_);
}

std::optional<Address> Address::parse(const std::string& host, uint16_t port, int family) {
  sockaddr_in in{};
  if (family != AF_INET6 && ::inet_pton(AF_INET, host.c_str(), &in.sin_addr) == 1) {
    in.sin_family = AF_INET;
    in.sin_port = htons(port);
    return Address(&in, sizeof(in));
  }
  if (family == AF_INET) return std::nullopt;
  std::string bare = host;
  uint32_t scope = 0;
  if (size_t percent = host.find('%'); percent != std::string::npos) {
    scope = zone_index(host.substr(percent + 1));
    if (scope == 0) return std::nullopt;
    bare.resize(percent);
  }
  sockaddr_in6 in6{};
  if (::inet_pton(AF_INET6, bare.c_str(), &in6.sin6_addr) != 1) return std::nullopt;
  in6.sin6_family = AF_INET6;
  in6.sin6_port = htons(port);
  in6.sin6_scope_id = scope;
  return Address(&in6, sizeof(in6));
}

Address Address::from_bytes(std::span<const std::byte> bytes) {
  return Address(bytes.data(), std::min(bytes.size(), sizeof(sockaddr_storage)));
}

std::optional<Address> Address::unix_path(std::string_view path) {
  sockaddr_un un{};
  // A path may fill the field without a final NUL. (The socket module allows that to names alone.)
  if (path.size() > sizeof(un.sun_path)) return std::nullopt;
  un.sun_family = AF_UNIX;
  std::memcpy(un.sun_path, path.data(), path.size());
  bool ends_with_nul = !path.empty() && path[0] != '\0' && path.size() < sizeof(un.sun_path);
  return Address(&un, offsetof(sockaddr_un, sun_path) + path.size() + (ends_with_nul ? 1 : 0));
}

Result Address::local(int fd, Address& out) {
  sockaddr_storage storage;
  socklen_t length = sizeof(storage);
  Result result =
      Result::from_call(::getsockname(fd, reinterpret_cast<sockaddr*>(&storage), &length));
  out = result.ok() ? Address(&storage, length) : Address();
  return result;
}

Result Address::remote(int fd, Address& out) {
  sockaddr_storage storage;
  socklen_t length = sizeof(storage);
  Result result =
      Result::from_call(::getpeername(fd, reinterpret_cast<sockaddr*>(&storage), &length));
  out = result.ok() ? Address(&storage, length) : Address();
  return result;
}

std::string Address::bare_host() const {
  char text[INET6_ADDRSTRLEN];
  if (family() == AF_INET) {
    auto in = as<sockaddr_in>();
    return ::inet_ntop(AF_INET, &in.sin_addr, text, sizeof(text));
  }
  if (family() != AF_INET6) return {};
  auto in6 = as<sockaddr_in6>();
  return ::inet_ntop(AF_INET6, &in6.sin6_addr, text, sizeof(text));
}

std::string Address::host() const {
  std::string host = bare_host();
  uint32_t scope = family() == AF_INET6 ? as<sockaddr_in6>().sin6_scope_id : 0;
  if (scope == 0) return host;
  char name[IF_NAMESIZE];
  const char* zone = ::if_indextoname(scope, name);
  return zone ? concatenate(host, "%", zone) : concatenate(host, "%", scope);
}

uint16_t Address::port() const {
  if (family() == AF_INET) return ntohs(as<sockaddr_in>().sin_port);
  if (family() == AF_INET6) return ntohs(as<sockaddr_in6>().sin6_port);
  return 0;
}

std::string Address::unix_name() const {
  if (family() != AF_UNIX) return {};
  auto un = as<sockaddr_un>();
  // The kernel counts a NUL behind a path that fills the field.
  size_t size = std::min(length() - offsetof(sockaddr_un, sun_path), sizeof(un.sun_path));
  bool is_abstract = size > 0 && un.sun_path[0] == '\0';
  return {un.sun_path, is_abstract ? size : ::strnlen(un.sun_path, size)};
}

std::string Address::to_string() const {
  switch (family()) {
    case AF_INET:
      return concatenate(host(), ":", port());
    case AF_INET6:
      return concatenate("[", host(), "]:", port());
    case AF_UNIX: {
      std::string name = unix_name();
      if (name.empty()) return "unix:(unnamed)";
      return name[0] == '\0' ? concatenate("unix:@", name.substr(1)) : concatenate("unix:", name);
    }
    default:
      return concatenate("family ", family());
  }
}

}  // namespace rloop::base
