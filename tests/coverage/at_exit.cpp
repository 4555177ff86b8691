// Preloaded (LD_PRELOAD) while coverage is measured: _exit(2) calls what was registered before it.
// See register.cpp.

#include <sys/syscall.h>
#include <unistd.h>

#include <array>

namespace {

std::array<void (*)(), 16> registered;
unsigned registered_count = 0;

[[noreturn]] void leave(int status) {
  for (unsigned i = 0; i < registered_count; ++i)
    registered[i]();
  while (true)
    syscall(SYS_exit_group, status);
}

}  // namespace

extern "C" {

void rloop_call_at_immediate_exit(void (*function)()) {
  if (registered_count < registered.size()) registered[registered_count++] = function;
}

// NOLINTNEXTLINE: the names are libc's
void _exit(int status) {
  leave(status);
}

void _Exit(int status) noexcept {
  leave(status);
}
}
