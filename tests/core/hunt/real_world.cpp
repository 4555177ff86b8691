// Streams on a real engine over socket pairs, with faults in front of the kernel; see
// real_steps.hpp.
//
// The near ends are driven by the core, the far ends by plain calls (far_end.hpp). A loop does what
// the product's does: it falls back to epoll when the ring is refused, follows to another thread,
// and lets a forked child abandon or start over.
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <iterator>
#include <memory>
#include <thread>
#include <vector>

#include "base/clock.hpp"
#include "conformance/sockets.hpp"
#include "hunt/far_end.hpp"
#include "hunt/fault_layer.hpp"
#include "hunt/real_steps.hpp"
#include "hunt/real_watches.hpp"
#include "hunt/stream_user.hpp"
#include "hunt/world.hpp"

namespace rloop::hunt {
namespace {

using Call = StreamUser::Call;
constexpr int64_t kMillisecond_ns = 1'000'000;
constexpr int64_t kPatience_ns = 10'000 * kMillisecond_ns;

reactor::Config config_of(uint32_t mode) {
  reactor::Config config;
  config.sq_entries = 16;
  config.cq_entries = mode & 1 ? 8 : 64;
  config.buffer_count = mode & 2 ? 2 : 8;
  config.buffer_size = mode & 4 ? 64 : 1024;
  config.datagram_count = 2;
  config.scratch_size = config.large_scratch_size = mode & 8 ? 256 : 8192;
  config.much = config.scratch_size / 2;
  config.most_in_a_row = 8 * config.much;
  config.allowed.multishot_recv = (mode >> 4 & 3) != 0;
  config.allowed.buffer_ring = (mode >> 6 & 3) != 0;
  config.watches_before_direct = mode >> 25 & 1 ? 0 : 16;
  return config;
}

ptrdiff_t count_descriptors() {
  return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), {});
}

class RealWorld final : public World {
 public:
  RealWorld(uint32_t mode, bool ring)
      : mode_(mode),
        descriptors_before_(count_descriptors()),
        installed_(faults_),
        reactor_(ring ? reactor::make_ring_reactor(config_of(mode), statistics_)
                      : reactor::make_epoll_reactor(config_of(mode), statistics_)),
        context_(reactor_.get()),
        sockets_(1 + (mode >> 8 & 3)),
        far_(sockets_.size()) {
    attach();
    for (size_t i = 0; i < sockets_.size(); ++i)
      connect(i);
  }

  void take(const Step& step) override {
    size_t which = step.who % users_.size();
    if (step.kind == real::react) {
      users_[which]->react(static_cast<StreamUser::Event>(step.who / 16 % StreamUser::kEventCount),
                           static_cast<Call>(step.size % StreamUser::kCallCount));
    } else if (step.kind < real::watch) {
      if (users_[which]->alive()) call(*users_[which], step);
    } else if (step.kind < real::data) {
      step.kind == real::watch ? watches_.toggle_watch(*reactor_) : watches_.toggle_poll(*reactor_);
    } else if (step.kind < real::refuse) {
      peer(which, step);
    } else if (step.kind < real::turn) {
      meddle(which, step);
    } else {
      run(step);
    }
  }

  void finish() override {
    faults_.forget_all();
    context_.loop_running = true;
    for (auto& user : users_)
      user->forget_reactions();
    if (mode_ >> 10 & 1) end_gracefully();
    for (auto& user : users_)
      if (user->alive() && !user->closed()) user->call(Call::abort, 0);
    settle([&] { return all_of_users([](StreamUser& one) { return one.ended(); }); });
    for (auto& user : users_)
      user->expect_end();
    end_watches();
    expect(reactor_->drain(1000 * kMillisecond_ns) == 0, "an operation did not come home");
    users_.clear();
    reactor_.reset();
    far_.clear();
    watches_.close();
    expect(count_descriptors() <= descriptors_before_, "a descriptor was left open");
  }

 private:
  // --- the loop ------------------------------------------------------------------------------

  void attach() {
    base::Result result = reactor_->attach_to_thread();
    if (!result.ok()) fall_back(result);
  }

  // As the loop of the product.
  void fall_back(base::Result why) {
    expect(faults_.refuse_ring && std::string_view(reactor_->name()) == "io_uring",
           "an engine failed that nobody refused");
    for (StreamSocket& socket : sockets_)  // how far it came may not be known
      socket.out_loose = socket.in_loose = true;
    faults_.forget_all();  // some of which epoll never makes
    reactor_->give_up(why);
    while (reactor_->has_undispatched())
      reactor_->dispatch();
    auto epoll = reactor::make_epoll_reactor(reactor_->config(), statistics_);
    reactor_->move_to(*epoll);
    reactor_ = std::move(epoll);
    context_.reactor = reactor_.get();
    expect(reactor_->attach_to_thread().ok(), "the last resort failed");
  }

