// Streams of one context on a scripted reactor; see stream_steps.hpp for what can happen.
//
// The mode chooses the engine's behaviour, the kind of readers, how many streams there are, and how
// it ends. At the end the kernel does all it can for a while: then whoever reads has everything,
// and after a close or an abort everything comes home.
#include <cerrno>

#include "hunt/scripted_loop.hpp"
#include "hunt/stream_steps.hpp"
#include "hunt/stream_user.hpp"
#include "hunt/world.hpp"

namespace rloop::hunt {
namespace {

using Call = StreamUser::Call;

struct Mode {
  explicit Mode(uint32_t bits)
      : ring(bits & 1),
        multishot(bits & 2),
        lends(bits & 4),
        own_memory((bits >> 3 & 3) == 3),
        few_room(bits >> 5 & 1),
        aborts_on_error((bits >> 6 & 3) != 0),
        gracefully(bits >> 8 & 1),
        deletes(bits >> 9 & 1) {
    static constexpr size_t kCounts[16] = {1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 5, 6, 18};
    count = kCounts[bits >> 10 & 15];
    static constexpr size_t kMemory[4] = {2, 64, 300, 70'000};
    own_bytes = kMemory[bits >> 14 & 3];
  }

  bool ring, multishot, lends, own_memory, few_room, aborts_on_error, gracefully, deletes;
  size_t count, own_bytes;
};

reactor::Capabilities capabilities_of(const Mode& mode) {
  return {.ring = mode.ring,
          .multishot_recv = !mode.ring || mode.multishot,
          .multishot_recvmsg = false,
          .buffer_ring = mode.ring && mode.lends};
}

constexpr int kSendErrors[] = {EINTR, EAGAIN, ECANCELED, EPIPE, ECONNRESET, ENOBUFS, ENOMEM};
constexpr int kReceiveErrors[] = {EINTR, EAGAIN, ECANCELED, ENOBUFS};
constexpr int kPollErrors[] = {EINTR, EAGAIN, ECANCELED};

bool is_no_error(int error_number) {
  return error_number == EINTR || error_number == EAGAIN || error_number == ECANCELED;
}

class StreamWorld final : public World {
 public:
  explicit StreamWorld(uint32_t bits)
      : mode_(bits), kernel_(mode_.count), installed_(kernel_), loop_(capabilities_of(mode_)) {
    for (size_t i = 0; i < mode_.count; ++i) {
      users_.push_back(std::make_unique<StreamUser>(
          loop_.context, kernel_.sockets[i], kFirstNumber + static_cast<int>(i), &loop_.reactor));
      StreamUser& user = *users_.back();
      kernel_.sockets[i].room = mode_.few_room ? 0 : 100'000;
      user.aborts_on_error = mode_.aborts_on_error;
      user.deletes_at_end = mode_.deletes;
      user.set_own_memory(mode_.own_bytes);
      if (mode_.own_memory) user.call(Call::reader_kind, 0);
      user.stream().start_reading();
    }
  }

  void take(const Step& step) override {
    if (step.kind < stream::data) {
      StreamUser& user = *users_[step.who % mode_.count];
      if (step.kind == stream::react) {
        user.react(static_cast<StreamUser::Event>(step.who / 16 % StreamUser::kEventCount),
                   static_cast<Call>(step.size % StreamUser::kCallCount));
      } else if (user.alive()) {
        call(user, step);
      }
    } else if (step.kind < stream::turn) {
      happen(step);
    } else {
      run(step);
    }
  }

  void finish() override {
    loop_.reactor.wake();
    loop_.context.loop_running = true;
    for (auto& user : users_)
      user->forget_reactions();
    if (mode_.gracefully) end_gracefully();
    for (auto& user : users_)
      if (user->alive() && !user->closed()) user->call(Call::abort, 0);
    loop_.expect_at_rest();
    for (auto& user : users_)
      user->expect_end();
  }

 private:
  void call(StreamUser& user, const Step& step) {
    switch (step.kind) {
      case stream::write:
        return user.write(step.size, false);
      case stream::write_at_once:
        return user.write(step.size, true);
      case stream::append:
        return user.append(step.size);
      case stream::push:
        return user.call(Call::push, 0);
      case stream::write_eof:
        return user.call(Call::write_eof, 0);
      case stream::close:
        return user.call(Call::close, 0);
      case stream::abort:
        return user.call(Call::abort, 0);
      case stream::abandon:
        return user.abandon();
      case stream::pause:
        return user.call(Call::pause, 0);
      case stream::resume:
        return user.call(Call::resume, 0);
      case stream::reader_kind:
        return user.call(Call::reader_kind, 0);
      case stream::own_memory:
        return user.set_own_memory(step.size);
      case stream::flush_now:
        return user.call(Call::flush_now, 0);
      case stream::flush_if_few:
        return user.stream().drain();
      default:
        return user.call(Call::close_number, 0);
    }
  }

