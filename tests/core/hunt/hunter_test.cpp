// The hunter hunts a stream that is broken on purpose: found, shrunk to the steps that matter, and
// seen again from its seed.
#include <gtest/gtest.h>

#include <array>
#include <cstdlib>
#include <vector>

#include "hunt/failure.hpp"
#include "hunt/hunt.hpp"
#include "hunt/stream_steps.hpp"

namespace rloop::hunt {
namespace {

// Delivers what it kept over a pause, but the newest first.
void run_broken_stream(const Case& sequence) {
  std::vector<int> kept;
  bool paused = false;
  int sent = 0, seen = 0;
  auto deliver = [&](int number) { expect(number == seen++, "out of order"); };
  for (const Step& step : sequence.steps) {
    if (step.kind == stream::pause) paused = true;
    if (step.kind == stream::data) paused ? kept.push_back(sent++) : deliver(sent++);
    if (step.kind != stream::resume) continue;
    paused = false;
    for (; !kept.empty(); kept.pop_back())
      deliver(kept.back());
  }
}

void run_crashing_stream(const Case& sequence) {
  for (const Step& step : sequence.steps)
    if (step.kind == stream::reset) std::abort();
}

std::vector<int> kinds_of(const Case& sequence) {
  std::vector<int> kinds;
  for (const Step& step : sequence.steps)
    kinds.push_back(step.kind);
  return kinds;
}

constexpr std::array kStream = {WorldKind::stream};
constexpr Limits kFew{.steps = 100'000, .progress = false};

TEST(HunterTest, AFaultIsFoundAndShrunkToTheStepsThatMatter) {
  Outcome outcome = hunt(kStream, kFew, run_broken_stream);
  ASSERT_EQ(outcome.failure, "out of order");
  Case sequence;
  decode_seed(outcome.world, outcome.seed, sequence);
  EXPECT_EQ(failure_of(sequence, run_broken_stream), "out of order") << "the seed replays it";
  Case smaller = shrink(sequence, run_broken_stream);
  EXPECT_EQ(kinds_of(smaller),
            (std::vector<int>{stream::pause, stream::data, stream::data, stream::resume}));
  EXPECT_EQ(smaller.mode, 0U);
  EXPECT_EQ(to_source(smaller),
            "  Case sequence{WorldKind::stream, 0, {\n"
            "    {stream::pause, 0, 0},\n"
            "    {stream::data, 0, 0},\n"
            "    {stream::data, 0, 0},\n"
            "    {stream::resume, 0, 0},\n"
            "  }};\n"
            "  EXPECT_EQ(failure_of(sequence), \"\");\n");
}

TEST(HunterTest, WhatEndsTheProcessIsAFailureToo) {
  Outcome outcome = hunt(kStream, kFew, run_crashing_stream);
  EXPECT_NE(outcome.failure, "");
  Case sequence;
  decode_seed(outcome.world, outcome.seed, sequence);
  EXPECT_EQ(kinds_of(shrink(sequence, run_crashing_stream)), std::vector<int>{stream::reset});
}

TEST(HunterTest, ASeedMeansTheSameSteps) {
  Case one, other;
  decode_seed(WorldKind::stream, 17, one);
  decode_seed(WorldKind::datagram, 17, other);
  decode_seed(WorldKind::stream, 17, other);
  EXPECT_EQ(to_source(one), to_source(other));
  EXPECT_GT(one.steps.size(), 3U);
}

}  // namespace
}  // namespace rloop::hunt
