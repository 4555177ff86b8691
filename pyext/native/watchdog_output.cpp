// Bounded writes to a descriptor that is checked first; see watchdog_output.hpp.
#include "native/watchdog_output.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>

namespace rloop::native {
namespace {

constexpr int kPatience_ms = 1000;

// What a program opens in the place of a standard error that was closed may well be its connection,
// or the loop's own eventfd; it is no place for text.
bool takes_text(const struct statx& file) {
  return S_ISREG(file.stx_mode) || S_ISCHR(file.stx_mode) || S_ISFIFO(file.stx_mode);
}

// fstat(2), whose symbol wheels could not use on every glibc that they are for.
bool look_at(int fd, struct statx& file) {
  return ::statx(fd, "", AT_EMPTY_PATH, STATX_TYPE | STATX_INO, &file) == 0;
}

uint64_t device_of(const struct statx& file) {
  return uint64_t{file.stx_dev_major} << 32 | file.stx_dev_minor;
}

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
  struct statx file;
  if (look_at(fd, file)) {
    device_ = device_of(file);
    inode_ = file.stx_ino;
  }
}

int WatchdogOutput::number() const {
  struct statx file;
  if (!look_at(fd_, file) && errno != EBADF) return fd_;  // a filter forbids to look
  bool same = look_at(fd_, file) && device_of(file) == device_ && file.stx_ino == inode_;
  if (same) return fd_;
  return look_at(STDERR_FILENO, file) && takes_text(file) ? STDERR_FILENO : -1;
}

bool WatchdogOutput::is_writable() const {
  int fd = number();
  return fd == fd_ && fd >= 0 && wait_writable(fd);
}

void WatchdogOutput::write(std::string_view text) const {
  int fd = number();
  if (fd < 0) return;
  while (!text.empty() && wait_writable(fd)) {
    ssize_t written = ::write(fd, text.data(), std::min<size_t>(text.size(), PIPE_BUF));
    if (written < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (written < 0) return;  // nobody is left to be told
    text.remove_prefix(static_cast<size_t>(written));
  }
}

}  // namespace rloop::native
