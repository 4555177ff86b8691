// The sink and the level; see log.hpp.
#include "base/log.hpp"

#include <cstdio>

namespace rloop::base {
namespace {

std::atomic<LogSink> current_sink{nullptr};
std::atomic<int> lowest_level{static_cast<int>(LogLevel::warning)};

}  // namespace

void set_log_sink(LogSink sink) {
  current_sink.store(sink, std::memory_order_relaxed);
}

void set_log_level(LogLevel lowest) {
  lowest_level.store(static_cast<int>(lowest), std::memory_order_relaxed);
}

bool log_enabled(LogLevel level) {
  return static_cast<int>(level) >= lowest_level.load(std::memory_order_relaxed);
}

void write_log(LogLevel level, const char* area, std::string_view line) {
  if (LogSink sink = current_sink.load(std::memory_order_relaxed)) {
    sink(level, area, line);
  } else if (level >= LogLevel::warning) {
    std::fprintf(stderr, "rloop.%s: %.*s\n", area, static_cast<int>(line.size()), line.data());
  }
}

}  // namespace rloop::base
