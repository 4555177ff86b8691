// A sequence as data: a world, its mode, and steps of four bytes.
//
// A step is a call of the user or something that the kernel does; each world has its own (see
// *_steps.hpp), and gives `who` and `size` their meaning. A sequence comes from a seed or from any
// bytes (libFuzzer) by the same decoder, and is printed as the C++ that runs it in a test. Every
// list of steps is a valid one: what makes no sense in a situation does nothing.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace rloop::hunt {

enum class WorldKind : uint8_t { stream, datagram, listener, watch, real_epoll, real_uring };
inline constexpr int kWorldCount = 6;
inline constexpr int kScriptedWorldCount = 4;  // the first of them

struct Step {
  uint8_t kind;
  uint8_t who;    // which of several: streams, operations, events
  uint16_t size;  // bytes, or a choice
};

struct Case {
  WorldKind world = WorldKind::stream;
  uint32_t mode = 0;  // bits that the world reads
  std::vector<Step> steps;
};

struct StepName {
  const char* name;
  uint8_t weight;  // how often it comes, relative to the others of its world
};

const char* world_name(WorldKind world);
std::span<const StepName> step_names(WorldKind world);

// The first four bytes are the mode, each further four a step; a rest is left out.
void decode(WorldKind world, std::span<const uint8_t> bytes, Case& out);
void decode_seed(WorldKind world, uint64_t seed, Case& out);
// As it is pasted into hunted_test.cpp.
std::string to_source(const Case& sequence);

}  // namespace rloop::hunt
