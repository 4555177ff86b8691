// Where loadgen connects to, and how: "host:port" (TCP), "udp:host:port" or "unix:path".
//
// The address is resolved once; each `connect` then makes one non-blocking connected socket. Only
// loopback addresses and unix sockets are accepted: the servers under test echo whatever comes. A
// TCP connection may be given a source address of its own from 127.0.0.0/8: a load that connects
// thousands of times a second would otherwise use up the ports of one source (closed connections
// keep theirs for a minute). Failures are thrown as std::runtime_error.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <string>

namespace loadgen {

class Endpoint {
 public:
  // `buffer_bytes` is what the sockets ask for as SO_SNDBUF and SO_RCVBUF; 0 leaves it to the
  // kernel.
  explicit Endpoint(const std::string& address, int buffer_bytes = 0);

  bool is_datagram() const { return type_ == SOCK_DGRAM; }

  // Returns a connected socket, which the caller owns.
  int connect() const;

  // The same from the source address number `source` (IPv4 only; others connect as above).
  int connect_from(std::uint32_t source) const;

 private:
  void resolve(const std::string& name);
  void use_path(const std::string& path);
  int open() const;
  int finish(int fd) const;

  std::string name_;
  int buffer_bytes_;
  int type_ = SOCK_STREAM;
  sockaddr_storage address_{};
  socklen_t size_ = 0;
};

}  // namespace loadgen
