// The hunter's command line.
//
//   hunt_core [--world stream|datagram|listener|watch|real_epoll|real_uring|scripted|real|all]
//             [--seed N] [--steps N] [--seconds N]       seeds from N on, until a limit
//   hunt_core --world W --replay N                       that one sequence of W, loudly
//
// The last line says how many sequences and steps there were, or a failure is printed with its seed
// and the steps that are left of it, as C++ for hunted_test.cpp.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "hunt/hunt.hpp"
#include "reactor/capabilities.hpp"

namespace rloop::hunt {
namespace {

[[noreturn]] void usage() {
  std::fprintf(stderr,
               "usage: hunt_core [--world NAME|scripted|real|all] [--seed N] [--steps N] "
               "[--seconds N] [--replay SEED]\n");
  std::exit(2);
}

std::vector<WorldKind> worlds_named(std::string_view name) {
  std::vector<WorldKind> worlds;
  for (int i = 0; i < kWorldCount; ++i) {
    auto world = static_cast<WorldKind>(i);
    bool scripted = i < kScriptedWorldCount;
    if (name == world_name(world) || name == "all" || (name == "scripted" && scripted) ||
        (name == "real" && !scripted)) {
      worlds.push_back(world);
    }
  }
  if (worlds.empty()) usage();
  const reactor::Probe& probe = reactor::probe_io_uring();
  if (!probe.capabilities.ring && std::erase(worlds, WorldKind::real_uring) > 0) {
    std::printf("without real_uring: %s\n", probe.reason.c_str());
    if (worlds.empty()) std::exit(0);
  }
  return worlds;
}

int show_failure(WorldKind world, uint64_t seed, const std::string& failure) {
  std::printf("FAILED: %s\n  --world %s --replay %llu\n", failure.c_str(), world_name(world),
              static_cast<unsigned long long>(seed));
  std::fflush(stdout);
  Case sequence;
  decode_seed(world, seed, sequence);
  if (failure_of(sequence).empty()) {
    std::printf("but not a second time: it depends on what ran before, or on the time\n");
    return 1;
  }
  Case smaller = shrink(sequence);
  std::printf("%zu of %zu steps are left, and say: %s\n\n%s", smaller.steps.size(),
              sequence.steps.size(), failure_of(smaller).c_str(), to_source(smaller).c_str());
  return 1;
}

int replay(WorldKind world, uint64_t seed) {
  Case sequence;
  decode_seed(world, seed, sequence);
  std::printf("%s", to_source(sequence).c_str());
  std::string failure = failure_of(sequence);
  if (failure.empty()) {
    std::printf("no failure\n");
    return 0;
  }
  return show_failure(world, seed, failure);
}

int main_of(int count, char** words) {
  std::vector<WorldKind> worlds = worlds_named("scripted");
  Limits limits;
  bool replays = false;
  for (int i = 1; i < count; i += 2) {
    if (i + 1 >= count) usage();
    std::string_view option = words[i];
    const char* value = words[i + 1];
    if (option == "--world") {
      worlds = worlds_named(value);
    } else if (option == "--seed" || option == "--replay") {
      limits.first_seed = std::strtoull(value, nullptr, 0);
      replays = replays || option == "--replay";
    } else if (option == "--steps") {
      limits.steps = std::strtoull(value, nullptr, 0);
    } else if (option == "--seconds") {
      limits.seconds = std::strtod(value, nullptr);
    } else {
      usage();
    }
  }
  if (replays) return replay(worlds[limits.first_seed % worlds.size()], limits.first_seed);
  if (limits.steps == UINT64_MAX && limits.seconds > 1e17) limits.seconds = 10;
  Outcome outcome = hunt(worlds, limits);
  if (!outcome.failure.empty()) return show_failure(outcome.world, outcome.seed, outcome.failure);
  std::printf("%llu sequences, %llu steps, no failure\n",
              static_cast<unsigned long long>(outcome.sequences),
              static_cast<unsigned long long>(outcome.steps));
  return 0;
}

}  // namespace
}  // namespace rloop::hunt

int main(int count, char** words) {
  return rloop::hunt::main_of(count, words);
}
