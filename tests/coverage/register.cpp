// In a build for coverage: part of the extension module and of each test of the core.
//
// gcov writes what was reached when a program ends by itself. A forked child that ends by _exit(2)
// does not, and the paths of a fork are reached nowhere else. at_exit.cpp calls what is registered
// here. The function that writes is hidden in each module that is instrumented, so each registers
// its own.

extern "C" {
void __gcov_dump();
__attribute__((weak)) void rloop_call_at_immediate_exit(void (*function)());
}

namespace {

__attribute__((constructor)) void register_dump() {
  if (rloop_call_at_immediate_exit) rloop_call_at_immediate_exit(__gcov_dump);
}

}  // namespace
