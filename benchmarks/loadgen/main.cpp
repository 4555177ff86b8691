// loadgen: the load of the benchmarks, for event-loop servers on this machine.
//
//   loadgen --addr 127.0.0.1:25000 --connections 100 --size 1024 --seconds 1
//
// What it does is --work: a closed loop of echoes (the default), the same with a connection for
// each request, connections without any, bytes in one direction, or HTTP requests. Warms up,
// measures one window, prints one JSON object on stdout. With --server-pid the server's CPU time,
// page faults and context switches are read at both ends of the same window. With --handshake it
// prints "ready" after the warm-up and waits for a line on stdin, and for the end of stdin before
// it disconnects: a tracer attached in between sees exactly the messages counted. Exit status: 0
// good, 1 wrong bytes came back, 2 usage, 3 the server failed (closed, refused, silent), 4 the hard
// time limit was reached.
#include <getopt.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>
#include <stdexcept>
#include <string>

#include "accept.hpp"
#include "bulk.hpp"
#include "endpoint.hpp"
#include "http.hpp"
#include "load.hpp"
#include "process.hpp"
#include "window.hpp"

namespace {

using loadgen::Window;

constexpr double kDrainSeconds = 10.0;

constexpr const char* kUsage =
    "usage: loadgen --addr HOST:PORT|udp:HOST:PORT|unix:PATH [options]\n"
    "  --work KIND       echo (default), churn (connect, echo, close), accept (connect, close),\n"
    "                    send or receive (one way; a message is --size bytes), http (GET with\n"
    "                    keep-alive)\n"
    "  --connections N   open connections, one request in flight on each (default 1)\n"
    "  --size BYTES      message size, newline included (default 1024)\n"
    "  --mpr N           messages per request (default 1)\n"
    "  --warm-up S       seconds before the measured window (default 0.2)\n"
    "  --seconds S       length of the measured window (default 1)\n"
    "  --limit S         hard stop of the process (default: warm-up + seconds + 15)\n"
    "  --server-pid PID  report the CPU time, faults and switches of this process in the window\n"
    "  --buffers BYTES   SO_SNDBUF and SO_RCVBUF of every connection (default: the kernel's)\n"
    "  --handshake       print \"ready\" after the warm-up, then wait for a line on stdin\n";

struct Options {
  std::string address;
  std::string work = "echo";
  int connections = 1;
  std::size_t message_bytes = 1024;
  std::size_t messages_per_request = 1;
  double warm_up_s = 0.2;
  double seconds = 1.0;
  double limit_s = 0.0;
  pid_t server_pid = 0;
  int buffer_bytes = 0;
  bool handshake = false;
};

[[noreturn]] void usage_error(const std::string& why) {
  std::fprintf(stderr, "loadgen: %s\n%s", why.c_str(), kUsage);
  std::exit(2);
}

double number(const char* text, const char* name, double least, double most) {
  char* end = nullptr;
  const double value = std::strtod(text, &end);
  if (end == text || *end != '\0' || !(value >= least && value <= most)) {
    usage_error(std::string("--") + name + " does not take the value " + text);
  }
  return value;
}

template <typename Integer>
Integer count(const char* text, const char* name, double most) {
  return static_cast<Integer>(number(text, name, 1, most));
}

Options parse(int argc, char** argv) {
  static const option kOptions[] = {
      {"addr", required_argument, nullptr, 'a'},
      {"work", required_argument, nullptr, 'o'},
      {"connections", required_argument, nullptr, 'c'},
      {"size", required_argument, nullptr, 's'},
      {"mpr", required_argument, nullptr, 'm'},
      {"warm-up", required_argument, nullptr, 'w'},
      {"seconds", required_argument, nullptr, 't'},
      {"limit", required_argument, nullptr, 'l'},
      {"server-pid", required_argument, nullptr, 'p'},
      {"buffers", required_argument, nullptr, 'b'},
      {"handshake", no_argument, nullptr, 'k'},
      {"help", no_argument, nullptr, 'h'},
      {nullptr, 0, nullptr, 0},
  };
  Options options;
  int which = 0;
  for (int c = 0; (c = getopt_long(argc, argv, "", kOptions, &which)) != -1;) {
    const char* name = kOptions[which].name;
    switch (c) {
      case 'a':
        options.address = optarg;
        break;
      case 'o':
        options.work = optarg;
        break;
      case 'c':
        options.connections = count<int>(optarg, name, 1e5);
        break;
      case 's':
        options.message_bytes = count<std::size_t>(optarg, name, 1e8);
        break;
      case 'm':
        options.messages_per_request = count<std::size_t>(optarg, name, 1e6);
        break;
      case 'w':
        options.warm_up_s = number(optarg, name, 0, 3600);
        break;
      case 't':
        options.seconds = number(optarg, name, 0.001, 86400);
        break;
      case 'l':
        options.limit_s = number(optarg, name, 0.001, 1e5);
        break;
      case 'p':
        options.server_pid = count<pid_t>(optarg, name, 1e9);
        break;
      case 'b':
        options.buffer_bytes = count<int>(optarg, name, 1e9);
        break;
      case 'k':
        options.handshake = true;
        break;
      case 'h':
        std::fputs(kUsage, stdout);
        std::exit(0);
      default:
        std::fputs(kUsage, stderr);
        std::exit(2);
    }
  }
  if (options.address.empty() || optind != argc) {
    usage_error(options.address.empty() ? "--addr is missing" : "unexpected argument");
  }
  if (options.limit_s == 0.0) {
    options.limit_s = options.warm_up_s + options.seconds + 15.0;
  }
  return options;
}

std::unique_ptr<loadgen::Workload> make_workload(const Options& options) {
  const loadgen::Endpoint endpoint(options.address, options.buffer_bytes);
  if (options.work == "send" || options.work == "receive") {
    return std::make_unique<loadgen::Bulk>(endpoint, options.message_bytes, options.connections,
                                           options.work == "send");
  }
  if (options.work == "http") {
    return std::make_unique<loadgen::Http>(endpoint, options.connections);
  }
  if (options.work == "accept") {
    return std::make_unique<loadgen::Accept>(endpoint, options.connections);
  }
  if (options.work != "echo" && options.work != "churn") {
    usage_error("there is no --work " + options.work);
  }
  if (endpoint.is_datagram() && options.messages_per_request != 1) {
    usage_error("a datagram is one message: --mpr must be 1");
  }
  return std::make_unique<loadgen::Load>(endpoint, options.message_bytes,
                                         options.messages_per_request, options.connections,
                                         options.work == "churn");
}

void on_limit(int /*signal*/) {
  const char text[] = "loadgen: stopped by the hard time limit (--limit)\n";
  [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, text, sizeof text - 1);
  _exit(4);
}

void arm_limit(double seconds) {
  std::signal(SIGALRM, on_limit);
  start_alarm(seconds);
}

void await_go() {
  std::puts("ready");
  std::fflush(stdout);
  for (int c = 0; (c = std::getchar()) != '\n';) {
    if (c == EOF) {
      throw std::runtime_error("stdin ended before the go-ahead");
    }
  }
}

void await_end_of_stdin() {
  while (std::getchar() != EOF) {
  }
}

// What the window contains, taken at its end.
struct Counted {
  std::uint64_t messages = 0;
  loadgen::Histogram latencies;

