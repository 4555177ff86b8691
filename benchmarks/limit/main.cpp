// limit: an echo server, a sink and a source without Python, for the benchmarks to hold loops
// against.
//
//   limit --loop uring --addr 127.0.0.1:25000
//
// Takes the command line of benchmarks/server.py and says the same lines, so that the comparison
// starts it like any loop's server. What a loop's server costs beyond it is what Python and the
// loop cost together. It ends on SIGTERM or SIGINT, or by itself after --exit-after seconds.
#include <sys/prctl.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstring>
#include <exception>

#include "engines.hpp"
#include "options.hpp"
#include "process.hpp"
#include "ring.hpp"
#include "sockets.hpp"

namespace {

char socket_path[108];  // what is left to remove at the end; empty: nothing

// Nothing is kept between connections, so the end is an end: the kernel closes the rest.
void end(int /*signal*/) {
  if (socket_path[0] != '\0') {
    unlink(socket_path);
  }
  _exit(0);
}

void end_on_signals(const limit::Options& options) {
  for (const int number : {SIGTERM, SIGINT, SIGALRM}) {
    std::signal(number, end);
  }
  start_alarm(options.exit_after_s);
}

void announce(const limit::Options& options, int fd) {
  std::printf("using limit (%s)\n", options.on_ring ? "io_uring" : "epoll");
  std::printf("mode: C++ without Python\n");
  std::printf("serving on: %s\n", limit::name_of(fd).c_str());
  std::printf("PID: %d\n", getpid());
  std::fflush(stdout);
}

int check(const limit::Options& options) {
  if (options.on_ring) {
    const limit::Ring ring;
    std::printf("C++ on liburing " LIBURING_VERSION "\n");
  } else {
    std::printf("C++ on epoll\n");
  }
  return 0;
}

[[noreturn]] void serve(const limit::Options& options) {
  const int fd = limit::open_server_socket(options);
  limit::path_of(options.address).copy(socket_path, sizeof socket_path - 1);
  end_on_signals(options);
  announce(options, fd);
  if (options.datagrams) {
    options.on_ring ? limit::serve_datagrams_by_ring(fd) : limit::serve_datagrams_by_epoll(fd);
  }
  options.on_ring ? limit::serve_streams_by_ring(fd, options)
                  : limit::serve_streams_by_epoll(fd, options);
}

}  // namespace

int main(int argc, char** argv) {
  const limit::Options options = limit::parse(argc, argv);
  raise_descriptor_limit();
  if (options.allow_tracer) {
    prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0);
  }
  try {
    if (options.check) {
      return check(options);
    }
    serve(options);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "limit: %s\n", error.what());
    return 1;
  }
}
