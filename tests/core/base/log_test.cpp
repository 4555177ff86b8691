// Log lines: formatted only when somebody listens.
//
// The sink and the level are the process's, so each test puts them back. Without a sink only
// warnings are seen, on standard error, which is how the core's own tests and tools speak.
// The Python module's sink is tested with the loop.
#include "base/log.hpp"

#include <gtest/gtest.h>

#include <new>
#include <string>
#include <vector>

namespace rloop::base {
namespace {

std::vector<std::string> lines;
void note(LogLevel level, const char* area, std::string_view line) {
  lines.push_back(std::to_string(static_cast<int>(level)) + " " + area + " " + std::string(line));
}

TEST(LogTest, TheSinkGetsWhatIsAtOrAboveTheLevel) {
  lines.clear();
  set_log_sink(note);
  set_log_level(LogLevel::info);
  log(LogLevel::debug, "area", "not ", 1);
  log(LogLevel::info, "area", "wrote ", 7, " bytes");
  set_log_level(LogLevel::off);
  log(LogLevel::warning, "area", "not either");
  set_log_sink(nullptr);
  set_log_level(LogLevel::warning);
  EXPECT_EQ(lines, (std::vector<std::string>{"20 area wrote 7 bytes"}));
}

TEST(LogTest, ALineWithoutMemoryIsLost) {
  set_log_sink([](LogLevel, const char*, std::string_view) { throw std::bad_alloc(); });
  EXPECT_NO_THROW(log(LogLevel::warning, "area", "never seen"));
  EXPECT_NO_THROW(
      log_made(LogLevel::warning, "area", []() -> std::string { throw std::bad_alloc(); }));
  set_log_sink(nullptr);
}

TEST(LogTest, WithoutASinkWarningsGoToStandardError) {
  testing::internal::CaptureStderr();
  log(LogLevel::warning, "reactor", "look");
  log(LogLevel::info, "reactor", "quiet");
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "rloop.reactor: look\n");
}

}  // namespace
}  // namespace rloop::base
