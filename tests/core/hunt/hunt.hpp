// Runs sequences: one, many until one fails, and fewer and fewer steps of that one.
//
// Everything runs in forked children that share one page with us (failure.hpp), because what ends a
// process is a failure like any other: a broken assertion, a sanitizer's report, an endless loop
// (SIGALRM). A case is a value and a run of it depends on nothing else, so the seed or the steps
// are all that is needed to see a failure again.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "hunt/steps.hpp"

namespace rloop::hunt {

// In this process; a failure ends it.
void run_here(const Case& sequence);

// What is wrong with a sequence, found out in a child; "" when nothing is. Another `run` stands in
// for run_here in the tests of the hunter itself.
using Run = std::function<void(const Case&)>;
std::string failure_of(const Case& sequence, const Run& run = run_here);

// Drops steps, many at a time and then one by one, and makes the rest smaller, as long as it still
// fails in the same words. At most so many `tries`.
Case shrink(Case sequence, const Run& run = run_here, int tries = 4000);

struct Limits {
  uint64_t first_seed = 0;
  uint64_t steps = UINT64_MAX;  // in all; the sequence that reaches it is run to its end
  double seconds = 1e18;
  bool progress = true;  // a line on standard output every few seconds
};

struct Outcome {
  uint64_t sequences = 0, steps = 0;
  std::string failure;  // "" : none
  uint64_t seed = 0;    // of the failure
  WorldKind world = WorldKind::stream;
};

// Seed after seed, the worlds in turn, until one fails or a limit is reached.
Outcome hunt(std::span<const WorldKind> worlds, const Limits& limits, const Run& run = run_here);

}  // namespace rloop::hunt
