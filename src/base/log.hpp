// Log lines of the core, without knowing where they go.
//
// The core formats a line only when the level is on; a sink (set once by the Python module, a
// test, or nobody) receives it. Without a sink, warnings go to standard error and the rest
// nowhere. Called on the loop's thread with the GIL held, except where said otherwise; the level
// is one relaxed load, so a log call that is off costs a predictable branch.
#pragma once

#include <atomic>
#include <new>
#include <string_view>

#include "base/text.hpp"

namespace rloop::base {

// The numbers are those of Python's logging module; trace lies below its DEBUG.
enum class LogLevel : int { trace = 5, debug = 10, info = 20, warning = 30, off = 100 };

// `area` becomes the last part of the logger's name: rloop.<area>.
using LogSink = void (*)(LogLevel level, const char* area, std::string_view line);

void set_log_sink(LogSink sink);
void set_log_level(LogLevel lowest);
bool log_enabled(LogLevel level);
void write_log(LogLevel level, const char* area, std::string_view line);

// A line that is made by `make()` if it is wanted. One for which there is no memory is lost: what
// is logged has happened, and whoever did it goes on.
template <class Make>
void log_made(LogLevel level, const char* area, Make make) {
  if (!log_enabled(level)) [[likely]]
    return;
  try {
    write_log(level, area, make());
  } catch (const std::bad_alloc&) {
  }
}

// log(LogLevel::debug, "transport", "wrote ", n, " bytes"): the parts are concatenate's.
template <class... Parts>
void log(LogLevel level, const char* area, const Parts&... parts) {
  log_made(level, area, [&] { return concatenate(parts...); });
}

}  // namespace rloop::base
