// A listening socket that accepts for as long as it is started.
//
// Owns the accept operation and the descriptors that nobody has taken yet, not the listening
// socket. When the process is out of descriptors or memory the owner is told, and calls start()
// again after asyncio's one second: re-arming at once would spin. A connection that was accepted
// while a stop was under way closes itself. Loop's thread, GIL held.
#pragma once

#include "base/fd.hpp"
#include "net/context.hpp"
#include "op/accept.hpp"
#include "op/notice.hpp"

namespace rloop::net {

class ListenerEvents {
 public:
  virtual void on_accepted(base::UniqueFd connection) = 0;
  // EMFILE, ENFILE, ENOBUFS, ENOMEM: accepting is suspended; call start() later.
  virtual void on_exhausted(int error_number) = 0;
  // Accepting cannot go on (the descriptor is no listening socket any more).
  virtual void on_accept_error(int error_number) = 0;
  // The last event after stop(): the descriptor may be closed.
  virtual void on_stopped() = 0;

 protected:
  ~ListenerEvents() = default;
};

class Listener {
 public:
  Listener(Context& context, ListenerEvents& events, int fd)
      : context_(context), events_(&events), descriptor_(fd) {}

  void start();
  // Ends accepting. True: the kernel has let go of the descriptor already, and it may be closed
  // at once. False: not before on_stopped. Either way on_stopped comes.
  bool stop();
  void abandon();  // stop without any further event; for the end of the loop
  // Accept one at a time from now on: some kernels (6.3 to 6.8) gave bad descriptors otherwise.
  void distrust_multishot() { trust_multishot_ = false; }

  int fd() const { return descriptor_.fd; }
  bool stopped() const { return state_ == State::stopped; }

 private:
  enum class State : uint8_t { suspended, accepting, stopping, stopped };

  void on_accept(const op::Completion& completion);
  void fail(int error_number);
  void try_stop();
  void on_stop(const op::Completion& completion);

  Context& context_;
  ListenerEvents* events_;
  op::Descriptor descriptor_;
  State state_ = State::suspended;
  bool trust_multishot_ = true;
  op::Completes<op::Accept, &Listener::on_accept> accept_{*this, descriptor_};
  op::Completes<op::Notice, &Listener::on_stop> stop_{*this, descriptor_};
};

}  // namespace rloop::net
