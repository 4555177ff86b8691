// Wrappers of libc's calls: each asks whether it is the one that fails.
//
// The wrappers take libc's names as assembler labels, so that no header's declaration (noexcept,
// attributes) is in the way. A failed call is not made, except close(2), which closes whatever it
// answers. Calls of the module count as native; those of others count as outer, and only on
// sockets, pipes and what has no name.
#include <dlfcn.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>

#include <cerrno>
#include <cstddef>
#include <string_view>

#include "strike.hpp"

namespace fail_once {
namespace {

bool is_channel(int fd) {
  struct stat status;
  if (::fstat(fd, &status) < 0) return false;
  return S_ISSOCK(status.st_mode) || S_ISFIFO(status.st_mode) || (status.st_mode & S_IFMT) == 0;
}

// `fd` is -1 for calls that make a descriptor.
bool call_strikes(const char* name, int fd, const void* caller) {
  if (in_module(caller)) return strikes(Kind::native, name);
  return armed(Kind::outer) && (fd < 0 || is_channel(fd)) && strikes(Kind::outer, name);
}

template <class Function>
Function* next(const char* name) {
  return reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
}

}  // namespace
}  // namespace fail_once

// A function `result name parameters`, whose descriptor is `fd`, that answers `failure`.
#define WRAP(result, name, fd, failure, parameters, arguments)                           \
  extern "C" [[gnu::visibility("default")]] result wrapped_##name parameters asm(#name); \
  result wrapped_##name parameters {                                                     \
    static auto* real = fail_once::next<result parameters>(#name);                       \
    bool fails = fail_once::call_strikes(#name, fd, __builtin_return_address(0));        \
    if (!fails) return real arguments;                                                   \
    if (std::string_view(#name) == "close") real arguments;                              \
    errno = fail_once::planned_error();                                                  \
    return failure;                                                                      \
  }

using Size = std::size_t;
using SSize = ::ssize_t;

WRAP(SSize, recv, a, -1, (int a, void* b, Size c, int d), (a, b, c, d))
WRAP(SSize, send, a, -1, (int a, const void* b, Size c, int d), (a, b, c, d))
WRAP(SSize, recvmsg, a, -1, (int a, void* b, int c), (a, b, c))
WRAP(SSize, sendmsg, a, -1, (int a, const void* b, int c), (a, b, c))
WRAP(int, recvmmsg, a, -1, (int a, void* b, unsigned c, int d, void* e), (a, b, c, d, e))
WRAP(int, sendmmsg, a, -1, (int a, void* b, unsigned c, int d), (a, b, c, d))
WRAP(SSize, recvfrom, a, -1, (int a, void* b, Size c, int d, void* e, void* f), (a, b, c, d, e, f))
WRAP(SSize, sendto, a, -1, (int a, const void* b, Size c, int d, const void* e, unsigned f),
     (a, b, c, d, e, f))
WRAP(SSize, read, a, -1, (int a, void* b, Size c), (a, b, c))
WRAP(SSize, write, a, -1, (int a, const void* b, Size c), (a, b, c))
WRAP(SSize, sendfile64, a, -1, (int a, int b, void* c, Size d), (a, b, c, d))
WRAP(int, accept, a, -1, (int a, void* b, void* c), (a, b, c))
WRAP(int, accept4, a, -1, (int a, void* b, void* c, int d), (a, b, c, d))
WRAP(int, connect, a, -1, (int a, const void* b, unsigned c), (a, b, c))
WRAP(int, bind, a, -1, (int a, const void* b, unsigned c), (a, b, c))
WRAP(int, listen, a, -1, (int a, int b), (a, b))
WRAP(int, shutdown, a, -1, (int a, int b), (a, b))
WRAP(int, getsockopt, a, -1, (int a, int b, int c, void* d, void* e), (a, b, c, d, e))
WRAP(int, setsockopt, a, -1, (int a, int b, int c, const void* d, unsigned e), (a, b, c, d, e))
WRAP(int, getsockname, a, -1, (int a, void* b, void* c), (a, b, c))
WRAP(int, getpeername, a, -1, (int a, void* b, void* c), (a, b, c))
WRAP(int, close, a, -1, (int a), (a))
WRAP(int, ioctl, a, -1, (int a, unsigned long b, long c), (a, b, c))
WRAP(int, fcntl64, a, -1, (int a, int b, long c), (a, b, c))
WRAP(int, socket, -1, -1, (int a, int b, int c), (a, b, c))
WRAP(int, socketpair, -1, -1, (int a, int b, int c, void* d), (a, b, c, d))
WRAP(int, pipe2, -1, -1, (void* a, int b), (a, b))
WRAP(int, eventfd, -1, -1, (unsigned a, int b), (a, b))
WRAP(int, epoll_create1, -1, -1, (int a), (a))
WRAP(int, epoll_ctl, a, -1, (int a, int b, int c, void* d), (a, b, c, d))
WRAP(int, epoll_wait, a, -1, (int a, void* b, int c, int d), (a, b, c, d))
WRAP(int, poll, 0, -1, (void* a, unsigned long b, int c), (a, b, c))
WRAP(int, madvise, 0, -1, (void* a, Size b, int c), (a, b, c))
WRAP(void*, mmap64, 0, reinterpret_cast<void*>(-1), (void* a, Size b, int c, int d, int e, long f),
     (a, b, c, d, e, f))

#undef WRAP

// Of what has no function in libc the module calls epoll_pwait2 (Linux 5.11) this way.
extern "C" [[gnu::visibility("default")]] long wrapped_syscall(long number, long a, long b, long c,
                                                               long d, long e,
                                                               long f) asm("syscall");
long wrapped_syscall(long number, long a, long b, long c, long d, long e, long f) {
  static auto* real = fail_once::next<long(long, long, long, long, long, long, long)>("syscall");
  bool ours = number == SYS_epoll_pwait2 && fail_once::in_module(__builtin_return_address(0));
  if (!ours || !fail_once::strikes(fail_once::Kind::native, "epoll_pwait2")) {
    return real(number, a, b, c, d, e, f);
  }
  errno = fail_once::planned_error();
  return -1;
}
