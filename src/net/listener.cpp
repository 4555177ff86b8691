// Accepting, backing off, stopping; see listener.hpp.
#include "net/listener.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <utility>

#include "absl/cleanup/cleanup.h"

namespace rloop::net {
namespace {

// The most connections of any round; see kFirstRound.
constexpr int kMostPerRound = 16;
// No more than what means so much work, as the last round's did: the others are left to workers
// that may be idle.
constexpr int64_t kWorkAhead_ns = 25'000'000;
// But where that leaves connections behind again and again nobody is idle, and the work may be
// somebody else's: every so many rounds twice as many are tried.
constexpr int kPatience_rounds = 4;
// Turns between two rounds: a connection is made in the first, read in the second, and in the third
// a task that waited for its first bytes has worked with them.
constexpr int kRests = 3;

// accept4(2), or accept(2) in a sandbox that does not know it.
base::Result accept_connection(int listening_fd, sockaddr_storage& name, socklen_t& length) {
  static std::atomic<bool> has_accept4 = true;
  auto* address = reinterpret_cast<sockaddr*>(&name);
  if (has_accept4) {
    int fd = ::accept4(listening_fd, address, &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0 || (errno != ENOSYS && errno != EPERM)) return base::Result::from_call(fd);
  }
  base::UniqueFd fd(::accept(listening_fd, address, &length));
  if (!fd.valid()) return base::Result::error(errno);
  has_accept4 = false;
  if (::fcntl(fd.get(), F_SETFD, FD_CLOEXEC) < 0 || ::fcntl(fd.get(), F_SETFL, O_NONBLOCK) < 0) {
    return base::Result::error(errno);
  }
  return base::Result::count(fd.release());
}

}  // namespace

void Listener::start() {
  if (state_ != State::suspended) return;
  state_ = State::accepting;
  absl::Cleanup failed = [this] { state_ = State::suspended; };  // for want of memory
  note_end_of_round();
  wait_again();
  std::move(failed).Cancel();
}

void Listener::on_readable(const op::Completion& completion) {
  if (state_ != State::accepting) return try_stop();
  rests_left_ = 0;
  if (completion.result.ok()) {
    accept_some();
  } else {
    fail(completion.result.error_number());
  }
  wait_again();
}

void Listener::wait_again() {
  if (state_ == State::stopping) return try_stop();
  if (state_ != State::accepting || !poll_.idle() || !rest_.idle()) return;
  if (rests_left_ > 0) return context_.reactor->post(rest_, base::Result(0));
  context_.reactor->submit(poll_);
}

void Listener::on_rest(const op::Completion& /*completion*/) {
  --rests_left_;
  wait_again();
}

// Whether an accept would find a connection. To learn it from accept4(2) costs 3.1 us instead of
// 0.2: the kernel makes the new socket's inode and file before it looks for a connection.
bool Listener::connection_waits() {
  bool just_told = taken_ == 0 && full_rounds_ == 0;
  if (just_told || descriptor_.number() < 0) return true;  // accept4 says EBADF; poll(2) nothing
  ++context_.reactor->statistics().syscalls;
  pollfd asked{.fd = descriptor_.number(), .events = POLLIN, .revents = 0};
  return ::poll(&asked, 1, 0) != 0;
}

int Listener::most_of_round() {
  return std::min(pace_, most_by_work());
}

int Listener::most_by_work() {
  int64_t worked_ns = context_.meter.busy_ns(base::now_ns()) - busy_at_round_end_ns_;
  if (worked_ns <= kWorkAhead_ns / kMostPerRound) return kMostPerRound;
  int64_t most = (taken_ * kWorkAhead_ns + worked_ns - 1) / worked_ns;
  // Twice as many did not mean much more work: it was not theirs.
  bool works_for_others = taken_ > taken_before_ && worked_ns * 4 < worked_before_ns_ * 5;
  bool tries = full_rounds_ % kPatience_rounds == kPatience_rounds - 1;
  if (works_for_others || tries) most = std::max<int64_t>(most, taken_ * 2);
  taken_before_ = taken_;
  worked_before_ns_ = worked_ns;
  return static_cast<int>(std::clamp<int64_t>(most, 1, kMostPerRound));
}

void Listener::note_end_of_round() {
  busy_at_round_end_ns_ = context_.meter.busy_ns(base::now_ns());
}

void Listener::accept_some() {
  int most = most_of_round();
  taken_ = 0;
  while (taken_ < most && state_ == State::accepting && !context_.reactor->interrupted()) {
    sockaddr_storage name;
    socklen_t length = sizeof(name);
    base::Result result = base::Result::again();
    if (connection_waits()) {
      ++context_.reactor->statistics().syscalls;
      result = accept_connection(descriptor_.number(), name, length);
    }
    if (result.is_again()) {
      descriptor_.mark_drained(op::Direction::read);
      break;
    }
    ++taken_;
    if (!result.ok()) {
      fail(result.error_number());
      continue;
    }
    auto* bytes = reinterpret_cast<const std::byte*>(&name);
    events_->on_accepted(
        base::UniqueFd(result.value()),
        base::Address::from_bytes({bytes, std::min<size_t>(length, sizeof(name))}));
  }
  bool full = taken_ == most;
  full_rounds_ = full ? full_rounds_ + 1 : 0;
  pace_ = full ? std::min(pace_ * 2, kMostPerRound) : kFirstRound;
  rests_left_ = taken_ > 0 ? kRests : 0;
  taken_ = std::max(taken_, 1);
  note_end_of_round();
}

void Listener::fail(int error_number) {
  switch (error_number) {
    case ECANCELED:
    case ECONNABORTED:
    case EINTR:
    case EAGAIN:
    // Errors of the connection that accept(2) passes on: the next one may do.
    case EPROTO:
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
    // EMFILE, ENFILE, ENOBUFS, ENOMEM, EPERM (a firewall, or a sandbox that refuses the call), and
    // what nobody knows: not at once again.
    default:
      state_ = State::suspended;
      return events_->on_exhausted(error_number);
  }
}

void Listener::stop() {
  if (state_ == State::stopping || state_ == State::stopped) return;
  state_ = State::stopping;
  context_.reactor->cancel(poll_);
  context_.reactor->forget(descriptor_);
  try_stop();
}

void Listener::abandon() {
  struct Silence final : ListenerEvents {
    void on_accepted(base::UniqueFd, const base::Address&) override {}
    void on_exhausted(int) override {}
    void on_accept_error(int) override {}
    void on_stopped() override {}
  };
  static Silence silence;
  events_ = &silence;
  stop();
}

void Listener::try_stop() {
  if (state_ != State::stopping || !poll_.idle() || !rest_.idle() || !stop_.idle()) return;
  context_.reactor->post(stop_, base::Result(0));
}

void Listener::on_stop(const op::Completion& /*completion*/) {
  state_ = State::stopped;
  events_->on_stopped();
}

}  // namespace rloop::net
