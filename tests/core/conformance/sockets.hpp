// Sockets and bytes for the tests: pairs, listeners, blocking helpers for the far end.
//
// The near end of a pair is driven by the reactor, the far end by plain system calls of the test.
// Both are non-blocking where that matters; helpers assert, so a test reads without error paths.
// Nothing here knows a reactor.
#pragma once

#include <netinet/in.h>

#include <cstddef>
#include <string>
#include <string_view>

#include "base/fd.hpp"

namespace rloop::test {

struct SocketPair {
  base::UniqueFd near;
  base::UniqueFd far;
};

SocketPair unix_pair();  // stream sockets of AF_UNIX, non-blocking
SocketPair tcp_pair();   // over the loopback, non-blocking

// Makes the buffers of both ends so small that a few hundred kilobytes do not fit.
void shrink_buffers(const SocketPair& pair);

struct TestListener {
  base::UniqueFd fd;
  sockaddr_in address{};
};

TestListener listen_on_loopback(int backlog = 1024);
// A connected (or, when the listener is full, connecting) non-blocking client.
base::UniqueFd connect_to(const TestListener& listener);
// True when a connection attempt is refused.
bool connection_is_refused(const TestListener& listener);

void write_all(int fd, std::string_view bytes);
// What can be read now without blocking.
std::string read_available(int fd);
// Reads until the peer's end of the stream (or a reset), waiting for it.
std::string read_to_end(int fd);
bool at_end_of_stream(int fd);
// The buffers of both ends as small as the kernel allows, for pairs of AF_UNIX.
void minimise_buffers(const SocketPair& pair);
// Fills the socket until it takes no more; the number of bytes.
size_t fill(int fd);
// The number of the process's descriptor that /proc/self/fd shows as `what`; -1: there is none.
int descriptor_of(std::string_view what);
// Makes the next close of the descriptor a reset of the connection.
void reset_on_close(int fd);

// `size` bytes of a sequence that repeats nowhere near a buffer's size.
std::string pattern(size_t size, unsigned seed = 1);

}  // namespace rloop::test
