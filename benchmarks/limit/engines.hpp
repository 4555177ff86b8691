// The four servers: streams or datagrams, on epoll or on a ring. Each serves until a signal ends
// the process; what makes serving impossible is thrown as std::runtime_error, what a peer does ends
// its connection alone. One thread.
#pragma once

#include "options.hpp"

namespace limit {

[[noreturn]] void serve_streams_by_epoll(int listener, const Options& options);
[[noreturn]] void serve_datagrams_by_epoll(int bound);
[[noreturn]] void serve_streams_by_ring(int listener, const Options& options);
[[noreturn]] void serve_datagrams_by_ring(int bound);

}  // namespace limit
