// See heap.hpp.
#include "base/heap.hpp"

#include <cstdlib>

namespace rloop::base {

void keep_freed_memory() {
  constexpr size_t kBlock_bytes = 4 << 20;  // glibc keeps twice as much
  static const bool done = [] {
    void* volatile block = std::malloc(kBlock_bytes);  // volatile: a compiler may drop such pairs
    std::free(block);
    return true;
  }();
  (void)done;
}

}  // namespace rloop::base
