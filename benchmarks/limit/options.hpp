// The command line of the limit's servers: the words of benchmarks/server.py.
#pragma once

#include <cstddef>
#include <string>

namespace limit {

// What a server does with a connection.
enum class Job { kEcho, kSink, kSource };

struct Options {
  bool on_ring = true;  // --loop uring, else epoll
  bool check = false;
  std::string address = "127.0.0.1:25000";  // or unix:path
  bool datagrams = false;
  Job job = Job::kEcho;
  std::size_t block_bytes = 0;  // what a source sends at a time
  int socket_buffer_bytes = 0;  // 0: what the system gives
  double exit_after_s = 0.0;    // 0: never
  bool allow_tracer = false;
};

// Ends the process when the command line is wrong, or asks for help.
Options parse(int argc, char** argv);

}  // namespace limit
