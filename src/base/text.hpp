// Text made of parts, for log lines and explanations.
//
// What absl::StrCat does, without a library: where Abseil is a shared one, it and the three that it
// needs cost each import 0.2 ms, and bring the shared libstdc++ along (0.7 ms).
#pragma once

#include <concepts>
#include <string>

namespace rloop::base {

// concatenate("wrote ", n, " bytes"): strings of any kind, and integers, which become decimal. Not
// inlined: a log line that is off would be in the way of what is hot.
template <class... Parts>
[[gnu::cold, gnu::noinline]] std::string concatenate(const Parts&... parts) {
  std::string text;
  auto append = [&]<class Part>(const Part& part) {
    static_assert(!std::floating_point<Part> && (!std::integral<Part> || sizeof(Part) > 1),
                  "a character, a bool and a fraction would become something else");
    if constexpr (std::integral<Part>) {
      text += std::to_string(part);
    } else {
      text += part;
    }
  };
  (append(parts), ...);
  return text;
}

}  // namespace rloop::base
