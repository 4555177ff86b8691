// Of wheels only (meson's option `portable`): a variable of glibc 2.32 that wheels do without.
//
// libstdc++'s reference counts (ext/atomicity.h) ask it whether the process has but one thread, and
// would bind the module to that glibc. Ours answers "perhaps not", so they are always atomic; what
// is hot counts references in Python objects, not here.

extern "C" __attribute__((visibility("hidden"))) char __libc_single_threaded;
char __libc_single_threaded = 0;
