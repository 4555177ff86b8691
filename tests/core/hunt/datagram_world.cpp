// A datagram socket on a scripted reactor; see datagram_steps.hpp for what can happen.
//
// The mode chooses the way of receiving (a multishot recvmsg with lent buffers, or a poll and
// recvmmsg), how much room there is, and how it ends.
#include <cerrno>

#include "hunt/datagram_steps.hpp"
#include "hunt/datagram_user.hpp"
#include "hunt/scripted_loop.hpp"
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
        loop_(capabilities_of(mode)),
        user_(loop_.context, kernel_, AF_INET) {
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
    loop_.context.loop_running = true;
    user_.forget_reactions();
    if (mode_ & 16) end_gracefully();
    if (user_.alive() && !user_.closed()) user_.call(Call::abort, 0);
    loop_.expect_at_rest();
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
    size_t count = loop_.reactor.in_flight_count();
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
        return loop_.reactor.run_cancels(step.size);
      case datagram::advance:
        if (count > 0) loop_.reactor.advance(step.who % count, step.size % 4 == 0);
        return;
      default: {
        if (count == 0 || !(mode_ & 1)) return;
        size_t which = step.who % count;
        bool lends =
            (mode_ & 2) && loop_.reactor.in_flight(which).direction() == op::Direction::read;
        loop_.reactor.end(which, kSoftErrors[step.size % (lends ? 4 : 3)]);
      }
    }
  }

  void run(const Step& step) {
    static_assert(datagram::hand_over - datagram::turn + 1 == kLoopStepCount);
    if (step.kind <= datagram::hand_over) {
      return loop_.take(static_cast<LoopStep>(step.kind - datagram::turn));
    }
    switch (step.kind) {
      case datagram::clock:
        kernel_.now_ns += int64_t{step.size} * 1000;
        return;
      case datagram::loop_running:
        loop_.context.loop_running = !loop_.context.loop_running;
        return;
      case datagram::interrupt:
        return loop_.reactor.interrupt_dispatch();
      default:
        return loop_.reactor.take_back();
    }
  }

  void end_gracefully() {
    kernel_.room += 10'000;
    if (user_.alive()) user_.call(Call::resume, 0);
    settle();
    loop_.expect_no_spinning();
    user_.expect_everything_received();
    if (user_.alive()) user_.call(Call::close, 0);
    settle();
  }

  void settle() {
    loop_.settle([this] { return kernel_.taken + kernel_.sent; });
  }

  uint32_t mode_;
  DatagramKernel kernel_;
  Installed installed_;
  ScriptedLoop loop_;
  DatagramUser user_;
};

}  // namespace

std::unique_ptr<World> make_datagram_world(uint32_t mode) {
  return std::make_unique<DatagramWorld>(mode);
}

}  // namespace rloop::hunt
