// Prints and aborts; see assert.hpp.
#include "base/assert.hpp"

#include <cstdio>
#include <cstdlib>

namespace rloop::base {

void assertion_failed(const char* rule, const char* file, int line) {
  std::fprintf(stderr, "rloop: broken invariant: %s (%s:%d)\n", rule, file, line);
  std::abort();
}

}  // namespace rloop::base
