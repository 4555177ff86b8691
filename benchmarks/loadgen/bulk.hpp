// One-way load of loadgen: bytes as fast as they go, to the server or from it.
//
// There are no requests and no latencies; a message is `message_bytes` bytes in the direction that
// is measured. Sending writes the same block over and over while the socket takes it; receiving
// reads and compares with what `server.py --source` sends, the letter x. At the end the connection
// is simply closed. The server's share of the work is what counts, so blocks are large and few.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "endpoint.hpp"
#include "workload.hpp"

namespace loadgen {

class Bulk : public Workload {
 public:
  Bulk(const Endpoint& endpoint, std::size_t message_bytes, int connections, bool to_server);
  ~Bulk() override;

  void reset_figures() override;
  std::uint64_t messages() const override { return bytes_ / message_bytes_; }
  std::uint64_t mismatches() const override { return mismatches_; }

 protected:
  void start_idle() override {}
  void on_ready(void* connection, std::uint32_t events) override;

 private:
  void send_block(int fd);
  void receive_block(int fd);

  const std::size_t message_bytes_;
  const bool to_server_;
  std::vector<int> connections_;
  std::vector<char> block_;
  const std::vector<char> expected_;
  std::uint64_t bytes_ = 0;
  std::uint64_t mismatches_ = 0;
};

}  // namespace loadgen