  explicit Counted(const loadgen::Workload& load)
      : messages(load.messages()), latencies(load.latencies()) {}
};

void print_counters(const Options& options, const Window& window) {
  if (options.server_pid != 0) {
    std::printf(", \"minor_faults\": %lld, \"voluntary_switches\": %lld, ",
                static_cast<long long>(window.minor_faults),
                static_cast<long long>(window.voluntary_switches));
    std::printf("\"involuntary_switches\": %lld",
                static_cast<long long>(window.involuntary_switches));
  }
  if (!options.address.starts_with("unix:") && !options.address.starts_with("udp:")) {
    std::printf(", \"tcp_segments\": %lld", static_cast<long long>(window.tcp_segments));
  }
}

void print_json(const Options& options, const Window& window, const Counted& counted,
                std::uint64_t mismatches) {
  const loadgen::Histogram& latencies = counted.latencies;
  const std::uint64_t requests = latencies.count();
  const auto messages = static_cast<double>(counted.messages);
  const double bytes = messages * static_cast<double>(options.message_bytes);
  std::printf("{\"connections\": %d, \"message_bytes\": %zu, \"messages_per_request\": %zu, ",
              options.connections, options.message_bytes, options.messages_per_request);
  std::printf("\"requests\": %llu, \"messages\": %.0f, \"seconds\": %.6f, \"mismatches\": %llu, ",
              static_cast<unsigned long long>(requests), messages, window.seconds,
              static_cast<unsigned long long>(mismatches));
  std::printf("\"messages_per_second\": %.1f, \"mib_per_second\": %.2f, ",
              messages / window.seconds, bytes / window.seconds / 1048576.0);
  std::printf("\"min_us\": %.1f, \"mean_us\": %.1f, \"p50_us\": %.1f, \"p90_us\": %.1f, ",
              latencies.min_us(), latencies.mean_us(), latencies.percentile_us(0.50),
              latencies.percentile_us(0.90));
  std::printf("\"p99_us\": %.1f, \"p999_us\": %.1f, \"max_us\": %.1f, ",
              latencies.percentile_us(0.99), latencies.percentile_us(0.999), latencies.max_us());
  std::printf("\"server_cpu_seconds\": %.6f, \"client_cpu_seconds\": %.6f", window.server_cpu_s,
              window.client_cpu_s);
  print_counters(options, window);
  std::puts("}");
  std::fflush(stdout);
}

// One request on every connection before all else: a server that accepts slowly would otherwise
// serve the first connections in the window while the last still wait in its backlog.
void warm_up(const Options& options, loadgen::Workload& load) {
  load.run(0.0);
  load.drain(kDrainSeconds);
  load.run(options.warm_up_s);
}

// The usual case: the load never pauses between warm-up, window and end.
int measure(const Options& options, loadgen::Workload& load) {
  warm_up(options, load);
  load.reset_figures();
  const Window start = loadgen::read_start(options.server_pid);
  load.run(options.seconds);
  const Window window = between(start, loadgen::read_end(options.server_pid));
  const Counted counted(load);
  // What is still under way is checked too, outside the window.
  load.drain(kDrainSeconds);
  print_json(options, window, counted, load.mismatches());
  return load.mismatches() == 0 ? 0 : 1;
}

// For a tracer: silence before the window and after it.
int measure_with_handshake(const Options& options, loadgen::Workload& load) {
  warm_up(options, load);
  load.drain(kDrainSeconds);
  load.reset_figures();
  await_go();
  const Window start = loadgen::read_start(options.server_pid);
  load.run(options.seconds);
  load.drain(kDrainSeconds);
  const Window window = between(start, loadgen::read_end(options.server_pid));
  print_json(options, window, Counted(load), load.mismatches());
  await_end_of_stdin();
  return load.mismatches() == 0 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  const Options options = parse(argc, argv);
  arm_limit(options.limit_s);
  raise_descriptor_limit();
  try {
    const std::unique_ptr<loadgen::Workload> load = make_workload(options);
    return options.handshake ? measure_with_handshake(options, *load) : measure(options, *load);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "loadgen: %s\n", error.what());
    return 3;
  }
}
