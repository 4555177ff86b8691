// Arms, signals and re-arms; see waker.hpp.
#include "reactor/waker.hpp"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

namespace rloop::reactor {
namespace {

int new_eventfd(bool blocking) {
  return ::eventfd(0, EFD_CLOEXEC | (blocking ? 0 : EFD_NONBLOCK));
}

int make_eventfd(bool blocking) {
  int fd = new_eventfd(blocking);
  if (fd < 0) throw std::system_error(errno, std::generic_category(), "eventfd");
  return fd;
}

}  // namespace

Waker::Waker(Reactor& reactor, bool blocking)
    : reactor_(reactor), blocking_(blocking), fd_(make_eventfd(blocking)), descriptor_(fd_.get()) {}

base::Result Waker::open_again() {
  if (fd_.valid()) return base::Result(0);
  fd_.reset(new_eventfd(blocking_));
  descriptor_.fd = fd_.get();
  return base::Result::from_call(fd_.get());
}

void Waker::arm() {
  if (read_.idle() && !closing_) reactor_.submit(read_);
}

void Waker::signal() {
  uint64_t one = 1;
  // Fails only when the counter is full, and then the wake is under way already.
  [[maybe_unused]] ssize_t written = ::write(fd_.get(), &one, sizeof(one));
}

void Waker::on_event(const op::Completion& completion) {
  if (completion.result.is(ECANCELED)) {
    closing_ = true;
    return;
  }
  if (fd_.valid()) arm();  // else attaching does, after a fork
}

}  // namespace rloop::reactor
