// The decoder and the printer; see steps.hpp.
#include "hunt/steps.hpp"

#include <array>

#include "hunt/datagram_steps.hpp"
#include "hunt/listener_steps.hpp"
#include "hunt/random.hpp"
#include "hunt/real_steps.hpp"
#include "hunt/stream_steps.hpp"
#include "hunt/watch_steps.hpp"

namespace rloop::hunt {
namespace {

struct World {
  const char* name;
  const char* steps;  // the namespace of its steps
  std::span<const StepName> names;
};

const World& world_of(WorldKind kind) {
  static const std::array<World, kWorldCount> worlds = {{
      {"stream", "stream", stream::kNames},
      {"datagram", "datagram", datagram::kNames},
      {"listener", "listener", listener::kNames},
      {"watch", "watch", watch::kNames},
      {"real_epoll", "real", real::kNames},
      {"real_uring", "real", real::kNames},
  }};
  return worlds[static_cast<size_t>(kind)];
}

// Which step a byte means: as many of the 256 values as its weight is worth.
using Choice = std::array<uint8_t, 256>;
Choice make_choice(std::span<const StepName> names) {
  unsigned all = 0;
  for (const StepName& one : names)
    all += one.weight;
  Choice choice{};
  unsigned reached = 0, next = 0;
  for (size_t kind = 0; kind < names.size(); ++kind) {
    reached += names[kind].weight;
    for (; next < reached * 256 / all; ++next)
      choice[next] = static_cast<uint8_t>(kind);
  }
  return choice;
}

const Choice& choice_of(WorldKind kind) {
  static const std::array<Choice, kWorldCount> choices = [] {
    std::array<Choice, kWorldCount> made;
    for (int i = 0; i < kWorldCount; ++i)
      made[static_cast<size_t>(i)] = make_choice(world_of(static_cast<WorldKind>(i)).names);
    return made;
  }();
  return choices[static_cast<size_t>(kind)];
}

// Mostly small, and around the sizes at which something changes: a lent buffer, a send at once.
uint16_t shape(unsigned raw) {
  unsigned low = raw & 0x1fff;
  switch (raw >> 13) {
    case 0:
      return static_cast<uint16_t>(low % 3);
    case 1:
      return static_cast<uint16_t>(low % 8);
    case 2:
      return static_cast<uint16_t>(low % 32);
    case 3:
      return static_cast<uint16_t>(62 + low % 5);
    case 4:
      return static_cast<uint16_t>(low % 300);
    case 5:
      return static_cast<uint16_t>(low % 1024);
    case 6:
      return static_cast<uint16_t>(low);
    default:
      return static_cast<uint16_t>(16'376 + low % 1024);
  }
}

}  // namespace

const char* world_name(WorldKind world) {
  return world_of(world).name;
}

std::span<const StepName> step_names(WorldKind world) {
  return world_of(world).names;
}

void decode(WorldKind world, std::span<const uint8_t> bytes, Case& out) {
  const Choice& choice = choice_of(world);
  out.world = world;
  out.mode = 0;
  out.steps.clear();
  if (bytes.size() < 4) return;
  for (int i = 3; i >= 0; --i)
    out.mode = out.mode << 8 | bytes[static_cast<size_t>(i)];
  for (bytes = bytes.subspan(4); bytes.size() >= 4; bytes = bytes.subspan(4)) {
    out.steps.push_back({choice[bytes[0]], bytes[1], shape(bytes[2] | unsigned{bytes[3]} << 8)});
  }
}

void decode_seed(WorldKind world, uint64_t seed, Case& out) {
  Random random(seed * kWorldCount + static_cast<uint64_t>(world));
  // Most are short, for these fail in a way that can be read; some are long enough for queues to
  // grow and numbers to come round again.
  size_t length = random.below(8) == 0 ? random.below(256) : 4 + random.below(40);
  std::array<uint8_t, 4 * 257> bytes;
  for (size_t i = 0; i <= length; ++i) {
    uint64_t word = random.next();
    for (size_t j = 0; j < 4; ++j)
      bytes[4 * i + j] = static_cast<uint8_t>(word >> (8 * j));
  }
  decode(world, std::span(bytes).first(4 * (length + 1)), out);
}

std::string to_source(const Case& sequence) {
  const World& world = world_of(sequence.world);
  std::string text = "  Case sequence{WorldKind::" + std::string(world.name) + ", " +
                     std::to_string(sequence.mode) + ", {\n";
  for (const Step& step : sequence.steps) {
    text += "    {" + std::string(world.steps) + "::" + world.names[step.kind].name + ", " +
            std::to_string(step.who) + ", " + std::to_string(step.size) + "},\n";
  }
  return text + "  }};\n  EXPECT_EQ(failure_of(sequence), \"\");\n";
}

}  // namespace rloop::hunt
