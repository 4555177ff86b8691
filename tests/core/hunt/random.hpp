// Numbers out of a seed, the same ones for ever: splitmix64 (the generator of Steele, Lea, Flood).
//
// Not <random>: its distributions differ between libraries, and a seed that was noted years ago has
// to mean the same sequence.
#pragma once

#include <cstdint>

namespace rloop::hunt {

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}

  uint64_t next() {
    state_ += 0x9e37'79b9'7f4a'7c15;
    uint64_t mixed = state_;
    mixed = (mixed ^ (mixed >> 30)) * 0xbf58'476d'1ce4'e5b9;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d0'49bb'1331'11eb;
    return mixed ^ (mixed >> 31);
  }
  // Less than `limit`, which is small: the bias does not matter here.
  uint64_t below(uint64_t limit) { return (next() >> 11) % limit; }

 private:
  uint64_t state_;
};

}  // namespace rloop::hunt
