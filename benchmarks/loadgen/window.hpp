// What the measured window cost, for loadgen: clocks and counters, read at both of its ends.
//
// The CPU time of the server and of this process, and what else the kernel counts for the server's
// process: page faults that needed no disk, and the times that its threads gave up the CPU or had
// it taken. A thread that ends within the window takes its context switches with it, those of all
// others are in. TCP segments are those of the whole machine (of the network namespace): on
// loopback each is counted when it is sent and when it comes. Knows no workload.
#pragma once

#include <sys/types.h>

#include <cstdint>

namespace loadgen {

struct Window {
  double seconds = 0.0;
  double server_cpu_s = 0.0;
  double client_cpu_s = 0.0;
  std::int64_t minor_faults = 0;
  std::int64_t voluntary_switches = 0;
  std::int64_t involuntary_switches = 0;
  std::int64_t tcp_segments = 0;
};

// Where everything stands now; without a server (0) its figures stay 0. The counters are files of
// /proc, so their reading is kept outside of the time: before the clocks at the start of the
// window, after them at its end. Throws std::runtime_error if the server is gone.
Window read_start(pid_t server_pid);
Window read_end(pid_t server_pid);

Window between(const Window& start, const Window& end);

}  // namespace loadgen
