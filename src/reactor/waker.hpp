// The eventfd by which another thread ends the wait of a loop; a pipe where none is to be had.
//
// Owns the eventfd and the read that stays in flight on it, in the reactor that it is given to;
// an eventfd is as cheap as any other way (KERNEL.md: the scheduler dominates) and works on both
// engines. signal() is async-signal-safe and may come from any thread; the rest is the loop's.
#pragma once

#include "base/fd.hpp"
#include "op/event.hpp"
#include "reactor/reactor.hpp"

namespace rloop::reactor {

class Waker {
 public:
  // `blocking`: for a ring, whose READ on a non-blocking eventfd fails with EAGAIN on old kernels.
  // Throws std::system_error when no descriptor is left.
  Waker(Reactor& reactor, bool blocking);

  void arm();  // submits the read if it is not in flight, unless the reactor ends
  void signal();
  // Readable from a signal until the read has come home.
  int fd() const { return fd_.get(); }
  op::Operation& operation() { return read_; }
  // In the child of a fork: the eventfd is the parent's, or was; another one when it is needed.
  void close() {
    fd_.reset();
    pipe_writer_.reset();
    descriptor_.fd = -1;  // the number may be somebody else's before there is a new one
  }
  base::Result open_again();

 private:
  base::Result open();
  void on_event(const op::Completion& completion);

  Reactor& reactor_;
  bool blocking_;
  base::UniqueFd fd_;
  base::UniqueFd pipe_writer_;  // where a sandbox refuses eventfd2(2)
  op::Descriptor descriptor_;
  op::Completes<op::ReadEvent, &Waker::on_event> read_{*this, descriptor_};
};

}  // namespace rloop::reactor
