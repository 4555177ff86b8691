// One turn of the loop: waiting, waking, timeouts, and what dispatch does and leaves.
//
// Timeouts are never early, a wake from another thread is never lost, a busy turn has no reason to
// enter the kernel, and a completion that interrupts dispatch leaves the rest for the next turn.
// What one turn of Python's loop makes of it is tested in tests/loop.
#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <thread>

#include "conformance/engines.hpp"
#include "conformance/owners.hpp"
#include "conformance/sockets.hpp"

namespace rloop::test {
namespace {

class WaitTest : public EngineTest {};
class WakeTest : public EngineTest {};
class DispatchTest : public EngineTest {};
INSTANTIATE_TEST_SUITE_P(Engines, WaitTest, every_engine(), engine_name);
INSTANTIATE_TEST_SUITE_P(Engines, WakeTest, every_engine(), engine_name);
INSTANTIATE_TEST_SUITE_P(Engines, DispatchTest, every_engine(), engine_name);

TEST_P(WaitTest, ATimeoutIsNeverEarly) {
  turns(3);  // the waker's read is on its way to the kernel
  for (int64_t timeout_ns : {int64_t{1}, int64_t{999}, int64_t{50'000}, int64_t{999'999},
                             int64_t{1'000'001}, int64_t{20'500'000}}) {
    // A wait may be interrupted (the kernel still takes down the ring of the test before), but a
    // timeout that is rounded down would be early every time.
    int early_count = 0;
    for (int attempt = 0; attempt < 5; ++attempt) {
      int64_t deadline_ns = base::now_ns() + timeout_ns;
      ASSERT_TRUE(reactor_->wait(timeout_ns).ok());
      if (base::now_ns() < deadline_ns) ++early_count;
      EXPECT_FALSE(reactor_->has_undispatched());
    }
    EXPECT_LT(early_count, 5) << timeout_ns;
  }
}

TEST_P(WaitTest, AWaitDoesNotBlockWhileSomethingWaitsForDispatch) {
  op::Descriptor nothing(-1);
  Note note(nothing);
  reactor_->post(note.operation, base::Result(0));
  int64_t before_ns = base::now_ns();
  ASSERT_TRUE(reactor_->wait(kPatience_ns).ok());
  EXPECT_LT(base::now_ns() - before_ns, kPatience_ns / 2);
  reactor_->dispatch();
  EXPECT_TRUE(note.ended());
}

void ignore_signal(int) {}

TEST_P(WaitTest, ASignalEndsTheWaitWithoutAnError) {
  struct sigaction handling{};
  handling.sa_handler = ignore_signal;
  struct sigaction before{};
  ::sigaction(SIGUSR1, &handling, &before);
  turns(3);
  std::atomic<bool> returned = false;
  std::thread sender([&, target = ::pthread_self()] {
    // Repeated, because a signal before the wait would end nothing.
    while (!returned) {
      ::pthread_kill(target, SIGUSR1);
      std::this_thread::yield();
    }
  });
  int64_t before_ns = base::now_ns();
  base::Result result = reactor_->wait(kPatience_ns);
  returned = true;
  sender.join();
  EXPECT_TRUE(result.ok());
  EXPECT_LT(base::now_ns() - before_ns, kPatience_ns / 2);
  ::sigaction(SIGUSR1, &before, nullptr);
}

TEST_P(WaitTest, ABusyTurnHasNoReasonToEnterTheKernel) {
  if (!is_ring()) GTEST_SKIP() << "epoll cannot know without asking; it asks every 20 us";
  turn(1);  // the first wait that may block makes the ring
  turns(3);
  uint64_t syscalls = statistics_.syscalls;
  for (int i = 0; i < 100; ++i) {
    EXPECT_FALSE(reactor_->needs_poll());
    turn(0);
  }
  EXPECT_EQ(statistics_.syscalls, syscalls);
}

TEST_P(WaitTest, WhatWasSubmittedOrArrivedIsAReasonToEnterTheKernel) {
  SocketPair pair = unix_pair();
  op::Descriptor descriptor(pair.near.get());
  Poller poller(descriptor, op::Direction::read);
  turn(1);  // the first wait that may block makes the ring
  turns(3);
  reactor_->submit(poller.operation);
  EXPECT_TRUE(reactor_->needs_poll() || !is_ring());
  EXPECT_EQ(reactor_->must_enter(), is_ring());
  turns(2);
  EXPECT_FALSE(reactor_->must_enter());
  write_all(pair.far.get(), "x");
  const int64_t deadline_ns = base::now_ns() + kPatience_ns;
  while (!reactor_->needs_poll() && base::now_ns() < deadline_ns) {
  }
  EXPECT_TRUE(reactor_->needs_poll());
  turns(2);
  EXPECT_TRUE(poller.ended());
}

TEST_P(WaitTest, AnIdleWaitMakesOneSystemCall) {
  turns(3);
  uint64_t syscalls = statistics_.syscalls;
  turn(kMillisecond_ns);
  EXPECT_EQ(statistics_.syscalls, syscalls + 1);
}

TEST_P(WaitTest, WhereMuchCameAWaitLooksBeforeItSleeps) {
  turns(3);
  int wait_count = 0;
  int looked_count = 0;
  int early_count = 0;  // interrupted, as in ATimeoutIsNeverEarly
  while (looked_count < 5 && wait_count < 100) {
    ++wait_count;
    reactor_->note_received(reactor::Lingering::kMuch_bytes);
    uint64_t syscalls = statistics_.syscalls;
    int64_t deadline_ns = base::now_ns() + kMillisecond_ns;
    turn(kMillisecond_ns);
    if (statistics_.syscalls == syscalls + 1) continue;
    ++looked_count;
    if (base::now_ns() < deadline_ns) ++early_count;
  }
  EXPECT_EQ(looked_count, 5);
  EXPECT_GT(wait_count, looked_count) << "not so soon after a look in vain";
  EXPECT_LT(early_count, 5);
}

TEST_P(WaitTest, WhatALookFindsCostsNoOtherSystemCall) {
  SocketPair pair = unix_pair();
  op::Descriptor descriptor(pair.near.get());
  Poller poller(descriptor, op::Direction::read);
  turns(3);
  write_all(pair.far.get(), "x");
  reactor_->submit(poller.operation);
  reactor_->note_received(reactor::Lingering::kMuch_bytes);
  uint64_t syscalls = statistics_.syscalls;
  turn(kPatience_ns);
  EXPECT_TRUE(poller.ended());
  EXPECT_EQ(statistics_.syscalls, syscalls + 1);
}

TEST_P(WakeTest, AWakeEndsAWaitThatLooks) {
  turns(3);
  for (int i = 0; i < 500; ++i) {  // at any moment of it
    reactor_->note_received(reactor::Lingering::kMuch_bytes);
    reactor_->announce_sleep();
    std::thread other([&] {
      for (int spins = i * 10; spins > 0; --spins)
        std::atomic_signal_fence(std::memory_order_seq_cst);
      reactor_->wake();
    });
    int64_t before_ns = base::now_ns();
    turn(kPatience_ns);
    other.join();
    ASSERT_LT(base::now_ns() - before_ns, kPatience_ns / 2) << i;
  }
}

TEST_P(WakeTest, AWakeEndsAnAnnouncedWait) {
  reactor_->announce_sleep();
  std::thread other([&] { reactor_->wake(); });
  int64_t before_ns = base::now_ns();
  turn(kPatience_ns);
  other.join();
  EXPECT_LT(base::now_ns() - before_ns, kPatience_ns / 2);
}

TEST_P(WakeTest, AWakeOfALoopThatDoesNotSleepIsFree) {
  turns(3);
  for (int i = 0; i < 10; ++i)
    reactor_->wake();
  turns(2);
  EXPECT_FALSE(reactor_->has_undispatched());
  uint64_t completions = statistics_.completions;
  turn(kMillisecond_ns);
  EXPECT_EQ(statistics_.completions, completions);
}

TEST_P(WakeTest, NoWakeIsEverLost) {
  constexpr int kRounds = 5000;
  std::atomic<int> asked = 0, answered = 0;
  std::thread other([&] {
    for (int round = 1; round <= kRounds; ++round) {
      asked.store(round);
      reactor_->wake();
      while (answered.load() < round)
        std::this_thread::yield();
    }
  });
  bool lost = false;
  while (answered < kRounds && !lost) {
    reactor_->announce_sleep();
    bool ready = asked.load() > answered.load();
    int64_t before_ns = base::now_ns();
    turn(ready ? 0 : 2 * kSecond_ns);
    lost = base::now_ns() - before_ns > kSecond_ns;
    answered.store(asked.load());
  }
  EXPECT_FALSE(lost) << "after " << answered.load() << " wakes";
  answered.store(kRounds);
  other.join();
}

TEST_P(DispatchTest, AnInterruptLeavesTheRestForTheNextTurn) {
  op::Descriptor nothing(-1);
  Note first(nothing), second(nothing), third(nothing);
  for (Note* note : {&first, &second, &third})
    reactor_->post(note->operation, base::Result(0));
  first.upcall = [&](const op::Completion&) { reactor_->interrupt_dispatch(); };
  reactor_->dispatch();
  EXPECT_TRUE(first.ended());
  EXPECT_FALSE(second.ended());
  EXPECT_TRUE(reactor_->has_undispatched());
  turn();
  EXPECT_TRUE(second.ended() && third.ended());
}

TEST_P(DispatchTest, AnInterruptLeavesTheOtherDirectionOfTheSameDescriptor) {
  SocketPair pair = unix_pair();
  op::Descriptor descriptor(pair.near.get());
  Poller reader(descriptor, op::Direction::read), writer(descriptor, op::Direction::write);
  auto interrupt = [&](const op::Completion&) { reactor_->interrupt_dispatch(); };
  reader.upcall = writer.upcall = interrupt;
  write_all(pair.far.get(), "x");
  reactor_->submit(reader.operation);
  reactor_->submit(writer.operation);
  ASSERT_TRUE(run_until([&] { return reader.ended() || writer.ended(); }));
  EXPECT_NE(reader.ended(), writer.ended()) << "one completion per interrupted dispatch";
  ASSERT_TRUE(run_until([&] { return reader.ended() && writer.ended(); }));
}

TEST_P(DispatchTest, APostFromACompletionComesInTheNextDispatch) {
  op::Descriptor nothing(-1);
  Note first(nothing), second(nothing);
  first.upcall = [&](const op::Completion&) { reactor_->post(second.operation, base::Result(0)); };
  reactor_->post(first.operation, base::Result(0));
  reactor_->dispatch();
  EXPECT_FALSE(second.ended());
  reactor_->dispatch();
  EXPECT_TRUE(second.ended());
}

TEST_P(DispatchTest, ManyArrivalsAreRunInBatches) {
  constexpr size_t kNotes = 600;
  op::Descriptor nothing(-1);
  std::vector<std::unique_ptr<Note>> notes;
  std::vector<size_t> order;
  for (size_t i = 0; i < kNotes; ++i) {
    notes.push_back(std::make_unique<Note>(nothing));
    notes.back()->upcall = [&order, i](const op::Completion&) { order.push_back(i); };
    reactor_->post(notes.back()->operation, base::Result(0));
  }
  reactor_->dispatch();
  EXPECT_EQ(order.size(), 256U);
  EXPECT_TRUE(reactor_->has_undispatched());
  turns(3);
  ASSERT_EQ(order.size(), kNotes);
  EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
}

TEST_P(DispatchTest, AnOperationMayCancelOneThatWaitsInTheSameBatch) {
  SocketPair pair = unix_pair(), other_pair = unix_pair();
  op::Descriptor descriptor(pair.near.get()), other_descriptor(other_pair.near.get());
  Poller one(descriptor, op::Direction::read), two(other_descriptor, op::Direction::read);
  one.upcall = [&](const op::Completion&) { reactor_->cancel(two.operation); };
  two.upcall = [&](const op::Completion&) { reactor_->cancel(one.operation); };
  write_all(pair.far.get(), "x");
  write_all(other_pair.far.get(), "x");
  reactor_->submit(one.operation);
  reactor_->submit(two.operation);
  ASSERT_TRUE(run_until([&] { return one.ended() && two.ended(); }));
  turns(3);
  EXPECT_EQ(one.final_count + two.final_count, 2);
}

TEST_P(DispatchTest, ADescriptorMayDieInTheTurnAfterItsLastCompletion) {
  // The writer's completion starts the receive, which ends in the same dispatch: nothing of the
  // engine may refer to the descriptor after that.
  if (!can_lend()) GTEST_SKIP() << "a receive needs buffers to be lent";
  SocketPair pair = unix_pair();
  auto descriptor = std::make_unique<op::Descriptor>(pair.near.get());
  auto writer = std::make_unique<Poller>(*descriptor, op::Direction::write);
  auto receiver = std::make_unique<Receiver>(*descriptor);
  fill(pair.near.get());
  reactor_->submit(writer->operation);
  write_all(pair.far.get(), "x");
  turns(3);
  writer->upcall = [&](const op::Completion&) { reactor_->submit(receiver->operation); };
  read_available(pair.far.get());
  ASSERT_TRUE(run_until([&] { return receiver->ended(); }));
  writer.reset();
  receiver.reset();
  descriptor.reset();
  turns(3);
}

}  // namespace
}  // namespace rloop::test
