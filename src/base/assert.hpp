// Release-time assertions: the ownership rules of in-flight operations are checked in every build.
//
// A broken rule here means that the kernel may be writing into memory that somebody else owns, so
// going on is never better than stopping. NDEBUG does not switch these off; the check is one
// predictable branch. Knows nothing else of the project, may be used from any thread.
#pragma once

namespace rloop::base {

// Prints the failed rule with its place to standard error and aborts.
[[noreturn]] void assertion_failed(const char* rule, const char* file, int line);

}  // namespace rloop::base

#define RLOOP_ASSERT(condition, rule)                            \
  do {                                                           \
    if (!(condition)) [[unlikely]]                               \
      ::rloop::base::assertion_failed(rule, __FILE__, __LINE__); \
  } while (false)
