// Implements accept.hpp.
#include "accept.hpp"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>

namespace loadgen {

Accept::Accept(const Endpoint& endpoint, int clients)
    : endpoint_(endpoint),
      // Another place in each process, as in load.cpp.
      source_(static_cast<std::uint32_t>(getpid()) * 257U),
      clients_(static_cast<std::size_t>(clients)) {}

Accept::~Accept() {
  for (const Client& client : clients_) {
    if (client.fd >= 0) {
      close(client.fd);
    }
  }
}

void Accept::start_idle() {
  for (Client& client : clients_) {
    if (client.fd < 0) {
      start(client);
    }
  }
}

void Accept::start(Client& client) {
  client.started_ns = now_ns();
  client.fd = endpoint_.connect_from(source_++);
  busy_count_ += 1;
  if (shutdown(client.fd, SHUT_WR) != 0) {
    fail("shutdown");
  }
  watch(client.fd, &client, EPOLLIN);
}

void Accept::on_ready(void* pointer, std::uint32_t /*events*/) {
  auto& client = *static_cast<Client*>(pointer);
  std::array<char, 64> received;
  const ssize_t size = recv(client.fd, received.data(), received.size(), 0);
  if (size < 0 && (errno == EAGAIN || errno == EINTR)) {
    return;
  }
  if (size < 0) {
    fail("receive");
  }
  if (size > 0) {
    mismatches_ += 1;
    return;
  }
  close(client.fd);
  client.fd = -1;
  busy_count_ -= 1;
  latencies_.add(now_ns() - client.started_ns);
  if (sending()) {
    start(client);
  }
}

}  // namespace loadgen
