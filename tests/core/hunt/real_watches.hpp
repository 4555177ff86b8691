// A watcher and a one-shot poll on descriptors of the program's, for the real world: both are in
// the engine's watch set, beside the streams.
#pragma once

#include "conformance/owners.hpp"
#include "conformance/sockets.hpp"
#include "hunt/failure.hpp"

namespace rloop::hunt {

class RealWatches {
 public:
  RealWatches() {
    poller_.upcall = [this](const op::Completion&) { ++polls_home_; };
  }

  void toggle_watch(reactor::Reactor& reactor) {
    int fd = watched_.near.get();
    if (watching_) {
      expect(reactor.unwatch(fd, op::Direction::read), "nobody was watching");
    } else {
      expect(reactor.watch(fd, op::Direction::read, watcher_).ok(), "watch failed");
    }
    watching_ = !watching_;
  }

  void toggle_poll(reactor::Reactor& reactor) {
    if (!poller_.operation.idle()) return reactor.cancel(poller_.operation);
    ++polls_;
    reactor.submit(poller_.operation);
  }

  // `settle(done)` runs the loop until done(). The engine is asked for each time: it may change.
  template <class Engine, class Settle>
  void end(Engine engine, Settle settle) {
    if (watching_) {
      test::write_all(watched_.far.get(), "x");
      int before = watcher_.count;
      settle([&] { return watcher_.count > before; });
      toggle_watch(engine());
    }
    if (!poller_.operation.idle()) engine().cancel(poller_.operation);
    settle([&] { return poller_.operation.idle(); });
    expect(polls_home_ == polls_, "a poll came home too often");
  }

  void close() {
    for (test::SocketPair* pair : {&watched_, &polled_}) {
      pair->near.reset();
      pair->far.reset();
    }
  }

 private:
  test::SocketPair watched_ = test::unix_pair(), polled_ = test::unix_pair();
  test::Watching watcher_;
  bool watching_ = false;
  op::Descriptor polled_descriptor_{polled_.near.get(), false};
  test::Poller poller_{polled_descriptor_, op::Direction::read};
  int polls_ = 0, polls_home_ = 0;
};

}  // namespace rloop::hunt
