// Streams on a ring: multishot accept, a multishot receive per connection, sends queued for the
// next turn's enter.
//
// What a turn received is sent at its end, straight from the buffers, which come back when it is
// sent. Two sends in flight on one socket may interleave (KERNEL.md 0): what comes in the meantime
// is copied to the backlog, which is the next send as a whole. A connection is freed when the
// kernel has finished all it was asked about it; shutdown() makes it do so.
#include <liburing.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "backlog.hpp"
#include "engines.hpp"
#include "outgoing.hpp"
#include "ring.hpp"
#include "sockets.hpp"

namespace limit {
namespace {

constexpr unsigned kBufferCount = 4096;
constexpr int kBlocks = 8;  // that a source sends at a time

struct alignas(8) Connection {
  int fd;
  unsigned in_flight = 0;  // operations of the kernel, and places in the lists of the turn
  bool receiving = false;
  bool cancelling = false;  // the receive
  bool to_be_armed = false;
  bool sending = false;
  bool paused = false;  // until all is sent
  bool peer_ended = false;
  bool ending = false;
  Outgoing outgoing;
  Backlog held;  // of it, what is in no buffer
  Backlog waiting;

  bool has_sent_all() const { return !sending && outgoing.empty(); }
};

// The low bits of a completion's user data; the others are the connection's address.
enum Kind : std::uint64_t { kReceive, kSend, kRoom, kAccept, kCancel, kKindMask = 7 };

class Server {
 public:
  Server(int listener, const Options& options)
      : listener_(listener),
        over_tcp_(!is_unix(listener)),
        job_(options.job),
        block_(options.block_bytes, 'x') {}

  [[noreturn]] void run();

 private:
  void dispatch(const io_uring_cqe& completion);
  void accept();
  void on_accepted(const io_uring_cqe& completion);
  void send_received();
  void arm_waiting();
  void arm(Connection& connection);
  void cancel(Connection& connection);
  void on_received(Connection& connection, const io_uring_cqe& completion);
  void echo(Connection& connection, std::uint16_t buffer, std::size_t size);
  void send(Connection& connection);
  void on_sent(Connection& connection, int result);
  void wait_for_room(Connection& connection);
  void next_send(Connection& connection);
  void release(Connection& connection);
  void end(Connection& connection);
  void settle(Connection& connection);

