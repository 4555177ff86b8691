// One sentence and the end; see failure.hpp.
#include "hunt/failure.hpp"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>

namespace rloop::hunt {

Report* report = nullptr;

void fail(const char* sentence) {
  if (!report) {
    std::fprintf(stderr, "hunt: %s\n", sentence);
    std::abort();
  }
  std::snprintf(report->failure, sizeof(report->failure), "%s", sentence);
  ::_exit(3);
}

}  // namespace rloop::hunt
