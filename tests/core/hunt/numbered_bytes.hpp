// Bytes whose value says where in a stream they belong.
//
// Byte n of a stream is entry n % kPeriod of a table of random bytes; the period is prime and no
// multiple of any buffer's size, so bytes that are lost, doubled or swapped do not fit any more.
// Writing and checking them is one memcpy or memcmp.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>

#include "hunt/random.hpp"

namespace rloop::hunt {

class NumberedBytes {
 public:
  static constexpr size_t kPeriod = 65'521;

  // `stream` tells apart the bytes of several streams.
  static void write(uint64_t stream, uint64_t position, std::span<std::byte> out) {
    for_each_part(stream, position, out.size(), [&](size_t done, const std::byte* part, size_t n) {
      std::memcpy(out.data() + done, part, n);
      return true;
    });
  }
  static bool match(uint64_t stream, uint64_t position, std::span<const std::byte> bytes) {
    return for_each_part(stream, position, bytes.size(),
                         [&](size_t done, const std::byte* part, size_t n) {
                           return std::memcmp(bytes.data() + done, part, n) == 0;
                         });
  }

 private:
  template <class Visit>
  static bool for_each_part(uint64_t stream, uint64_t position, size_t size, Visit visit) {
    for (size_t done = 0; done < size;) {
      size_t start = (position + done + stream * 7919) % kPeriod;
      size_t part = std::min(size - done, kPeriod - start);
      if (!visit(done, table() + start, part)) return false;
      done += part;
    }
    return true;
  }
  static const std::byte* table() {
    static const std::unique_ptr<std::byte[]> only = [] {
      auto made = std::make_unique<std::byte[]>(kPeriod);
      Random random(1);
      for (size_t i = 0; i < kPeriod; ++i)
        made[i] = static_cast<std::byte>(random.next());
      return made;
    }();
    return only.get();
  }
};

}  // namespace rloop::hunt
