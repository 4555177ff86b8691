// The echo load of loadgen: a closed loop that sends, receives and checks.
//
// Each connection has one request in flight: it sends `messages_per_request` messages, reads the
// echo to its last byte, compares every byte, records the latency and sends the next. EPOLLOUT is
// asked for only while a write is partial. Datagrams work alike, a message in each; one that has
// had no answer for a second is sent again and counted as lost. With `churn` a connection lives for
// one request: connect, echo, close, and the next, from another source address.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "endpoint.hpp"
#include "pattern.hpp"
#include "workload.hpp"

namespace loadgen {

class Load : public Workload {
 public:
  Load(const Endpoint& endpoint, std::size_t message_bytes, std::size_t messages_per_request,
       int connections, bool churn);
  ~Load() override;

  std::uint64_t messages() const override { return latencies_.count() * messages_per_request_; }
  std::uint64_t mismatches() const override { return mismatches_; }

 protected:
  void start_idle() override;
  void on_ready(void* connection, std::uint32_t events) override;
  void on_silence() override;

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

  void open(Connection& connection);
  void start_request(Connection& connection);
  void send_rest(Connection& connection);
  void receive(Connection& connection);
  void check(Connection& connection, const char* data, std::size_t size);
  void report_mismatch(const Connection& connection);
  void finish_request(Connection& connection);
  void want_output(Connection& connection, bool wanted);

  const Endpoint endpoint_;
  const bool churn_;
  std::uint32_t source_;  // of the next connection, when connections are many
  std::size_t message_bytes_;
  std::size_t messages_per_request_;
  std::size_t request_bytes_;
  Pattern pattern_;
  std::uint64_t mismatches_ = 0;
  std::uint64_t reported_count_ = 0;
  std::vector<Connection> connections_;
  std::vector<char> receive_buffer_;
};

}  // namespace loadgen
