// Implements options.hpp.
#include "options.hpp"

#include <getopt.h>

#include <cstdio>
#include <cstdlib>

namespace limit {
namespace {

constexpr const char* kUsage =
    "usage: limit --loop uring|epoll [options]\n"
    "  --addr ADDRESS        127.0.0.1:PORT (port 0: any free one) or unix:PATH\n"
    "  --udp                 echo datagrams\n"
    "  --sink                receive and discard\n"
    "  --source BYTES        send blocks of this size\n"
    "  --socket-buffers BYTES  SO_SNDBUF and SO_RCVBUF of connections\n"
    "  --exit-after SECONDS  end by itself\n"
    "  --allow-tracer        let any process of this user trace the server\n"
    "  --check               say what it runs on and end; fails where there is no io_uring\n"
    "  --streams, --proto, --buffered  mean nothing: there is one way to serve here\n";

enum Word {
  kLoop = 256,
  kAddress,
  kUdp,
  kSink,
  kSource,
  kSocketBuffers,
  kExitAfter,
  kAllowTracer,
  kCheck,
  kMode,
  kHelp
};

constexpr option kWords[] = {
    {"loop", required_argument, nullptr, kLoop},
    {"addr", required_argument, nullptr, kAddress},
    {"udp", no_argument, nullptr, kUdp},
    {"sink", no_argument, nullptr, kSink},
    {"source", required_argument, nullptr, kSource},
    {"socket-buffers", required_argument, nullptr, kSocketBuffers},
    {"exit-after", required_argument, nullptr, kExitAfter},
    {"allow-tracer", no_argument, nullptr, kAllowTracer},
    {"check", no_argument, nullptr, kCheck},
    {"streams", no_argument, nullptr, kMode},
    {"proto", no_argument, nullptr, kMode},
    {"buffered", no_argument, nullptr, kMode},
    {"help", no_argument, nullptr, kHelp},
    {nullptr, 0, nullptr, 0},
};

[[noreturn]] void usage_error(const std::string& why) {
  std::fprintf(stderr, "%slimit: %s\n", kUsage, why.c_str());
  std::exit(2);
}

double positive(const char* text, const char* word) {
  char* end = nullptr;
  const double value = std::strtod(text, &end);
  if (end == text || *end != '\0' || !(value > 0 && value < 1e9)) {
    usage_error(std::string("--") + word + " does not take the value " + text);
  }
  return value;
}

bool is_ring(const std::string& loop) {
  if (loop != "uring" && loop != "epoll") {
    usage_error("--loop is uring or epoll, not " + loop);
  }
  return loop == "uring";
}

void take(Options& options, int word, int index) {
  switch (word) {
    case kLoop:
      options.on_ring = is_ring(optarg);
      break;
    case kAddress:
      options.address = optarg;
      break;
    case kUdp:
      options.datagrams = true;
      break;
    case kSink:
      options.job = Job::kSink;
      break;
    case kSource:
      options.job = Job::kSource;
      options.block_bytes = static_cast<std::size_t>(positive(optarg, kWords[index].name));
      break;
    case kSocketBuffers:
      options.socket_buffer_bytes = static_cast<int>(positive(optarg, kWords[index].name));
      break;
    case kExitAfter:
      options.exit_after_s = positive(optarg, kWords[index].name);
      break;
    case kAllowTracer:
      options.allow_tracer = true;
      break;
    case kCheck:
      options.check = true;
      break;
    case kMode:
      break;
    case kHelp:
      std::fputs(kUsage, stdout);
      std::exit(0);
    default:
      std::exit(2);
  }
}

}  // namespace

Options parse(int argc, char** argv) {
  Options options;
  int index = 0;
  for (int word = 0; (word = getopt_long(argc, argv, "", kWords, &index)) != -1;) {
    take(options, word, index);
  }
  if (optind != argc) {
    usage_error(std::string("unexpected argument ") + argv[optind]);
  }
  if (options.datagrams && options.job != Job::kEcho) {
    usage_error("--udp echoes only");
  }
  if (options.job == Job::kSource && options.block_bytes == 0) {
    usage_error("--source takes at least one byte");
  }
  return options;
}

}  // namespace limit
