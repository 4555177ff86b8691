// Bounded writes to a descriptor that is checked first; see watchdog_output.hpp.
#include "native/watchdog_output.hpp"

#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>

namespace rloop::native {
namespace {

constexpr int kPatience_ms = 1000;

// Room for a piece of PIPE_BUF bytes, which then does not block.
bool wait_writable(int fd) {
  pollfd asked{.fd = fd, .events = POLLOUT, .revents = 0};
  int ready;
  do {
    ready = ::poll(&asked, 1, kPatience_ms);
  } while (ready < 0 && errno == EINTR);
  return ready == 1 && (asked.revents & POLLOUT) != 0;
}

}  // namespace

WatchdogOutput::WatchdogOutput(int fd) : fd_(fd) {
  struct stat file;
  if (::fstat(fd, &file) == 0) {
    device_ = file.st_dev;
    inode_ = file.st_ino;
  }
}

int WatchdogOutput::number() const {
  struct stat file;
  if (fd_ == STDERR_FILENO) return fd_;
  bool same = ::fstat(fd_, &file) == 0 && file.st_dev == device_ && file.st_ino == inode_;
  return same ? fd_ : STDERR_FILENO;
}

bool WatchdogOutput::is_writable() const {
  return number() == fd_ && wait_writable(fd_);
}

void WatchdogOutput::write(std::string_view text) const {
  int fd = number();
  while (!text.empty() && wait_writable(fd)) {
    ssize_t written = ::write(fd, text.data(), std::min<size_t>(text.size(), PIPE_BUF));
    if (written < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (written < 0) return;  // nobody is left to be told
    text.remove_prefix(static_cast<size_t>(written));
  }
}

}  // namespace rloop::native
