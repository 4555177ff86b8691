// What both engines share: the queue of arrivals, its batches, and what it must not do.
//
// A reactor without a kernel shows the queue; the ownership rules at the door (post and submit take
// idle operations only) are asserted. What dispatch does with the queue on real engines is in
// conformance/turn_test.cpp.
#include "reactor/reactor.hpp"

#include <gtest/gtest.h>

#include "conformance/owners.hpp"
#include "net/fake_reactor.hpp"

namespace rloop::reactor {
namespace {

// Shows the queue of the reactor that every engine derives from.
class OpenReactor final : public Reactor {
 public:
  using Reactor::arrivals_;
  using Reactor::die;
  using Reactor::Reactor;

  void dispatch() override { run_batch(begin_batch()); }
  using Reactor::run_batch;
  void run_batch() override {
    for (Arrival arrival; next_arrival(arrival);) {
      bring_home(*arrival.operation, {.result = arrival.result});
    }
  }
  void submit(op::Operation&) override {}
  void cancel(op::Operation&) override {}
  bool sends_wait_for_room() const override { return true; }
  base::Result watch(int, op::Direction, Watcher&) override { return base::Result(0); }
  bool unwatch(int, op::Direction) override { return false; }
  bool needs_poll() override { return false; }
  void prepare_wait(int64_t) override {}
  void block() override {}
  base::Result collect() override { return base::Result(0); }
  void wake() override {}
  base::Result attach_to_thread() override { return base::Result(0); }
  void quiesce() override {}
  void move_to(Reactor&) override {}
  size_t drain(int64_t) override { return 0; }
  void start_over() override {}
  void give_up(base::Result) override {}
  void abandon() override {}
  const char* name() const override { return "open"; }
};

class ReactorTest : public testing::Test {
 protected:
  Statistics statistics_;
  OpenReactor reactor_{Config{}, statistics_};
  op::Descriptor nothing_{-1};
};

TEST_F(ReactorTest, AQueueThatNeverRunsEmptyDoesNotGrow) {
  // Each completion posts another: a stream that is paused and resumed on every turn.
  test::Note first(nothing_), second(nothing_);
  first.upcall = [&](const op::Completion&) { reactor_.post(second.operation, base::Result(0)); };
  second.upcall = [&](const op::Completion&) { reactor_.post(first.operation, base::Result(0)); };
  reactor_.post(first.operation, base::Result(0));
  for (int turn = 0; turn < 20'000; ++turn)
    reactor_.dispatch();
  EXPECT_EQ(first.final_count, 10'000);
  EXPECT_LT(reactor_.arrivals_.size(), 2000U);
  reactor_.die();
}

TEST_F(ReactorTest, EndsComeAfterACompletionThatThrew) {
  test::Note first(nothing_), second(nothing_);
  first.upcall = [&](const op::Completion&) { throw std::bad_alloc(); };
  reactor_.hasten(second.operation);
  reactor_.post(first.operation, base::Result(0));
  reactor_.post(second.operation, base::Result(0));
  EXPECT_THROW(reactor_.dispatch_others(), std::bad_alloc);
  for (int i = 0; i < 10; ++i)
    reactor_.dispatch();  // what drain does
  EXPECT_TRUE(second.ended());
  reactor_.die();
}

TEST_F(ReactorTest, ForgettingInsideACompletionEndsTheBatch) {
  test::Note first(nothing_), second(nothing_);
  first.upcall = [&](const op::Completion&) { reactor_.die(); };
  reactor_.post(first.operation, base::Result(0));
  reactor_.post(second.operation, base::Result(0));
  reactor_.dispatch();
  EXPECT_TRUE(first.ended());
  EXPECT_FALSE(second.ended());
  EXPECT_TRUE(second.operation.idle());
  reactor_.dispatch();
}

TEST_F(ReactorTest, TheEndsOfHastenedOperationsComeFirst) {
  test::Note data(nothing_), closing(nothing_), closing_later(nothing_);
  std::string order;
  data.upcall = [&](const op::Completion&) { order += "data "; };
  closing.upcall = [&](const op::Completion&) { order += "end "; };
  closing_later.upcall = [&](const op::Completion&) { order += "posted "; };
  reactor_.dispatch_ends();  // nothing is hastened
  reactor_.post(data.operation, base::Result(0));
  reactor_.post(closing.operation, base::Result(0));
  reactor_.hasten(closing.operation);
  reactor_.hasten(closing.operation);  // twice is once
  reactor_.hasten(closing_later.operation);
  reactor_.post(closing_later.operation, base::Result(0));
  reactor_.dispatch_ends();
  EXPECT_EQ(order, "end posted ");
  EXPECT_TRUE(closing.ended());
  EXPECT_FALSE(data.ended());
  reactor_.dispatch_ends();  // nothing more is hastened
  EXPECT_FALSE(data.ended());
  reactor_.dispatch();
  EXPECT_EQ(order, "end posted data ");
  EXPECT_FALSE(reactor_.has_undispatched());
}

TEST_F(ReactorTest, WhatEndsDuringATurnWaitsForTheNext) {
  test::Note data(nothing_), more(nothing_), closing(nothing_);
  reactor_.hasten(closing.operation);
  reactor_.post(data.operation, base::Result(0));
  reactor_.post(closing.operation, base::Result(0));
  reactor_.post(more.operation, base::Result(0));
  reactor_.dispatch_others();
  EXPECT_TRUE(data.ended());
  EXPECT_TRUE(more.ended());
  EXPECT_FALSE(closing.ended());
  EXPECT_TRUE(reactor_.has_undispatched());
  reactor_.dispatch_ends();
  EXPECT_TRUE(closing.ended());
}

TEST_F(ReactorTest, AnInterruptedBatchOfEndsGoesOnLater) {
  test::Note first(nothing_), second(nothing_), data(nothing_);
  first.upcall = [&](const op::Completion&) { reactor_.interrupt_dispatch(); };
  reactor_.post(data.operation, base::Result(0));
  for (test::Note* note : {&first, &second}) {
    reactor_.hasten(note->operation);
    reactor_.post(note->operation, base::Result(0));
  }
  reactor_.dispatch_ends();
  EXPECT_TRUE(first.ended());
  EXPECT_FALSE(second.ended());
  EXPECT_FALSE(data.ended());
  reactor_.dispatch();
  EXPECT_TRUE(second.ended());
  EXPECT_TRUE(data.ended());
}

TEST_F(ReactorTest, CompletionsAreCounted) {
  test::Note note(nothing_);
  reactor_.post(note.operation, base::Result(0));
  reactor_.dispatch();
  EXPECT_EQ(statistics_.completions, 1U);
  EXPECT_EQ(reactor_.scratch().size(), reactor_.config().scratch_size);
}

using ReactorDeathTest = ReactorTest;

TEST_F(ReactorDeathTest, AnOperationInFlightIsNotPosted) {
  test::Note note(nothing_);
  reactor_.post(note.operation, base::Result(0));
  EXPECT_DEATH(reactor_.post(note.operation, base::Result(0)), "posted while in flight");
  reactor_.dispatch();
}

TEST(EngineDeathTest, AnOperationInFlightIsNotSubmitted) {
  Statistics statistics;
  std::unique_ptr<Reactor> reactor = make_epoll_reactor({}, statistics);
  ASSERT_TRUE(reactor->attach_to_thread().ok());
  op::Descriptor descriptor(0);
  test::Note note(descriptor);
  reactor->post(note.operation, base::Result(0));
  EXPECT_DEATH(reactor->submit(note.operation), "submitted while in flight");
  reactor->drain(0);
}

TEST(EngineTest, SleepingEndsWithTheWait) {
  Statistics statistics;
  std::unique_ptr<Reactor> reactor = make_epoll_reactor({}, statistics);
  ASSERT_TRUE(reactor->attach_to_thread().ok());
  reactor->announce_sleep();
  reactor->wake();
  reactor->wake();  // one write is enough
  ASSERT_TRUE(reactor->wait(base::kNever).ok());
  reactor->dispatch();
  EXPECT_EQ(reactor->drain(0), 0U);
}

}  // namespace
}  // namespace rloop::reactor
