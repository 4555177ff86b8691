// Implements http.hpp.
#include "http.hpp"

#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <stdexcept>

namespace loadgen {

namespace {

constexpr std::size_t kReceiveBytes = 64 * 1024;
constexpr std::size_t kMaxHeadBytes = 16 * 1024;
const std::string kRequest = "GET / HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n";
const std::string kEndOfHead = "\r\n\r\n";

// The value of Content-Length in an answer with status 200; throws for any other answer.
std::size_t body_size(const std::string& head) {
  if (head.compare(0, 13, "HTTP/1.1 200 ") != 0) {
    throw std::runtime_error("the answer is not 200: " + head.substr(0, head.find('\r')));
  }
  const std::string name = "Content-Length:";
  for (std::size_t line = head.find('\n'); line != std::string::npos;
       line = head.find('\n', line + 1)) {
    if (strncasecmp(head.c_str() + line + 1, name.c_str(), name.size()) == 0) {
      return std::strtoul(head.c_str() + line + 1 + name.size(), nullptr, 10);
    }
  }
  throw std::runtime_error("the answer has no Content-Length");
}

}  // namespace

Http::Http(const Endpoint& endpoint, int connections) : receive_buffer_(kReceiveBytes) {
  // Reserved first: epoll keeps pointers to the elements.
  connections_.reserve(static_cast<std::size_t>(connections));
  for (int i = 0; i < connections; ++i) {
    Connection& connection = connections_.emplace_back();
    connection.fd = endpoint.connect();
    watch(connection.fd, &connection, EPOLLIN);
  }
}

Http::~Http() {
  for (const Connection& connection : connections_) {
    close(connection.fd);
  }
}

void Http::start_idle() {
  for (Connection& connection : connections_) {
    if (!connection.busy) {
      start_request(connection);
    }
  }
}

void Http::start_request(Connection& connection) {
  connection.busy = true;
  connection.head_complete = false;
  connection.head.clear();
  busy_count_ += 1;
  connection.started_ns = now_ns();
  // The socket's buffer is empty and the request small: it goes out whole.
  if (send(connection.fd, kRequest.data(), kRequest.size(), MSG_NOSIGNAL) !=
      static_cast<ssize_t>(kRequest.size())) {
    fail("send of a request");
  }
}

void Http::on_ready(void* pointer, std::uint32_t /*events*/) {
  auto& connection = *static_cast<Connection*>(pointer);
  const ssize_t size = recv(connection.fd, receive_buffer_.data(), receive_buffer_.size(), 0);
  if (size < 0 && (errno == EAGAIN || errno == EINTR)) {
    return;
  }
  if (size < 0) {
    fail("receive of an answer");
  }
  if (size == 0) {
    throw std::runtime_error("the server closed a connection");
  }
  take(connection, receive_buffer_.data(), static_cast<std::size_t>(size));
}

void Http::take(Connection& connection, const char* data, std::size_t size) {
  if (!connection.busy) {
    throw std::runtime_error("the server sent something that was not asked for");
  }
  if (!connection.head_complete) {
    const std::size_t before = connection.head.size();
    connection.head.append(data, size);
    const std::size_t end = connection.head.find(kEndOfHead);
    if (end == std::string::npos) {
      if (connection.head.size() > kMaxHeadBytes) {
        throw std::runtime_error("the head of an answer does not end");
      }
      return;
    }
    const std::size_t of_head = end + kEndOfHead.size() - before;
    connection.head.resize(end + kEndOfHead.size());
    connection.head_complete = true;
    connection.body_left = body_size(connection.head);
    size -= of_head;
  }
  if (size > connection.body_left) {
    throw std::runtime_error("an answer is longer than it says");
  }
  connection.body_left -= size;
  if (connection.body_left == 0) {
    finish_request(connection);
  }
}

void Http::finish_request(Connection& connection) {
  latencies_.add(now_ns() - connection.started_ns);
  connection.busy = false;
  busy_count_ -= 1;
  if (sending()) {
    start_request(connection);
  }
}

}  // namespace loadgen
