// How an oracle says that something is wrong: it writes one sentence, and the process ends.
//
// Sequences run in a child (see shrink.hpp), so ending it is the simplest way out of any depth of
// calls: nothing has to be undone, and a broken assertion of the core or a report of a sanitizer
// arrives on the same way. Under libFuzzer, which wants a signal, the process aborts.
#pragma once

#include <cstdint>

namespace rloop::hunt {

// In memory that parent and child share.
struct Report {
  uint64_t seed;       // of the sequence that runs
  uint64_t sequences;  // that ended well
  uint64_t steps;      // of these
  char failure[256];
};

// Where this process writes to; null: standard error, and an abort.
extern Report* report;

[[noreturn]] void fail(const char* sentence);

inline void expect(bool good, const char* sentence) {
  if (!good) [[unlikely]]
    fail(sentence);
}

}  // namespace rloop::hunt
