// A listening socket on a scripted reactor; see listener_steps.hpp for what can happen.
//
// Connections wait in a backlog that is a number. The oracle: each is accepted once, none while
// accepting is suspended or after a stop, each descriptor is closed by whoever got it, and
// `on_stopped` comes once and last. The user of it starts again some time after an error, as
// servers do.
#include <array>
#include <cerrno>
#include <utility>
#include <vector>

#include "hunt/listener_steps.hpp"
#include "hunt/script_reactor.hpp"
#include "hunt/stream_kernel.hpp"
#include "hunt/world.hpp"
#include "net/listener.hpp"
#include "net/stream.hpp"

namespace rloop::hunt {
namespace {

constexpr int kListening = kFirstNumber;
constexpr int kErrors[] = {ECONNABORTED, EINTR,  EPROTO, ENETDOWN, EAGAIN, ETIMEDOUT,
                           EMFILE,       ENOMEM, EPERM,  ENOBUFS,  EINVAL, EBADF};

class ListenerKernel final : public SystemCalls {
 public:
  int accept4(int fd, sockaddr* address, socklen_t* length, int /*flags*/) override {
    if (fd < 0) return failed(EBADF);
    expect(fd == kListening && open, "accept on a number that was closed");
    if (int error = std::exchange(refuse, 0)) {
      // A connection that is gone leaves the backlog.
      if (error == ECONNABORTED && accepted < arrived) --arrived;
      return failed(error);
    }
    if (accepted == arrived) return failed(EAGAIN);
    ++accepted;
    connections_open.push_back(true);
    address->sa_family = AF_UNIX;
    *length = sizeof(sa_family_t);
    return kListening + static_cast<int>(connections_open.size());
  }
  int poll(pollfd* fds, nfds_t /*count*/, int /*timeout_ms*/) override {
    if (fds->fd < 0) return 0;
    bool ready = accepted < arrived || refuse != 0;
    fds->revents = ready ? POLLIN : 0;
    return ready ? 1 : 0;
  }
  int close(int fd) override {
    if (fd < kFirstNumber) return SystemCalls::close(fd);
    size_t index = static_cast<size_t>(fd - kListening) - 1;
    expect(index < connections_open.size() && connections_open[index], "closed twice");
    connections_open[index] = false;
    return 0;
  }
  int clock_gettime(clockid_t /*clock*/, timespec* now) override {
    *now = {.tv_sec = now_ns / 1'000'000'000, .tv_nsec = now_ns % 1'000'000'000};
    return 0;
  }

  bool open = true;
  size_t arrived = 0, accepted = 0;
  int refuse = 0;
  std::vector<bool> connections_open;
  int64_t now_ns = 1'000'000'000;

 private:
  static int failed(int error_number) {
    errno = error_number;
    return -1;
  }
};

class ListenerWorld final : public World, public net::ListenerEvents {
 public:
  explicit ListenerWorld(uint32_t mode)
      : mode_(mode),
        installed_(kernel_),
        reactor_(statistics_, {.ring = (mode & 1) != 0}),
        context_(&reactor_),
        listener_(std::make_unique<net::Listener>(context_, *this, kListening)) {
    reactions_.fill(-1);
    listener_->follow(&holder_);
  }

  void take(const Step& step) override {
    size_t count = reactor_.in_flight_count();
    switch (step.kind) {
      case listener::start:
      case listener::stop:
      case listener::abandon:
      case listener::close_number:
        return call(step.kind);
      case listener::react:
        reactions_[step.who % reactions_.size()] = step.size % (listener::close_number + 2);
        return;
      case listener::connect:
        kernel_.arrived += step.size % 40;
        return;
      case listener::refuse:
        kernel_.refuse = kErrors[step.size % std::size(kErrors)];
        return;
      case listener::advance:
        if (count > 0) reactor_.advance(step.who % count, false);
        return;
      case listener::end:
        if (count > 0 && (mode_ & 1)) {
          reactor_.end(step.who % count, kErrors[step.size % std::size(kErrors)]);
        }
        return;
      case listener::dispatch:
        return reactor_.dispatch();
      case listener::turn:
        return turn();
      case listener::clock:
        kernel_.now_ns += int64_t{step.size} * 10'000;
        return;
      default:
        return reactor_.interrupt_dispatch();
    }
  }

  void finish() override {
    reactions_.fill(-1);
    kernel_.refuse = 0;
    if ((mode_ & 2) && !stopping_ && holder_ >= 0) {
      call(listener::start);
      for (int round = 0; round < 5000 && kernel_.accepted < kernel_.arrived; ++round) {
        turn();
        reactor_.advance_all();
        if (suspended_) call(listener::start);
      }
      expect(kernel_.accepted == kernel_.arrived, "connections were left in the backlog");
    }
    if (!stopping_) call(listener::stop);
    for (int round = 0; round < 10 && !reactor_.at_rest(); ++round)
      turn();
    expect(reactor_.at_rest(), "an operation did not come home");
    expect(abandoned_ || stopped_, "on_stopped did not come");
    expect(!listener_ || listener_->stopped(), "it does not stop");
    for (bool open : kernel_.connections_open)
      expect(!open, "a connection was not closed");
  }

 private:
  void call(int kind) {
    if (!listener_) return;
    if (kind == listener::start) {
      suspended_ = false;
      listener_->start();
    } else if (kind == listener::close_number) {
      holder_ = -1;
    } else if (kind == listener::close_number + 1) {
      reactor_.interrupt_dispatch();
    } else {
      // What it listens on may be closed when this returns.
      stopping_ = true;
      abandoned_ = abandoned_ || kind == listener::abandon;
      kind == listener::abandon ? listener_->abandon() : listener_->stop();
      kernel_.open = false;
    }
  }
  void happen(size_t event) {
    if (reactions_[event] >= 0) call(std::exchange(reactions_[event], -1));
  }
  void expect_going_on() const {
    expect(!stopping_ && !stopped_, "an event after the stop");
    expect(!suspended_, "an event while suspended");
  }

  void on_accepted(base::UniqueFd connection, const base::Address&) override {
    expect_going_on();
    expect(connection.valid(), "no connection");
    ++accepted_;
    expect(accepted_ == kernel_.accepted, "a connection was lost");
    if (mode_ & 4) kernel_.now_ns += 3'000'000;
    happen(0);
  }
  void on_exhausted(int) override {
    expect_going_on();
    suspended_ = true;
    happen(1);
  }
  void on_accept_error(int) override {
    expect_going_on();
    suspended_ = true;
    happen(1);
  }
  void on_stopped() override {
    expect(stopping_ && !abandoned_, "stopped by nobody");
    expect(!stopped_, "on_stopped came twice");
    stopped_ = true;
    happen(2);
    if (mode_ & 8) listener_.reset();
  }

  void turn() {
    context_.begin_turn(reactor_.undispatched_count(net::Context::kMuch));
    reactor_.wait(0);
    reactor_.dispatch();
  }

  uint32_t mode_;
  ListenerKernel kernel_;
  Installed installed_;
  reactor::Statistics statistics_;
  ScriptReactor reactor_;
  net::Context context_;
  int holder_ = kListening;
  size_t accepted_ = 0;
  bool suspended_ = true, stopping_ = false, stopped_ = false, abandoned_ = false;
  std::array<int, 3> reactions_;
  std::unique_ptr<net::Listener> listener_;
};

}  // namespace

std::unique_ptr<World> make_listener_world(uint32_t mode) {
  return std::make_unique<ListenerWorld>(mode);
}

}  // namespace rloop::hunt
