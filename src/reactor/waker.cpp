// Arms, signals and re-arms; see waker.hpp.
#include "reactor/waker.hpp"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

namespace rloop::reactor {

Waker::Waker(Reactor& reactor, bool blocking)
    : reactor_(reactor), blocking_(blocking), descriptor_(-1) {
  base::Result opened = open();
  if (!opened.ok()) {
    throw std::system_error(opened.error_number(), std::generic_category(), "eventfd");
  }
}

base::Result Waker::open() {
  int flags = blocking_ ? 0 : O_NONBLOCK;
  fd_.reset(::eventfd(0, EFD_CLOEXEC | flags));
  if (!fd_.valid() && (errno == ENOSYS || errno == EPERM || errno == EACCES)) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC | flags) == 0) {
      fd_.reset(ends[0]);
      pipe_writer_.reset(ends[1]);
    }
  }
  if (!fd_.valid()) return base::Result::error(errno);
  descriptor_.fd = fd_.get();
  return base::Result(0);
}

base::Result Waker::open_again() {
  return fd_.valid() ? base::Result(0) : open();
}

void Waker::arm() {
  if (read_.idle() && !reactor_.ending()) reactor_.submit(read_);
}

void Waker::signal() {
  uint64_t one = 1;
  // Fails only when the counter is full, and then the wake is under way already.
  int fd = pipe_writer_.valid() ? pipe_writer_.get() : fd_.get();
  [[maybe_unused]] ssize_t written = ::write(fd, &one, sizeof(one));
}

void Waker::on_event(const op::Completion& /*completion*/) {
  if (fd_.valid()) arm();  // else attaching does, after a fork
}

}  // namespace rloop::reactor
