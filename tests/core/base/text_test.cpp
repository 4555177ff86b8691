#include "base/text.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>

namespace rloop::base {
namespace {

TEST(TextTest, JoinsStringsOfAnyKind) {
  const char* pointer = "two ";
  EXPECT_EQ(concatenate("one ", pointer, std::string("three "), std::string_view("four")),
            "one two three four");
}

TEST(TextTest, WritesIntegersInDecimal) {
  EXPECT_EQ(concatenate("[fd=", -1, "] ", uint16_t{65535}, "/", size_t{0}), "[fd=-1] 65535/0");
  EXPECT_EQ(concatenate(std::numeric_limits<int64_t>::min()), "-9223372036854775808");
  EXPECT_EQ(concatenate(std::numeric_limits<uint64_t>::max()), "18446744073709551615");
}

}  // namespace
}  // namespace rloop::base