  void wait(int64_t timeout_ns) {
    base::Result result = reactor_->wait(timeout_ns);
    if (!result.ok()) fall_back(result);
  }

  void turn(int64_t timeout_ns = 0) {
    context_.begin_turn(reactor_->undispatched_count(net::Context::kMuch));
    context_.flush_dirty();
    wait(timeout_ns);
    reactor_->dispatch_ends();
    reactor_->dispatch_others();
  }

  void run(const Step& step) {
    switch (step.kind) {
      case real::turn:
        return turn();
      case real::wait:
        context_.flush_dirty();
        return wait(0);
      case real::dispatch:
        return reactor_->dispatch();
      case real::dispatch_ends:
        return reactor_->dispatch_ends();
      case real::dispatch_others:
        return reactor_->dispatch_others();
      case real::flush_dirty_now:
        return context_.flush_dirty_now();
      case real::flush:
        return reactor_->flush();
      case real::asleep:
        return reactor_->announce_sleep();
      case real::loop_running:
        context_.loop_running = !context_.loop_running;
        return;
      case real::interrupt:
        return reactor_->interrupt_dispatch();
      case real::stop:
        reactor_->quiesce();
        return attach();
      case real::move:
        return move(step.size % 4);
      default:
        return fork(step.size % 2 == 0);
    }
  }

  void move(int turns) {
    reactor_->quiesce();
    std::thread([&] {
      attach();
      for (int i = 0; i < turns; ++i)
        turn();
      reactor_->quiesce();
    }).join();
    attach();
  }

