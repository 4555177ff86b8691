// HTTP load of loadgen: GET requests on kept connections, one in flight on each.
//
// A message is one request with its whole answer. Of the answer the status (200) and the length
// (Content-Length, which must be there) are read and the body is counted, not looked at: what is
// measured is the server. One thread; answers may come in any number of pieces.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "endpoint.hpp"
#include "workload.hpp"

namespace loadgen {

class Http : public Workload {
 public:
  Http(const Endpoint& endpoint, int connections);
  ~Http() override;

  std::uint64_t messages() const override { return latencies_.count(); }

 protected:
  void start_idle() override;
  void on_ready(void* connection, std::uint32_t events) override;

 private:
  struct Connection {
    int fd = -1;
    bool busy = false;
    bool head_complete = false;
    std::string head;           // of the answer, as far as it has come
    std::size_t body_left = 0;  // once the head is complete
    std::uint64_t started_ns = 0;
  };

  void start_request(Connection& connection);
  void take(Connection& connection, const char* data, std::size_t size);
  void finish_request(Connection& connection);

  std::vector<Connection> connections_;
  std::vector<char> receive_buffer_;
};

}  // namespace loadgen
