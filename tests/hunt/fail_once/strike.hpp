// The one failure: which event is counted, which one fails, and with what.
//
// A preloaded library that a test arms: from then on the calls of the arming thread are counted by
// name, and the n-th of the wanted name fails. One failure at most; without a plan nothing but a
// flag is read. The library knows neither rloop nor Python: the address range of the module whose
// calls count is told (fail_once_module). Driven through ctypes by child.py.
#pragma once

#include <cstdint>

namespace fail_once {

enum class Kind : int {
  none = 0,
  native = 1,      // calls of libc and liburing made by the module
  outer = 2,       // calls of libc made by anybody else, on sockets and pipes
  submission = 3,  // entries handed to io_uring
  memory = 4,      // allocations of Python made by the module itself
  memory_all = 5,  // allocations of Python by anybody
  cpp = 6,         // operator new
};

// Counts one event; true when it is the one that fails.
bool strikes(Kind kind, const char* name);
bool armed(Kind kind);
int planned_error();
// The module's code, as told.
bool in_module(const void* address);

}  // namespace fail_once
