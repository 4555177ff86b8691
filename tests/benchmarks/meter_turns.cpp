// A loop's meter over many turns and nothing else, for test_meter_instructions.py to count.
//
// meter_turns none|quick|waiting COUNT: turns without it, that do not wait, or that each do.
#include <cstdlib>

#include "base/meter.hpp"

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  char kind = argv[1][0];
  long count = std::strtol(argv[2], nullptr, 10);
  static rloop::base::Meter meter;
  int64_t now = rloop::base::now_ns(), longest = 0;
  meter.run_begins(now);
  for (long i = 0; i < count; ++i) {
    bool handles_wait = (i & 1) != 0;
    now += 2000;
    asm volatile("" : "+r"(now), "+r"(handles_wait));
    if (kind == 'w') {
      longest += meter.sleep_begins(now - 1000);  // the loop reads the clock there anyway
      meter.wakes(now);
    } else if (kind == 'q') {
      longest += meter.turn_passes(handles_wait);
    }
  }
  meter.run_ends(now);
  return longest < 0;
}