  int listener_;
  bool over_tcp_;
  Job job_;
  std::vector<char> block_;  // what a source sends
  Ring ring_;
  Buffers buffers_{ring_, kBufferCount};
  std::vector<Connection*> to_send_;
  std::vector<Connection*> to_arm_;
  std::vector<Connection*> arming_;  // empty between turns: kept for its memory
};

void Server::run() {
  accept();
  for (;;) {
    send_received();
    arm_waiting();
    ring_.turn([this](const io_uring_cqe& completion) { dispatch(completion); });
  }
}

void Server::dispatch(const io_uring_cqe& completion) {
  auto* connection =
      reinterpret_cast<Connection*>(completion.user_data & ~std::uint64_t{kKindMask});
  switch (completion.user_data & kKindMask) {
    case kReceive:
      on_received(*connection, completion);
      break;
    case kSend:
      connection->in_flight -= 1;
      on_sent(*connection, completion.res);
      break;
    case kRoom:
      connection->in_flight -= 1;
      send(*connection);
      break;
    case kAccept:
      on_accepted(completion);
      break;
    default:  // the cancelled receive ends by a completion of its own
      break;
  }
}

// Of an operation that is being prepared.
void tag(io_uring_sqe& sqe, Connection& connection, Kind kind) {
  sqe.user_data = reinterpret_cast<std::uint64_t>(&connection) | kind;
  connection.in_flight += 1;
}

void Server::accept() {
  io_uring_sqe& sqe = ring_.entry();
  io_uring_prep_multishot_accept(&sqe, listener_, nullptr, nullptr, SOCK_CLOEXEC);
  sqe.user_data = kAccept;
}

void Server::on_accepted(const io_uring_cqe& completion) {
  if (completion.res >= 0) {
    if (over_tcp_) {
      set_nodelay(completion.res);
    }
    auto* connection = new Connection{.fd = completion.res};
    if (job_ == Job::kSource) {
      next_send(*connection);
    } else {
      settle(*connection);
    }
  } else if (completion.res != -ECONNABORTED && completion.res != -EAGAIN) {
    fail("accept", -completion.res);
  }
  if ((completion.flags & IORING_CQE_F_MORE) == 0) {
    accept();
  }
}

// At the end of a turn, when the buffers are back: without any a receive fails at once.
void Server::arm_waiting() {
  if (!buffers_.publish()) {
    return;
  }
  arming_.swap(to_arm_);
  for (Connection* connection : arming_) {
    connection->in_flight -= 1;
    connection->to_be_armed = false;
    if (connection->ending) {
      settle(*connection);
    } else {
      arm(*connection);
    }
  }
  arming_.clear();
}

void Server::arm(Connection& connection) {
  io_uring_sqe& sqe = ring_.entry();
  io_uring_prep_recv_multishot(&sqe, connection.fd, nullptr, 0, 0);
  sqe.flags |= IOSQE_BUFFER_SELECT;
  sqe.buf_group = Buffers::kGroup;
  tag(sqe, connection, kReceive);
  connection.receiving = true;
}

void Server::on_received(Connection& connection, const io_uring_cqe& completion) {
  if ((completion.flags & IORING_CQE_F_MORE) == 0) {
    connection.in_flight -= 1;
    connection.receiving = connection.cancelling = false;
  }
  if ((completion.flags & IORING_CQE_F_BUFFER) != 0) {
    const std::uint16_t buffer = buffers_.take(completion);
    if (completion.res > 0 && job_ == Job::kEcho && !connection.ending) {
      echo(connection, buffer, static_cast<std::size_t>(completion.res));
    } else {
      buffers_.give_back(buffer);
    }
  }
  if (completion.res == -ENOBUFS) {
    buffers_.note_short();
  } else if (completion.res == 0) {
    connection.peer_ended = true;
  } else if (completion.res < 0 && completion.res != -ECANCELED) {
    end(connection);
  }
  settle(connection);
}

void Server::echo(Connection& connection, std::uint16_t buffer, std::size_t size) {
  const std::span<const char> data(buffers_.data(buffer), size);
  const bool is_first = connection.has_sent_all();
  if (connection.sending || !connection.outgoing.add(data, buffer)) {
    connection.waiting.append(data);
    buffers_.give_back(buffer);
  } else if (is_first) {
    connection.in_flight += 1;
    to_send_.push_back(&connection);
  }
}

void Server::send_received() {
  for (Connection* connection : to_send_) {
    connection->in_flight -= 1;
    if (connection->ending) {
      release(*connection);
      settle(*connection);
    } else {
      send(*connection);
    }
  }
  to_send_.clear();
}

void Server::send(Connection& connection) {
  io_uring_sqe& sqe = ring_.entry();
  connection.outgoing.prepare(sqe, connection.fd);
  tag(sqe, connection, kSend);
  connection.sending = true;
}

// A send comes back with EAGAIN when the peer has shut its half down and the buffer is full.
void Server::wait_for_room(Connection& connection) {
  io_uring_sqe& sqe = ring_.entry();
  io_uring_prep_poll_add(&sqe, connection.fd, POLLOUT);
  tag(sqe, connection, kRoom);
}

void Server::on_sent(Connection& connection, int result) {
  if (result == -EAGAIN && !connection.ending) {
    wait_for_room(connection);
    return;
  }
  if (result >= 0) {
    connection.outgoing.drop(static_cast<std::size_t>(result));
  } else {
    end(connection);
  }
  if (connection.ending) {
    release(connection);
  } else if (connection.outgoing.empty()) {
    next_send(connection);
  } else {
    send(connection);
  }
  settle(connection);
}

// All of the last one is sent.
void Server::next_send(Connection& connection) {
  release(connection);
  if (job_ == Job::kSource) {
    for (int i = 0; i < kBlocks; ++i) {
      connection.outgoing.put(block_);
    }
  } else {
    std::swap(connection.held, connection.waiting);
    connection.outgoing.put(connection.held.front());
  }
  if (!connection.outgoing.empty()) {
    send(connection);
  }
}

// The kernel has finished with what was being sent.
void Server::release(Connection& connection) {
  connection.sending = false;
  connection.outgoing.clear([this](std::uint16_t buffer) { buffers_.give_back(buffer); });
  connection.held.drop(connection.held.front().size());
}

void Server::end(Connection& connection) {
  if (!connection.ending && connection.in_flight > 0) {
    shutdown(connection.fd, SHUT_RDWR);
  }
  connection.ending = true;
}

// Asks for what the connection is to go on with; frees it at its end.
void Server::settle(Connection& connection) {
  if (connection.peer_ended && connection.has_sent_all()) {
    end(connection);
  }
  if (connection.ending) {
    if (connection.in_flight == 0) {
      close(connection.fd);
      delete &connection;
    }
    return;
  }
  connection.paused =
      !connection.has_sent_all() && (connection.paused || connection.waiting.is_large());
  const bool reads = !connection.paused && !connection.peer_ended && job_ != Job::kSource;
  if (reads && !connection.receiving && !connection.to_be_armed) {
    connection.to_be_armed = true;
    connection.in_flight += 1;
    to_arm_.push_back(&connection);
  }
  if (connection.paused && connection.receiving && !connection.cancelling) {
    cancel(connection);
  }
}

void Server::cancel(Connection& connection) {
  connection.cancelling = true;
  io_uring_sqe& sqe = ring_.entry();
  io_uring_prep_cancel64(&sqe, reinterpret_cast<std::uint64_t>(&connection) | kReceive, 0);
  sqe.user_data = kCancel;
}

}  // namespace

void serve_streams_by_ring(int listener, const Options& options) {
  Server(listener, options).run();
}

}  // namespace limit
