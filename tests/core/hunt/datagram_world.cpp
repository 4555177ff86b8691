// A datagram socket on a scripted reactor; see datagram_steps.hpp for what can happen.
//
// The mode chooses the way of receiving (a multishot recvmsg with lent buffers, or a poll and
// recvmmsg), how much room there is, and how it ends.
#include <cerrno>

#include "hunt/datagram_steps.hpp"
#include "hunt/datagram_user.hpp"
#include "hunt/script_reactor.hpp"
#include "hunt/world.hpp"

namespace rloop::hunt {
namespace {

using Call = DatagramUser::Call;

// A lent buffer of the script holds a little more.
constexpr size_t kLargest = 3000;
constexpr int kSendErrors[] = {EINTR, EAGAIN, ECONNREFUSED, EMSGSIZE, ENOBUFS, EINTR};
constexpr int kSoftErrors[] = {EINTR, EAGAIN, ECANCELED, ENOBUFS};

reactor::Capabilities capabilities_of(uint32_t mode) {
  bool ring = mode & 1;
  bool lends = ring && (mode & 2);
  return {.ring = ring, .multishot_recv = true, .multishot_recvmsg = lends, .buffer_ring = lends};
}

class DatagramWorld final : public World {
 public:
  explicit DatagramWorld(uint32_t mode)
      : mode_(mode),
        installed_(kernel_),
        reactor_(statistics_, capabilities_of(mode)),
        context_(&reactor_),
        user_(context_, kernel_, AF_INET) {
    kernel_.room = mode & 4 ? 0 : 1000;
    user_.deletes_at_end = mode & 8;
    user_.datagram().start_reading();
  }

  void take(const Step& step) override {
    if (step.kind == datagram::react) {
      user_.react(static_cast<DatagramUser::Event>(step.who % DatagramUser::kEventCount),
                  static_cast<Call>(step.size % DatagramUser::kCallCount));
    } else if (step.kind < datagram::arrive) {
      if (user_.alive()) call(step);
    } else if (step.kind < datagram::turn) {
      happen(step);
    } else {
      run(step);
    }
  }

  void finish() override {
    context_.loop_running = true;
    user_.forget_reactions();
    if (mode_ & 16) end_gracefully();
    if (user_.alive() && !user_.closed()) user_.call(Call::abort, 0);
    for (int round = 0; round < 20 && !reactor_.at_rest(); ++round)
      go_on();
    expect(reactor_.at_rest() && !context_.has_dirty(), "an operation did not come home");
    user_.expect_end();
  }

 private:
  void call(const Step& step) {
    switch (step.kind) {
      case datagram::send:
        return user_.call(Call::send, step.size);
      case datagram::send_at_once:
        return user_.call(Call::send_at_once, step.size);
      case datagram::flush:
        return user_.call(Call::flush, 0);
      case datagram::pause:
        return user_.call(Call::pause, 0);
      case datagram::resume:
        return user_.call(Call::resume, 0);
      case datagram::close:
        return user_.call(Call::close, 0);
      case datagram::abort:
        return user_.call(Call::abort, 0);
      case datagram::abandon:
        return user_.abandon();
      default:
        return user_.close_number();
    }
  }

  void happen(const Step& step) {
    size_t count = reactor_.in_flight_count();
    switch (step.kind) {
      case datagram::arrive:
        kernel_.incoming.push_back({.size = step.size % kLargest});
        return;
      case datagram::arrive_error:
        kernel_.incoming.push_back({.error_number = ECONNREFUSED + step.size % 2});
        return;
      case datagram::room:
        kernel_.room += step.size % 32;
        return;
      case datagram::refuse:
        if (step.size % 3 == 0) {
          kernel_.most_sent = 1 + step.size % 4;
        } else {
          kernel_.refuse_send = kSendErrors[step.size % std::size(kSendErrors)];
        }
        return;
      case datagram::cancels:
        return reactor_.run_cancels(step.size);
      case datagram::advance:
        if (count > 0) reactor_.advance(step.who % count, step.size % 4 == 0);
        return;
      default: {
        if (count == 0 || !(mode_ & 1)) return;
        size_t which = step.who % count;
        bool lends = (mode_ & 2) && reactor_.in_flight(which).direction() == op::Direction::read;
        reactor_.end(which, kSoftErrors[step.size % (lends ? 4 : 3)]);
      }
    }
  }

  void run(const Step& step) {
    switch (step.kind) {
      case datagram::turn:
        return turn();
      case datagram::enter:
        context_.flush_dirty();
        reactor_.wait(0);
        return;
      case datagram::dispatch:
        return reactor_.dispatch();
      case datagram::dispatch_ends:
        return reactor_.dispatch_ends();
      case datagram::dispatch_others:
        return reactor_.dispatch_others();
      case datagram::flush_dirty_now:
        return context_.flush_dirty_now();
      case datagram::hand_over:
        return context_.hand_over_if_due();
      case datagram::clock:
        kernel_.now_ns += int64_t{step.size} * 1000;
        return;
      case datagram::loop_running:
        context_.loop_running = !context_.loop_running;
        return;
      case datagram::interrupt:
        return reactor_.interrupt_dispatch();
      default:
        return reactor_.take_back();
    }
  }

  void turn() {
    context_.begin_turn();
    context_.flush_dirty();
    reactor_.wait(0);
    reactor_.dispatch_ends();
    reactor_.dispatch_others();
  }

  void go_on() {
    turn();
    reactor_.run_cancels(0xffff);
    reactor_.advance_all();
    for (int i = 0; i < 3; ++i)
      reactor_.dispatch();
  }

  void end_gracefully() {
    kernel_.room += 10'000;
    if (user_.alive()) user_.call(Call::resume, 0);
    settle();
    uint64_t before = statistics_.completions + statistics_.syscalls;
    go_on();
    go_on();
    expect(statistics_.completions + statistics_.syscalls == before, "it spins");
    user_.expect_everything_received();
    if (user_.alive()) user_.call(Call::close, 0);
    settle();
  }

  void settle() {
    for (int quiet = 0, round = 0; quiet < 4; ++round) {
      expect(round < 10'000, "it never comes to rest");
      size_t before = kernel_.taken + kernel_.sent;
      go_on();
      quiet = kernel_.taken + kernel_.sent != before || context_.has_dirty() ? 0 : quiet + 1;
    }
  }

  uint32_t mode_;
  DatagramKernel kernel_;
  Installed installed_;
  reactor::Statistics statistics_;
  ScriptReactor reactor_;
  net::Context context_;
  DatagramUser user_;
};

}  // namespace

std::unique_ptr<World> make_datagram_world(uint32_t mode) {
  return std::make_unique<DatagramWorld>(mode);
}

}  // namespace rloop::hunt
