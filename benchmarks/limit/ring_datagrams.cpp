// Datagrams on a ring: one multishot receive, and each datagram is sent back from the buffer that
// it came in, with a turn's sends queued for the next enter.
//
// Sends need no order among themselves: as many as there are buffers may be in flight. A buffer
// comes back when its send has completed.
#include <liburing.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstdint>
#include <vector>

#include "engines.hpp"
#include "ring.hpp"
#include "sockets.hpp"

namespace limit {
namespace {

constexpr unsigned kBufferCount = 1024;
constexpr std::size_t kNameBytes = sizeof(sockaddr_in);
constexpr std::uint64_t kReceive = kBufferCount;  // other completions name a buffer

// A send that the kernel has not finished; the kernel reads it when it is submitted.
struct Send {
  msghdr message;
  iovec range;
};

class Server {
 public:
  explicit Server(int bound) : bound_(bound), sends_(kBufferCount) {
    pattern_.msg_namelen = kNameBytes;
  }

  [[noreturn]] void run();

 private:
  void arm();
  void on_received(const io_uring_cqe& completion);
  void send_back(std::uint16_t id, std::size_t size);

  int bound_;
  Ring ring_;
  Buffers buffers_{ring_, kBufferCount};
  msghdr pattern_{};  // of what is received: room for a name
  bool armed_ = false;
  std::vector<Send> sends_;  // by buffer
};

void Server::run() {
  for (;;) {
    if (buffers_.publish() && !armed_) {
      arm();
    }
    ring_.turn([this](const io_uring_cqe& completion) {
      if (completion.user_data == kReceive) {
        on_received(completion);
      } else {
        // Sent, or lost, as a datagram may be.
        buffers_.give_back(static_cast<std::uint16_t>(completion.user_data));
      }
    });
  }
}

void Server::arm() {
  io_uring_sqe& sqe = ring_.entry();
  io_uring_prep_recvmsg_multishot(&sqe, bound_, &pattern_, 0);
  sqe.flags |= IOSQE_BUFFER_SELECT;
  sqe.buf_group = Buffers::kGroup;
  sqe.user_data = kReceive;
  armed_ = true;
}

// Without F_MORE it is armed again: an empty datagram ends it too.
void Server::on_received(const io_uring_cqe& completion) {
  armed_ = (completion.flags & IORING_CQE_F_MORE) != 0;
  if (completion.res == -ENOBUFS) {
    buffers_.note_short();
  }
  if ((completion.flags & IORING_CQE_F_BUFFER) == 0) {
    if (completion.res == -EINVAL || completion.res == -EBADF) {
      fail("receiving datagrams", -completion.res);
    }
    return;
  }
  const std::uint16_t id = buffers_.take(completion);
  if (completion.res < 0) {
    buffers_.give_back(id);
  } else {
    send_back(id, static_cast<std::size_t>(completion.res));
  }
}

void Server::send_back(std::uint16_t id, std::size_t size) {
  constexpr std::size_t kHeaderBytes = sizeof(io_uring_recvmsg_out) + kNameBytes;
  char* const buffer = buffers_.data(id);
  Send& send = sends_[id];
  send.range = {buffer + kHeaderBytes, size - kHeaderBytes};
  send.message = {};
  send.message.msg_name = buffer + sizeof(io_uring_recvmsg_out);
  send.message.msg_namelen = kNameBytes;
  send.message.msg_iov = &send.range;
  send.message.msg_iovlen = 1;
  io_uring_sqe& sqe = ring_.entry();
  io_uring_prep_sendmsg(&sqe, bound_, &send.message, MSG_NOSIGNAL);
  sqe.user_data = id;
}

}  // namespace

void serve_datagrams_by_ring(int bound) {
  Server(bound).run();
}

}  // namespace limit
