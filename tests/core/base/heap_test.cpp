// What malloc keeps of memory that is free again.
#include "base/heap.hpp"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <cstdlib>
#include <cstring>
#include <vector>

namespace rloop::base {
namespace {

long page_faults() {
  rusage usage;
  ::getrusage(RUSAGE_SELF, &usage);
  return usage.ru_minflt;
}

// As a StreamReader whose buffer grows, in a program that holds little else.
void use_and_free() {
  constexpr size_t kPiece = 64 * 1024;
  std::vector<void*> pieces;
  for (int i = 0; i < 8; ++i) {
    pieces.push_back(std::malloc(kPiece));
    std::memset(pieces.back(), 1, kPiece);
  }
  for (void* piece : pieces)
    std::free(piece);
}

TEST(HeapTest, FreedMemoryIsUsedAgainWithoutPageFaults) {
#if !defined(__GLIBC__) || defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "about glibc's malloc";
#endif
  use_and_free();
  long before = page_faults();
  use_and_free();
  long given_back = page_faults() - before;
  if (given_back == 0) GTEST_SKIP() << "malloc keeps free memory already";
  keep_freed_memory();
  keep_freed_memory();  // again: nothing more
  use_and_free();
  before = page_faults();
  use_and_free();
  EXPECT_LT(page_faults() - before, given_back) << "as many as without";
}

}  // namespace
}  // namespace rloop::base
