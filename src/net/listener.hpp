// A listening socket that accepts for as long as it is started.
//
// The socket may be shared with processes that the loop knows nothing of (workers that inherited
// it), so a connection is taken only by a loop that is about to serve it: readiness is waited for
// without exclusivity, in an epoll set on both engines, and accept4(2) runs until poll(2) finds
// none, or to the round's bound, which is less where each connection means much work; the next
// round begins when those of the last one had their first turns. Everything else stays in the
// kernel's backlog for whoever is free, and stopping touches nothing that others hold. (An accept
// of the ring waits exclusively, and takes connections for a process that is busy, stopped or about
// to leave.)
//
// Owns the poll, not the listening socket. When the process is out of descriptors or memory the
// owner is told, and calls start() again after asyncio's one second: going on at once would spin.
// Loop's thread, GIL held.
#pragma once

#include "base/address.hpp"
#include "base/fd.hpp"
#include "net/context.hpp"
#include "op/notice.hpp"
#include "op/poll.hpp"

namespace rloop::net {

class ListenerEvents {
 public:
  // `peer` is empty when the kernel gave no address.
  virtual void on_accepted(base::UniqueFd connection, const base::Address& peer) = 0;
  // EMFILE, ENFILE, ENOBUFS, ENOMEM: accepting is suspended; call start() later.
  virtual void on_exhausted(int error_number) = 0;
  // Accepting cannot go on (the descriptor is no listening socket any more).
  virtual void on_accept_error(int error_number) = 0;
  // The last event after stop().
  virtual void on_stopped() = 0;

 protected:
  ~ListenerEvents() = default;
};

class Listener {
 public:
  Listener(Context& context, ListenerEvents& events, int fd)
      : context_(context), events_(&events), descriptor_(fd) {}

  // `holder`: where the Python socket keeps its number; see op::Descriptor::follow.
  void follow(const int* holder) { descriptor_.follow(holder); }
  void start();
  // Ends accepting. The descriptor may be closed when this returns; on_stopped comes later.
  void stop();
  void abandon();  // stop without any further event; for the end of the loop

  int fd() const { return descriptor_.fd; }
  bool stopping() const { return state_ == State::stopping || stopped(); }
  bool stopped() const { return state_ == State::stopped; }

 private:
  enum class State : uint8_t { suspended, accepting, stopping, stopped };

  void on_readable(const op::Completion& completion);
  void accept_some();
  bool connection_waits();
  int most_of_round();
  int most_by_work();
  void note_end_of_round();
  void wait_again();
  void on_rest(const op::Completion& completion);
  void fail(int error_number);
  void try_stop();
  void on_stop(const op::Completion& completion);

  Context& context_;
  ListenerEvents* events_;
  op::Descriptor descriptor_;
  State state_ = State::suspended;
  // The last round of accepts: how many it took, and how long the loop had been busy by its end;
  // and how many rounds in a row left something behind.
  int taken_ = 1;
  int taken_before_ = 1;
  int64_t worked_before_ns_ = 0;  // after the round before
  int64_t busy_at_round_end_ns_ = 0;
  int full_rounds_ = 0;
  // The bound of the next round, but for work: of the first one of a burst, and twice as many
  // behind each that left something behind. So other workers have the time to wake up.
  static constexpr int kFirstRound = 2;
  int pace_ = kFirstRound;
  int rests_left_ = 0;  // turns until the next round
  op::Completes<op::Poll, &Listener::on_readable> poll_{*this, descriptor_, op::Direction::read,
                                                        op::Readiness::by_epoll_set};
  op::Completes<op::Notice, &Listener::on_rest> rest_{*this, descriptor_};
  op::Completes<op::Notice, &Listener::on_stop> stop_{*this, descriptor_};
};

}  // namespace rloop::net
