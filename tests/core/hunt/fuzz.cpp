// The hunter under libFuzzer: bytes are the sequence, and coverage chooses them.
//
// The first byte is the world (the scripted ones, which are fast and always the same), the rest
// goes through the decoder of the seeds. `HUNT_PRINT=1 hunt_fuzz FILE` prints the steps of a file
// that libFuzzer wrote for a failure, and runs them.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>

#include "hunt/hunt.hpp"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  using namespace rloop::hunt;
  if (size < 9) return 0;
  static Case sequence;
  auto world = static_cast<WorldKind>(bytes[0] % kScriptedWorldCount);
  decode(world, std::span(bytes, size).subspan(1), sequence);
  static const bool prints = std::getenv("HUNT_PRINT") != nullptr;
  if (prints) std::printf("%s", to_source(sequence).c_str());
  run_here(sequence);
  return 0;
}
