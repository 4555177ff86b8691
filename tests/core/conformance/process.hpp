// Children of the test's process: to fork a running loop, and to take abilities away.
//
// A child runs a function and exits with its result; it never returns into GoogleTest, so failed
// expectations there are only lines of text, and the exit code is what counts. No privilege is
// needed, except to become another user.
#pragma once

#include <sys/types.h>

#include <functional>

namespace rloop::test {

// Exit codes of a child's function.
inline constexpr int kGood = 0;
inline constexpr int kBad = 1;

// Forks, runs `body` in the child, and waits: its exit code, or 1000 + the signal that ended it.
// A child that hangs is ended by SIGALRM.
int run_in_child(const std::function<int()>& body);
// The same for a child that exists already.
int exit_code_of(pid_t child);

// Whether refuse_io_uring() can work: an emulator lets nobody filter the calls that it makes
// itself.
bool has_seccomp();

// From now on io_uring_setup fails with `error_number` in this process, as under the seccomp
// profile of a container. Needs no privilege and cannot be undone.
bool refuse_io_uring(int error_number);

// Becomes a user of its own (the kernel counts locked memory per user, and gives it back late)
// with `bytes` of locked memory; false when the process is not root.
bool become_user_with_memlock(size_t bytes);

}  // namespace rloop::test
