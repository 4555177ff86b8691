// Datagrams on epoll: level-triggered; each one is sent back as soon as it is received.
//
// An event is followed by receives until none is left. There is one socket and one datagram in
// hand, so while that one cannot be sent the server waits for room and does nothing else.
#include <netinet/in.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <cerrno>
#include <vector>

#include "engines.hpp"
#include "sockets.hpp"

namespace limit {
namespace {

constexpr std::size_t kDatagramBytes = 65536;

bool would_block() {
  return errno == EAGAIN || errno == EINTR;
}

void wait_for_room(int bound) {
  pollfd waited{.fd = bound, .events = POLLOUT, .revents = 0};
  poll(&waited, 1, -1);
}

// Whatever else the system refuses to send (to a peer that cannot be reached) is lost, as it may
// be.
void send_to(int bound, const sockaddr_in& peer, const char* data, std::size_t size) {
  while (sendto(bound, data, size, 0, reinterpret_cast<const sockaddr*>(&peer), sizeof peer) < 0 &&
         would_block()) {
    wait_for_room(bound);
  }
}

void echo_all(int bound, std::vector<char>& buffer) {
  for (;;) {
    sockaddr_in peer{};
    socklen_t peer_size = sizeof peer;
    const ssize_t size = recvfrom(bound, buffer.data(), buffer.size(), 0,
                                  reinterpret_cast<sockaddr*>(&peer), &peer_size);
    if (size < 0 && would_block()) {
      return;
    }
    if (size >= 0) {
      send_to(bound, peer, buffer.data(), static_cast<std::size_t>(size));
    }
  }
}

}  // namespace

void serve_datagrams_by_epoll(int bound) {
  const int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  epoll_event event{};
  event.events = EPOLLIN;
  if (epoll_fd < 0 || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, bound, &event) != 0) {
    fail("epoll");
  }
  std::vector<char> buffer(kDatagramBytes);
  for (;;) {
    if (epoll_wait(epoll_fd, &event, 1, -1) < 0 && errno != EINTR) {
      fail("epoll_wait");
    }
    echo_all(bound, buffer);
  }
}

}  // namespace limit
