// fork, seccomp, setuid; see process.hpp.
//
// The seccomp filter is four instructions of classic BPF: load the number of the system call,
// compare, answer with an errno or allow. It needs PR_SET_NO_NEW_PRIVS and no privilege. A child
// sets an alarm, so that a hanging test ends by itself.
#include "conformance/process.hpp"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstddef>

namespace rloop::test {

int exit_code_of(pid_t child) {
  int status = 0;
  if (::waitpid(child, &status, 0) != child) return -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

int run_in_child(const std::function<int()>& body) {
  pid_t child = ::fork();
  if (child == 0) {
    constexpr unsigned kLimit_s = 30;
    ::alarm(kLimit_s);
    ::_exit(body());
  }
  return exit_code_of(child);
}

bool has_seccomp() {
  return ::prctl(PR_GET_SECCOMP, 0, 0, 0, 0) >= 0;
}

bool refuse_io_uring(int error_number) {
  const auto answer = static_cast<unsigned>(SECCOMP_RET_ERRNO | error_number);
  sock_filter program[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, answer),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  sock_fprog filter{.len = sizeof(program) / sizeof(program[0]), .filter = program};
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

bool become_user_with_memlock(size_t bytes) {
  const uid_t user = 100'000 + static_cast<uid_t>(::getpid());
  rlimit limit{.rlim_cur = bytes, .rlim_max = bytes};
  return ::setrlimit(RLIMIT_MEMLOCK, &limit) == 0 && ::setgid(user) == 0 && ::setuid(user) == 0;
}

}  // namespace rloop::test