  void fork(bool abandons) {
    pid_t child = ::fork();
    if (child == 0) run_child(abandons);
    int status = 0;
    ::waitpid(child, &status, 0);
    expect(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child of a fork failed");
  }

  // It must not touch the sockets, which are the parent's too: it holds none of them any more.
  [[noreturn]] void run_child(bool abandons) {
    ::alarm(30);  // the parent's is not inherited
    faults_.forget_all();
    for (FarEnd& far : far_)
      far.fd.reset();
    for (auto& user : users_) {
      user->forget_reactions();
      if (user->alive()) user->close_number();
    }
    if (abandons) {
      reactor_->abandon();
      for (auto& user : users_)
        if (user->alive()) user->stream().forget();
    } else {
      reactor_->start_over();
      attach();
      for (auto& user : users_)
        if (user->alive() && !user->closed()) user->call(Call::abort, 0);
      settle([&] { return all_of_users([](StreamUser& one) { return one.ended(); }); });
      end_watches();
      expect(reactor_->drain(1000 * kMillisecond_ns) == 0, "the child has operations left");
    }
    reactor_.reset();
    ::_exit(0);
  }

  // --- the sockets ---------------------------------------------------------------------------

  void connect(size_t index) {
    test::SocketPair pair = is_tcp(index) ? test::tcp_pair() : test::unix_pair();
    if (!is_tcp(index)) test::minimise_buffers(pair);
    StreamSocket& socket = sockets_[index];
    socket.number = index;
    socket.exact = false;
    far_[index].fd = std::move(pair.far);
    int fd = pair.near.release();
    faults_.near[fd] = {};
    users_.push_back(std::make_unique<StreamUser>(context_, socket, fd, nullptr));
    StreamUser& user = *users_.back();
    user.set_own_memory(mode_ >> 15 & 1 ? 70'000 : 100);
    user.deletes_at_end = mode_ >> 16 & 1;
    user.aborts_on_error = mode_ >> 17 & 3;
    if (mode_ >> 19 & 1) user.call(Call::reader_kind, 0);
    user.stream().start_reading();
  }

  static void call(StreamUser& user, const Step& step) {
    switch (step.kind) {
      case real::write:
        return user.write(size_t{step.size} * 8, false);
      case real::write_at_once:
        return user.write(step.size, true);
      case real::abandon:
        return user.abandon();
      case real::own_memory:
        // A reader without any is asked for ever, also where a loop falls back and dispatches all.
        return user.set_own_memory(size_t{1} + step.size);
      case real::close_number:
        return user.close_number();
      default:
        static constexpr std::array kCalls = {
            Call::write, Call::write,  Call::write_eof,   Call::close, Call::abort,    Call::abort,
            Call::pause, Call::resume, Call::reader_kind, Call::write, Call::flush_now};
        return user.call(kCalls[step.kind], 0);
    }
  }

  bool is_tcp(size_t index) const { return mode_ >> (11 + index) & 1; }

  void peer(size_t which, const Step& step) {
    StreamSocket& socket = sockets_[which];
    FarEnd& far = far_[which];
    if (!far.fd.valid()) return;
    switch (step.kind) {
      case real::data:
        return far.send(socket, size_t{step.size} * 2);
      case real::end_of_data:
        return far.end(socket);
      case real::take:
        return far.receive(socket, size_t{step.size} * 8);
      default:
        return far.reset(socket, is_tcp(which));
    }
  }

  void end_watches() {
    watches_.end([this]() -> reactor::Reactor& { return *reactor_; },
                 [this](auto done) { settle(done); });
  }

  // --- faults --------------------------------------------------------------------------------

  void meddle(size_t which, const Step& step) {
    bool ring = reactor_->capabilities().ring;
    if (step.kind == real::refuse_ring) {
      faults_.refuse_ring = faults_.refuse_ring || (ring && step.size % 4 == 0);
    } else if (step.kind == real::hold) {
      faults_.hold = ring ? step.size % 8 : 0;
    } else if (step.kind == real::interrupt_wait) {
      faults_.interruptions = step.size % 3;
      faults_.most_entries = step.size % 4;
    } else if (users_[which]->alive() && users_[which]->has_number()) {
      refuse(which, step, ring);
    }
  }

  void refuse(size_t which, const Step& step, bool ring) {
    static constexpr int kErrors[] = {EINTR, EAGAIN, ECANCELED, ENOBUFS};
    int fd = users_[which]->stream().fd();
    if (step.kind == real::refuse_entry) {
      faults_.refused_fd = fd;
      faults_.refused_errno = kErrors[step.size % std::size(kErrors)];
      if (step.size % 3 == 0) faults_.shortest = 1 + step.size % 100;
      return;
    }
    FaultLayer::Faults& faults = faults_.near[fd];
    switch (step.size % 6) {
      case 0:
        faults.refuse_send = EINTR;
        return;
      case 1:
        faults.refuse_recv = EINTR;
        return;
      case 2:
        if (ring) faults.most_sent = 1 + step.size % 50;
        return;
      case 3:
        if (ring) faults.most_received = 1 + step.size % 50;
        return;
      case 4:
        if (ring) (step.size % 4 < 2 ? faults.refuse_send : faults.refuse_recv) = EAGAIN;
        return;
      default:
        if (step.size % 8 != 0) return;
        faults.refuse_send = EPIPE;
        sockets_[which].out_loose = true;
    }
  }

  // --- the end -------------------------------------------------------------------------------

  template <class Predicate>
  bool all_of_users(Predicate predicate) {
    return std::all_of(users_.begin(), users_.end(), [&](auto& one) { return predicate(*one); });
  }

  template <class Predicate>
  void settle(Predicate done) {
    const int64_t deadline_ns = base::now_ns() + kPatience_ns;
    for (int round = 0; !done(); ++round) {
      expect(base::now_ns() < deadline_ns, "it does not go on");
      turn(round < 20 ? 0 : kMillisecond_ns);
      // A ring that was left behind lets go of its sockets some milliseconds late.
      if (round > 100) std::this_thread::sleep_for(std::chrono::milliseconds(1));
      for (size_t i = 0; i < far_.size(); ++i)
        far_[i].receive(sockets_[i], SIZE_MAX);
    }
  }

  void end_gracefully() {
    for (auto& user : users_) {
      if (!user->alive()) continue;
      user->set_own_memory(300);
      user->call(Call::resume, 0);
    }
    settle([&] { return all_of_users([](StreamUser& one) { return one.has_everything(); }); });
    for (int i = 0; i < 5; ++i)
      turn();
    for (auto& user : users_) {
      if (!user->alive() || user->closed()) continue;
      user->call(user->has_number() ? Call::close : Call::abort, 0);
    }
    settle([&] { return all_of_users([](StreamUser& one) { return one.ended(); }); });
    for (size_t i = 0; i < users_.size(); ++i) {
      if (users_[i]->was_aborted() || sockets_[i].out_loose || !far_[i].fd.valid()) continue;
      // A close with unread data is a reset, which loses what was on its way to the peer.
      if (users_[i]->received_count() < sockets_[i].in_sent) continue;
      settle([&] { return far_[i].saw_end; });
      expect(far_[i].taken == sockets_[i].written, "the peer did not get everything");
    }
  }

  uint32_t mode_;
  ptrdiff_t descriptors_before_;
  FaultLayer faults_;
  Installed installed_;
  reactor::Statistics statistics_;
  std::unique_ptr<reactor::Reactor> reactor_;
  net::Context context_;
  std::vector<StreamSocket> sockets_;
  std::vector<FarEnd> far_;
  std::vector<std::unique_ptr<StreamUser>> users_;
  RealWatches watches_;
};

}  // namespace

std::unique_ptr<World> make_real_world(uint32_t mode, bool ring) {
  return std::make_unique<RealWorld>(mode, ring);
}

}  // namespace rloop::hunt
