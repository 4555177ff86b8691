// Streams on epoll: level-triggered; what came is received once per event and sent at once.
//
// All connections receive into one block that stays in the cache. What cannot be sent at once is
// kept in the connection's backlog until epoll says that there is room.
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <span>
#include <vector>

#include "backlog.hpp"
#include "engines.hpp"
#include "sockets.hpp"

namespace limit {
namespace {

constexpr int kMaxEvents = 256;
constexpr std::size_t kReceiveBytes = 256 * 1024;
// In a row before others have their turn.
constexpr int kMaxAccepts = 64;
constexpr std::size_t kBlocks = 8;

struct Connection {
  int fd;
  std::uint32_t interest;
  bool peer_ended = false;
  Backlog backlog;
};

// What became of a connection.
enum class Fate { kGoesOn, kEnds };

class Server {
 public:
  Server(int listener, const Options& options)
      : listener_(listener),
        over_tcp_(!is_unix(listener)),
        job_(options.job),
        block_(options.block_bytes, 'x'),
        received_(kReceiveBytes) {
    blocks_.fill({block_.data(), block_.size()});
    if (epoll_fd_ < 0) {
      fail("epoll_create1");
    }
    control(EPOLL_CTL_ADD, listener_, EPOLLIN, nullptr);
  }

  [[noreturn]] void run();

 private:
  void control(int what, int fd, std::uint32_t interest, Connection* connection);
  void accept_all();
  Fate on_ready(Connection& connection, std::uint32_t events);
  Fate receive(Connection& connection);
  Fate echo(Connection& connection, std::span<const char> data);
  Fate send_backlog(Connection& connection);
  Fate send_blocks(Connection& connection);
  Fate settle(Connection& connection);

  int listener_;
  int epoll_fd_ = epoll_create1(EPOLL_CLOEXEC);
  bool over_tcp_;
  Job job_;
  std::vector<char> block_;  // what a source sends
  std::array<iovec, kBlocks> blocks_;
  std::vector<char> received_;
};

bool would_block() {
  return errno == EAGAIN || errno == EINTR;
}

void Server::run() {
  std::array<epoll_event, kMaxEvents> events;
  for (;;) {
    const int count = epoll_wait(epoll_fd_, events.data(), kMaxEvents, -1);
    if (count < 0 && errno != EINTR) {
      fail("epoll_wait");
    }
    for (int i = 0; i < count; ++i) {
      const epoll_event& event = events[static_cast<std::size_t>(i)];
      auto* connection = static_cast<Connection*>(event.data.ptr);
      if (connection == nullptr) {
        accept_all();
      } else if (on_ready(*connection, event.events) == Fate::kEnds) {
        close(connection->fd);
        delete connection;
      }
    }
  }
}

void Server::control(int what, int fd, std::uint32_t interest, Connection* connection) {
  epoll_event event{};
  event.events = interest;
  event.data.ptr = connection;
  if (epoll_ctl(epoll_fd_, what, fd, &event) != 0) {
    fail("epoll_ctl");
  }
}

void Server::accept_all() {
  for (int i = 0; i < kMaxAccepts; ++i) {
    const int fd = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0 && (would_block() || errno == ECONNABORTED)) {
      return;
    }
    if (fd < 0) {
      fail("accept");
    }
    if (over_tcp_) {
      set_nodelay(fd);
    }
    const std::uint32_t interest = job_ == Job::kSource ? EPOLLOUT : EPOLLIN;
    control(EPOLL_CTL_ADD, fd, interest, new Connection{.fd = fd, .interest = interest});
  }
}

Fate Server::on_ready(Connection& connection, std::uint32_t events) {
  constexpr std::uint32_t kTrouble = EPOLLHUP | EPOLLERR;
  if (job_ == Job::kSource) {
    return send_blocks(connection);
  }
  // A broken connection that waits to send learns of it by sending.
  if ((events & EPOLLOUT) != 0 || ((events & kTrouble) != 0 && !connection.backlog.empty())) {
    if (send_backlog(connection) == Fate::kEnds) {
      return Fate::kEnds;
    }
  }
  const bool reads = (connection.interest & EPOLLIN) != 0;
  return reads && (events & (EPOLLIN | kTrouble)) != 0 ? receive(connection) : Fate::kGoesOn;
}

Fate Server::receive(Connection& connection) {
  const ssize_t size = recv(connection.fd, received_.data(), received_.size(), 0);
  if (size < 0) {
    return would_block() ? Fate::kGoesOn : Fate::kEnds;
  }
  if (size == 0) {
    connection.peer_ended = true;
    return settle(connection);
  }
  if (job_ == Job::kSink) {
    return Fate::kGoesOn;
  }
  return echo(connection, std::span(received_).first(static_cast<std::size_t>(size)));
}

Fate Server::echo(Connection& connection, std::span<const char> data) {
  if (connection.backlog.empty()) {
    const ssize_t sent = send(connection.fd, data.data(), data.size(), MSG_NOSIGNAL);
    if (sent < 0 && !would_block()) {
      return Fate::kEnds;
    }
    data = data.subspan(sent > 0 ? static_cast<std::size_t>(sent) : 0);
    if (data.empty()) {
      return Fate::kGoesOn;
    }
  }
  connection.backlog.append(data);
  return settle(connection);
}

Fate Server::send_backlog(Connection& connection) {
  const std::span<const char> data = connection.backlog.front();
  const ssize_t sent = send(connection.fd, data.data(), data.size(), MSG_NOSIGNAL);
  if (sent < 0) {
    return would_block() ? Fate::kGoesOn : Fate::kEnds;
  }
  connection.backlog.drop(static_cast<std::size_t>(sent));
  return settle(connection);
}

Fate Server::send_blocks(Connection& connection) {
  msghdr message{};
  message.msg_iov = blocks_.data();
  message.msg_iovlen = blocks_.size();
  // All its bytes are alike: it need not be known where it goes on.
  const ssize_t sent = sendmsg(connection.fd, &message, MSG_NOSIGNAL);
  return sent < 0 && !would_block() ? Fate::kEnds : Fate::kGoesOn;
}

// Waits for what the connection is to go on with.
Fate Server::settle(Connection& connection) {
  const bool sends = !connection.backlog.empty();
  if (connection.peer_ended && !sends) {
    return Fate::kEnds;
  }
  const bool reads = !connection.peer_ended && !connection.backlog.is_large() &&
                     // Paused: until all is sent.
                     (!sends || (connection.interest & EPOLLIN) != 0);
  const std::uint32_t interest = (sends ? EPOLLOUT : 0U) | (reads ? EPOLLIN : 0U);
  if (interest != connection.interest) {
    connection.interest = interest;
    control(EPOLL_CTL_MOD, connection.fd, interest, &connection);
  }
  return Fate::kGoesOn;
}

}  // namespace

void serve_streams_by_epoll(int listener, const Options& options) {
  Server(listener, options).run();
}

}  // namespace limit
