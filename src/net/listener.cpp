// Accepting, backing off, stopping; see listener.hpp.
#include "net/listener.hpp"

#include <sys/socket.h>

#include <cerrno>

namespace rloop::net {

void Listener::start() {
  if (state_ != State::suspended) return;
  state_ = State::accepting;
  accept_.set_multishot(trust_multishot_ && context_.reactor->capabilities().multishot_accept);
  context_.reactor->submit(accept_);
}

void Listener::on_accept(const op::Completion& completion) {
  base::UniqueFd connection(completion.result.ok() ? completion.result.value() : -1);
  if (state_ != State::accepting) return try_stop();
  if (connection.valid()) {
    events_->on_accepted(std::move(connection));
  } else {
    fail(completion.result.error_number());
  }
  if (state_ != State::accepting) return try_stop();
  if (completion.more || !accept_.idle()) return;
  state_ = State::suspended;
  start();
}

void Listener::fail(int error_number) {
  switch (error_number) {
    case ECANCELED:
    case ECONNABORTED:
    case EINTR:
    case EAGAIN:
    // Errors of the connection that accept(2) passes on, or of a firewall: the next one may do.
    case EPROTO:
    case EPERM:
    case ENETDOWN:
    case ENETUNREACH:
    case EHOSTDOWN:
    case EHOSTUNREACH:
    case ENONET:
    case ENOPROTOOPT:
    case ETIMEDOUT:
      return;  // accepting goes on
    case EBADF:
    case EINVAL:
    case ENOTSOCK:
    case EOPNOTSUPP:
    case EFAULT:
      state_ = State::suspended;
      return events_->on_accept_error(error_number);
    default:  // EMFILE, ENFILE, ENOBUFS, ENOMEM, and what nobody knows: not at once again
      state_ = State::suspended;
      return events_->on_exhausted(error_number);
  }
}

bool Listener::stop() {
  if (state_ == State::stopping || state_ == State::stopped) return false;
  state_ = State::stopping;
  bool released = context_.reactor->cancel_now(accept_);
  // At least no new connection gets in while the accept is on its way home.
  if (!released) ::shutdown(descriptor_.fd, SHUT_RDWR);
  if (released) context_.reactor->forget(descriptor_);  // before the caller closes it
  try_stop();
  return released;
}

void Listener::abandon() {
  struct Silence final : ListenerEvents {
    void on_accepted(base::UniqueFd) override {}
    void on_exhausted(int) override {}
    void on_accept_error(int) override {}
    void on_stopped() override {}
  };
  static Silence silence;
  events_ = &silence;
  stop();
}

void Listener::try_stop() {
  if (state_ != State::stopping || !accept_.idle() || !stop_.idle()) return;
  context_.reactor->post(stop_, base::Result(0));
}

void Listener::on_stop(const op::Completion& /*completion*/) {
  state_ = State::stopped;
  context_.reactor->forget(descriptor_);
  events_->on_stopped();
}

}  // namespace rloop::net
