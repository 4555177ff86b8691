// The accept load of loadgen: connections that end at once, none of which carries a byte.
//
// Each of a fixed number of clients connects, ends its side, waits for the server to end the other,
// closes, and connects again from another source address. So a message is one connection that the
// server has accepted and closed, and a slow server is waited for instead of having its backlog
// filled. Any byte that comes is a mismatch.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "endpoint.hpp"
#include "workload.hpp"

namespace loadgen {

class Accept : public Workload {
 public:
  Accept(const Endpoint& endpoint, int clients);
  ~Accept() override;

  std::uint64_t messages() const override { return latencies_.count(); }
  std::uint64_t mismatches() const override { return mismatches_; }

 protected:
  void start_idle() override;
  void on_ready(void* client, std::uint32_t events) override;

 private:
  struct Client {
    int fd = -1;
    std::uint64_t started_ns = 0;
  };

  void start(Client& client);

  const Endpoint endpoint_;
  std::uint32_t source_;  // of the next connection
  std::vector<Client> clients_;
  std::uint64_t mismatches_ = 0;
};

}  // namespace loadgen
