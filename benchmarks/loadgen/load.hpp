// The closed loop of loadgen: connections, epoll, sending, receiving, checking.
//
// Each connection has one request in flight: it sends `messages_per_request` messages, reads the
// echo to its last byte, compares every byte, records the latency and sends the next. One thread,
// level-triggered epoll; EPOLLOUT is asked for only while a write is partial. The server under test
// is the subject, so this side is kept cheap: no allocation, no copy of what is sent.
// Knows neither the command line nor the output; failures are thrown as std::runtime_error.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "histogram.hpp"
#include "pattern.hpp"

namespace loadgen {

std::uint64_t now_ns();

class Load {
 public:
  Load(std::size_t message_bytes, std::size_t messages_per_request);
  ~Load();
  Load(const Load&) = delete;
  Load& operator=(const Load&) = delete;

  // Opens `count` connections to "host:port" (loopback only) or "unix:path".
  void connect_all(const std::string& address, int count);

  // Starts every idle connection and keeps all of them busy for `seconds`.
  void run(double seconds);

  // Sends nothing new and reads what is under way; throws after `limit_seconds`.
  void drain(double limit_seconds);

  // Forgets what was recorded so far; requests under way count when they finish.
  void reset_figures();

  const Histogram& latencies() const { return latencies_; }
  std::uint64_t mismatches() const { return mismatches_; }

 private:
  struct Connection {
    int fd = -1;
    std::uint32_t id = 0;
    std::uint64_t first_message = 0;  // number of the current request's first message
    std::size_t sent = 0;             // bytes of the current request
    std::size_t received = 0;
    std::uint64_t started_ns = 0;
    bool busy = false;
    bool mismatched = false;
    bool waits_for_output = false;
  };

  void turn(std::uint64_t deadline_ns);
  void start_request(Connection& connection);
  void send_rest(Connection& connection);
  void receive(Connection& connection);
  void check(Connection& connection, const char* data, std::size_t size);
  void report_mismatch(const Connection& connection);
  void finish_request(Connection& connection);
  void want_output(Connection& connection, bool wanted);

  std::size_t message_bytes_;
  std::size_t messages_per_request_;
  std::size_t request_bytes_;
  Pattern pattern_;
  Histogram latencies_;
  std::uint64_t mismatches_ = 0;
  std::uint64_t reported_count_ = 0;
  std::vector<Connection> connections_;
  std::size_t busy_count_ = 0;
  bool sending_ = false;
  int epoll_fd_ = -1;
  std::vector<char> receive_buffer_;
};

}  // namespace loadgen
