// Masks and explanations; see capabilities.hpp.
#include "reactor/capabilities.hpp"

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/fd.hpp"
#include "base/text.hpp"

namespace rloop::reactor {
namespace {

// Empty where the kernel does not have it. Not by a stream of the standard library: a wheel has
// that built in, and would ask for a glibc as young as the streams' system calls.
std::string sysctl_io_uring_disabled() {
  base::UniqueFd file(::open("/proc/sys/kernel/io_uring_disabled", O_RDONLY | O_CLOEXEC));
  char value = 0;
  if (::read(file.get(), &value, 1) != 1) return {};
  return {value};
}

std::string explain_permission() {
  std::string disabled = sysctl_io_uring_disabled();
  if (disabled == "1" || disabled == "2") {
    return base::concatenate(
        "the sysctl kernel.io_uring_disabled is ", disabled,
        "; set it to 0 (or to 1 and add the process to kernel.io_uring_group)");
  }
  return "a seccomp profile or security module refuses it although the sysctl "
         "kernel.io_uring_disabled does not; allow io_uring_setup, io_uring_enter and "
         "io_uring_register in the container's seccomp profile";
}

}  // namespace

std::string explain_memory_limit() {
  rlimit limit{};
  ::getrlimit(RLIMIT_MEMLOCK, &limit);
  std::string text = base::concatenate("the locked-memory limit (RLIMIT_MEMLOCK, ulimit -l) is ",
                                       limit.rlim_cur / 1024, " KiB");
  constexpr rlim_t kEnoughForOne = 1024 * 1024;
  text +=
      base::concatenate(limit.rlim_cur < kEnoughForOne
                            ? "; raise it to 1024 KiB or more"
                            : " and used up by this user's rings (about 56 KiB each); raise it");
  // ENOMEM does not say which of the two it was.
  ::getrlimit(RLIMIT_AS, &limit);
  if (limit.rlim_cur != RLIM_INFINITY) {
    text += base::concatenate("; the limit of address space (RLIMIT_AS, ulimit -v) is ",
                              limit.rlim_cur / 1024, " KiB");
  }
  return text;
}

bool* Capabilities::find(std::string_view name) {
  const std::array members = {&ring, &multishot_recv, &multishot_recvmsg, &buffer_ring, &no_iowait};
  for (size_t i = 0; i < kNames.size(); ++i) {
    if (name == kNames[i]) return members[i];
  }
  return nullptr;
}

Capabilities Capabilities::masked_by(const Capabilities& allowed) const {
  return {
      .ring = ring && allowed.ring,
      .multishot_recv = multishot_recv && allowed.multishot_recv,
      .multishot_recvmsg = multishot_recvmsg && allowed.multishot_recvmsg,
      .buffer_ring = buffer_ring && allowed.buffer_ring,
      .no_iowait = no_iowait && allowed.no_iowait,
  };
}

std::string explain_refusal(int error_number, const char* step) {
  std::string what = base::concatenate("io_uring is not available: ", step, ": ",
                                       std::strerror(error_number), "; ");
  switch (error_number) {
    case EPERM:
    case EACCES:
      return what + explain_permission();
    case ENOSYS:
      return what +
             "the kernel has no io_uring, or a seccomp profile or sandbox (gVisor, emulation) "
             "hides "
             "it; use Linux 6.1 or newer and allow io_uring_setup, io_uring_enter and "
             "io_uring_register";
    case EINVAL:
      return what + "the kernel is too old for it; use Linux 6.1 or newer";
    case ENOMEM:
      return what + explain_memory_limit();
    case EMFILE:
    case ENFILE:
      return what + "no file descriptor is left; raise the limit of open files (ulimit -n)";
    default:
      return what + "use the epoll backend";
  }
}

}  // namespace rloop::reactor
