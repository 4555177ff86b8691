// Arming, counting, and what is told afterwards; see strike.hpp.
#include "strike.hpp"

#include <execinfo.h>

#include <array>
#include <cstdlib>
#include <cstring>

namespace fail_once {
namespace {

constexpr int kMostNames = 200'000;

struct Plan {
  Kind kind = Kind::none;
  const char* name = nullptr;  // null: any
  int64_t n = 0;               // 0: count only
  int error = 0;
};

Plan plan;
thread_local bool armed_here = false;  // other threads' calls have no reproducible order
int64_t matching_count = 0;
int name_count = 0;
std::array<const char*, kMostNames> names;
const char* struck = nullptr;
std::array<void*, 48> stack;
int stack_size = 0;
uintptr_t module_begin = 0, module_end = 0;

}  // namespace

bool armed(Kind kind) {
  return armed_here && plan.kind == kind;
}

int planned_error() {
  return plan.error;
}

bool in_module(const void* address) {
  auto place = reinterpret_cast<uintptr_t>(address);
  return place >= module_begin && place < module_end;
}

bool strikes(Kind kind, const char* name) {
  if (!armed(kind)) return false;
  if (plan.n == 0) {
    if (name_count < kMostNames) names[static_cast<size_t>(name_count++)] = name;
    return false;
  }
  if (plan.name && std::strcmp(plan.name, name) != 0) return false;
  if (++matching_count != plan.n) return false;
  armed_here = false;
  struck = name;
  stack_size = ::backtrace(stack.data(), static_cast<int>(stack.size()));
  if (std::getenv("RLOOP_FAIL_ONCE_TRACE")) ::backtrace_symbols_fd(stack.data(), stack_size, 2);
  return true;
}

}  // namespace fail_once

extern "C" {

[[gnu::visibility("default")]] void fail_once_module(uintptr_t begin, uintptr_t end) {
  fail_once::module_begin = begin;
  fail_once::module_end = end;
}

// `name` must live on. With n = 0 nothing fails, and the names of what happens are noted.
[[gnu::visibility("default")]] void fail_once_arm(int kind, const char* name, int64_t n,
                                                  int error) {
  fail_once::plan = {static_cast<fail_once::Kind>(kind), name, n, error};
  fail_once::matching_count = 0;
  fail_once::name_count = 0;
  fail_once::struck = nullptr;
  void* warm_up[1];
  ::backtrace(warm_up, 1);  // the first call loads a library
  fail_once::armed_here = true;
}

[[gnu::visibility("default")]] void fail_once_disarm() {
  fail_once::armed_here = false;
}

// Null: the program did not get that far.
[[gnu::visibility("default")]] const char* fail_once_struck() {
  return fail_once::struck;
}

[[gnu::visibility("default")]] int fail_once_name_count() {
  return fail_once::name_count;
}

[[gnu::visibility("default")]] const char* fail_once_name(int index) {
  return fail_once::names[static_cast<size_t>(index)];
}

// The module's frames at the failure, innermost first, as offsets into it; 0 behind the last.
[[gnu::visibility("default")]] uintptr_t fail_once_frame(int index) {
  for (int i = 0; i < fail_once::stack_size; ++i) {
    void* frame = fail_once::stack[static_cast<size_t>(i)];
    if (!fail_once::in_module(frame) || index-- > 0) continue;
    return reinterpret_cast<uintptr_t>(frame) - fail_once::module_begin;
  }
  return 0;
}
}