  void happen(const Step& step) {
    StreamSocket& socket = kernel_.sockets[step.who % mode_.count];
    switch (step.kind) {
      case stream::data:
        if (!socket.in_ended && socket.in_error == 0) socket.in_sent += step.size;
        return;
      case stream::end_of_data:
        socket.in_ended = true;
        return;
      case stream::reset:
        return reset(socket);
      case stream::room:
        socket.room += step.size;
        return;
      case stream::hang_up:
        socket.hung_up = !socket.hung_up;
        return;
      case stream::cancels:
        return loop_.reactor.run_cancels(step.size);
      case stream::refuse:
        return refuse(socket, step.size);
      case stream::advance:
        return advance(step);
      default:
        return end(step);
    }
  }

  // What was not received is gone.
  static void reset(StreamSocket& socket) {
    if (socket.in_ended) return;
    socket.in_sent = socket.in_taken;
    socket.in_error = ECONNRESET;
    socket.in_ended = true;
    socket.out_error = EPIPE;
    socket.out_loose = true;
  }

  static void refuse(StreamSocket& socket, unsigned choice) {
    if (choice % 4 == 0) {
      socket.most_sent = 1 + choice % 50;
    } else if (choice % 4 == 1) {
      socket.most_received = 1 + choice % 50;
    } else if (choice % 4 == 2) {
      socket.refuse_recv = choice % 8 == 2 ? EINTR : EAGAIN;
    } else {
      int error = kSendErrors[choice / 4 % std::size(kSendErrors)];
      if (error == ECANCELED) error = EINTR;
      socket.refuse_send = error;
      if (!is_no_error(error)) socket.out_loose = true;
    }
  }

  void advance(const Step& step) {
    if (loop_.reactor.in_flight_count() == 0) return;
    size_t which = step.who % loop_.reactor.in_flight_count();
    int fd = loop_.reactor.in_flight(which).descriptor().fd;
    StreamSocket& socket = kernel_.sockets[static_cast<size_t>(fd - kFirstNumber)];
    if (step.size > 0) socket.most_sent = socket.most_received = step.size;
    loop_.reactor.advance(which, step.size % 5 == 1);
  }

  // An operation of the ring ends with an errno. (Epoll attempts, and sees what refuse() says.)
  void end(const Step& step) {
    if (loop_.reactor.in_flight_count() == 0 || !mode_.ring) return;
    size_t which = step.who % loop_.reactor.in_flight_count();
    op::Operation& operation = loop_.reactor.in_flight(which);
    auto index = static_cast<size_t>(operation.descriptor().fd - kFirstNumber);
    bool reads = operation.direction() == op::Direction::read;
    int error;
    if (reads && mode_.lends) {
      error = kReceiveErrors[step.size % std::size(kReceiveErrors)];
    } else if (reads || operation.waits_in_epoll_set()) {
      error = kPollErrors[step.size % std::size(kPollErrors)];
    } else {
      error = kSendErrors[step.size % std::size(kSendErrors)];
      if (!is_no_error(error)) kernel_.sockets[index].out_loose = true;
    }
    // A poll of a stream that lends buffers, in bulk: it knows no ENOBUFS.
    if (error == ENOBUFS && reads) error = ECANCELED;
    loop_.reactor.end(which, error);
  }

  void run(const Step& step) {
    static_assert(stream::hand_over - stream::turn + 1 == kLoopStepCount);
    if (step.kind <= stream::hand_over) {
      return loop_.take(static_cast<LoopStep>(step.kind - stream::turn));
    }
    switch (step.kind) {
      case stream::clock:
        kernel_.now_ns += int64_t{step.size} * 1000;
        return;
      case stream::asleep:
        return loop_.reactor.announce_sleep();
      case stream::loop_running:
        loop_.context.loop_running = !loop_.context.loop_running;
        return;
      case stream::interrupt:
        return loop_.reactor.interrupt_dispatch();
      case stream::quiesce:
        return loop_.reactor.quiesce();
      default:
        return loop_.reactor.take_back();
    }
  }

  void end_gracefully() {
    for (size_t i = 0; i < mode_.count; ++i) {
      kernel_.sockets[i].room += 10'000'000;
      StreamUser& user = *users_[i];
      user.set_own_memory(300);
      if (user.alive()) user.call(Call::resume, 0);
      kernel_.sockets[i].refuse_recv = 0;
    }
    settle();
    loop_.expect_no_spinning();
    for (auto& user : users_)
      user->expect_everything_received();
    for (auto& user : users_)
      if (user->alive()) user->call(Call::close, 0);
    settle();
  }

  // Until nobody receives or sends any more.
  void settle() {
    loop_.settle([this] {
      uint64_t count = 0;
      for (auto& user : users_)
        if (user->alive())
          count += user->stream().traffic().bytes_in + user->stream().traffic().bytes_out;
      return count;
    });
  }

  Mode mode_;
  StreamKernel kernel_;
  Installed installed_;
  ScriptedLoop loop_;
  std::vector<std::unique_ptr<StreamUser>> users_;
};

}  // namespace

std::unique_ptr<World> make_stream_world(uint32_t mode) {
  return std::make_unique<StreamWorld>(mode);
}

}  // namespace rloop::hunt
