// See heap.hpp.
#include "base/heap.hpp"

#include <cstdlib>

namespace rloop::base {

void keep_freed_memory() {
  // glibc keeps twice as much. With 256 KiB the page faults stay; with 1 MiB and more what a
  // program has once used in blocks of that size stays too (100 MiB of 40 messages of 2 MB, with 4
  // MiB).
  constexpr size_t kBlock_bytes = 512 * 1024;
  static const bool done = [] {
    void* volatile block = std::malloc(kBlock_bytes);  // volatile: a compiler may drop such pairs
    std::free(block);
    return true;
  }();
  (void)done;
}

}  // namespace rloop::base
