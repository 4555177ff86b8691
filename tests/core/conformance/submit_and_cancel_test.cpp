// Each operation, submitted and cancelled in each of its states, on every engine.
//
// The states are queued (the kernel does not know it yet), in flight, and finishing (the result is
// known and waits for dispatch). Whatever happens, exactly one final completion comes, and a
// result that won the race against the cancel is kept.
#include "conformance/engines.hpp"
#include "conformance/owners.hpp"
#include "conformance/sockets.hpp"

namespace rloop::test {
namespace {

class SubmitTest : public EngineTest {};
class CancelTest : public EngineTest {};
INSTANTIATE_TEST_SUITE_P(Engines, SubmitTest, every_engine(), engine_name);
INSTANTIATE_TEST_SUITE_P(Engines, CancelTest, every_engine(), engine_name);

TEST_P(SubmitTest, AReceiveBringsTheBytesHome) {
  if (!can_lend()) GTEST_SKIP() << "a receive needs buffers to be lent";
  SocketPair pair = unix_pair();
  op::Descriptor descriptor(pair.near.get());
  Receiver receiver(descriptor);
  reactor_->submit(receiver.operation);
  write_all(pair.far.get(), "hello");
  ASSERT_TRUE(run_until([&] { return receiver.ended(); }));
  EXPECT_EQ(receiver.bytes, "hello");
  EXPECT_TRUE(receiver.operation.idle());
}

TEST_P(SubmitTest, AMultishotReceiveGoesOnUntilTheEndOfTheStream) {
  if (!reactor_->capabilities().multishot_recv || !can_lend()) {
    GTEST_SKIP() << "no multishot receive here";
  }
  SocketPair pair = unix_pair();
  op::Descriptor descriptor(pair.near.get());
  Receiver receiver(descriptor);
  receiver.operation.set_multishot(true);
  reactor_->submit(receiver.operation);
  for (std::string expected; expected.size() < 50;) {
    write_all(pair.far.get(), "12345");
    expected += "12345";
    ASSERT_TRUE(run_until([&] { return receiver.bytes == expected; }));
    ASSERT_EQ(receiver.final_count, 0);
  }
  pair.far.reset();
  ASSERT_TRUE(run_until([&] { return receiver.ended(); }));
  EXPECT_EQ(receiver.results.back().value(), 0);
}

TEST_P(SubmitTest, ASendDeliversItsRangesInOrder) {
  SocketPair pair = tcp_pair();
  op::Descriptor descriptor(pair.near.get());
  Sender sender(descriptor);
  const std::string parts[] = {"one ", "two ", "three"};
  for (size_t i = 0; i < 3; ++i) {
    sender.operation.ranges()[i] = {const_cast<char*>(parts[i].data()), parts[i].size()};
  }
  sender.operation.set_range_count(3);
  reactor_->submit(sender.operation);
  ASSERT_TRUE(run_until([&] { return sender.ended(); }));
  EXPECT_EQ(sender.results.back().value(), 13);
  EXPECT_EQ(read_available(pair.far.get()), "one two three");
}

TEST_P(SubmitTest, APollComesHomeWhenTheDescriptorIsReady) {
  SocketPair pair = unix_pair();
  op::Descriptor descriptor(pair.near.get());
  Poller poller(descriptor, op::Direction::read);
  reactor_->submit(poller.operation);
  turns(3);
  EXPECT_FALSE(poller.ended());
  write_all(pair.far.get(), "x");
  ASSERT_TRUE(run_until([&] { return poller.ended(); }));
  EXPECT_EQ(read_available(pair.near.get()), "x");
}

TEST_P(SubmitTest, APollOfAForeignDescriptorCanBeRepeated) {
  SocketPair pair = unix_pair();
  op::Descriptor descriptor(pair.near.get(), /*is_owned=*/false);
  Poller poller(descriptor, op::Direction::read);
  for (int round = 1; round <= 5; ++round) {
    reactor_->submit(poller.operation);
    turns(2);
    ASSERT_EQ(poller.final_count, round - 1);
    write_all(pair.far.get(), "x");
    ASSERT_TRUE(run_until([&] { return poller.final_count == round; }));
    read_available(pair.near.get());
  }
}

TEST_P(SubmitTest, TwoPollsOfOneForeignDescriptorBothComeHome) {
  SocketPair pair = unix_pair();
  op::Descriptor first(pair.near.get(), false), second(pair.near.get(), false);
  Poller one(first, op::Direction::read), two(second, op::Direction::read);
  Poller writer(first, op::Direction::write);
  fill(pair.near.get());
  for (Poller* poller : {&one, &two, &writer})
    reactor_->submit(poller->operation);
  turns(3);
  EXPECT_FALSE(one.ended() || two.ended() || writer.ended());
  write_all(pair.far.get(), "x");
  ASSERT_TRUE(run_until([&] { return one.ended() && two.ended(); }));
  EXPECT_FALSE(writer.ended());
  read_available(pair.far.get());
  ASSERT_TRUE(run_until([&] { return writer.ended(); }));
}

TEST_P(SubmitTest, AFullSubmissionQueueDelaysNobody) {
  constexpr size_t kPolls = 1000;
  SocketPair pair = unix_pair();
  op::Descriptor descriptor(pair.near.get(), false);
  std::vector<std::unique_ptr<Poller>> pollers;
  for (size_t i = 0; i < kPolls; ++i) {
    pollers.push_back(std::make_unique<Poller>(descriptor, op::Direction::read));
    reactor_->submit(pollers.back()->operation);
  }
  turns(2);
  write_all(pair.far.get(), "x");
  auto all_ended = [&] {
    for (auto& poller : pollers) {
      if (!poller->ended()) return false;
    }
    return true;
  };
  ASSERT_TRUE(run_until(all_ended));
  for (auto& poller : pollers)
    EXPECT_EQ(poller->final_count, 1);
}

TEST_P(SubmitTest, AThousandCancelsAtOnceAllComeHome) {
  constexpr size_t kPolls = 1000;
  SocketPair pair = unix_pair();
  op::Descriptor descriptor(pair.near.get(), false);
  std::vector<std::unique_ptr<Poller>> pollers;
  for (size_t i = 0; i < kPolls; ++i) {
    pollers.push_back(std::make_unique<Poller>(descriptor, op::Direction::read));
    reactor_->submit(pollers.back()->operation);
  }
  turns(2);
  for (auto& poller : pollers)
    reactor_->cancel(poller->operation);
  auto all_idle = [&] {
    for (auto& poller : pollers) {
      if (!poller->operation.idle()) return false;
    }
    return true;
  };
  ASSERT_TRUE(run_until(all_idle));
  for (auto& poller : pollers) {
    EXPECT_EQ(poller->final_count, 1);
    EXPECT_EQ(poller->last_error(), ECANCELED);
  }
}

TEST_P(SubmitTest, ABadDescriptorIsAnErrorOfTheOperation) {
  op::Descriptor descriptor(1 << 20);
  Poller poller(descriptor, op::Direction::read);
  reactor_->submit(poller.operation);
  ASSERT_TRUE(run_until([&] { return poller.ended(); }));
  EXPECT_EQ(poller.last_error(), EBADF);
}

TEST_P(SubmitTest, APostedNoticeComesInTheNextDispatch) {
  op::Descriptor nothing(-1);
  Note note(nothing);
  reactor_->post(note.operation, base::Result::count(7));
  EXPECT_FALSE(note.ended());
  EXPECT_TRUE(reactor_->has_undispatched());
  reactor_->dispatch();
  EXPECT_EQ(note.results.back().value(), 7);
  EXPECT_FALSE(reactor_->has_undispatched());
}

TEST_P(SubmitTest, ASendMayFollowASendFromItsOwnCompletion) {
  SocketPair pair = unix_pair();
  op::Descriptor descriptor(pair.near.get());
  Sender sender(descriptor);
  const std::string piece = "piece.";
  load(sender, piece);
  int left = 9;
  sender.upcall = [&](const op::Completion&) {
    if (left-- > 0) reactor_->submit(sender.operation);
  };
  reactor_->submit(sender.operation);
  ASSERT_TRUE(run_until([&] { return sender.final_count == 10; }));
  EXPECT_EQ(read_available(pair.far.get()).size(), 60U);
}

// --- cancel ---------------------------------------------------------------------------------

TEST_P(CancelTest, AQueuedOperationComesHomeCancelled) {
  SocketPair pair = unix_pair();
  op::Descriptor descriptor(pair.near.get());
  Receiver receiver(descriptor);
  Sender sender(descriptor);
  const std::string bytes = "never sent";
  load(sender, bytes);
  fill(pair.near.get());
  reactor_->submit(receiver.operation);
  reactor_->submit(sender.operation);
  reactor_->cancel(receiver.operation);
  reactor_->cancel(sender.operation);
  EXPECT_FALSE(receiver.operation.idle()) << "a cancel is a request, not a release";
  ASSERT_TRUE(run_until([&] { return receiver.ended() && sender.ended(); }));
  EXPECT_EQ(receiver.last_error(), ECANCELED);
  EXPECT_EQ(sender.last_error(), ECANCELED);
  EXPECT_EQ(read_available(pair.far.get()).find("never"), std::string::npos);
}

TEST_P(CancelTest, AReceiveInFlightComesHomeCancelledAndTakesNoByte) {
  if (!can_lend()) GTEST_SKIP() << "a receive needs buffers to be lent";
  SocketPair pair = unix_pair();
  op::Descriptor descriptor(pair.near.get());
  Receiver receiver(descriptor);
  reactor_->submit(receiver.operation);
  turns(2);
  reactor_->cancel(receiver.operation);
  reactor_->cancel(receiver.operation);  // asking twice is asking once
  ASSERT_TRUE(run_until([&] { return receiver.ended(); }));
  turns(3);
  EXPECT_EQ(receiver.final_count, 1);
  EXPECT_EQ(receiver.last_error(), ECANCELED);
  write_all(pair.far.get(), "kept");
  turns(3);
  EXPECT_EQ(read_available(pair.near.get()), "kept");
}

TEST_P(CancelTest, APollInFlightComesHomeCancelled) {
  for (bool owned : {true, false}) {
    SocketPair pair = unix_pair();
    op::Descriptor descriptor(pair.near.get(), owned);
    Poller poller(descriptor, op::Direction::read);
    reactor_->submit(poller.operation);
    turns(2);
    reactor_->cancel(poller.operation);
    ASSERT_TRUE(run_until([&] { return poller.ended(); }));
    EXPECT_EQ(poller.last_error(), ECANCELED);
  }
}

TEST_P(CancelTest, ASendInFlightTellsHowMuchWentOut) {
  SocketPair pair = tcp_pair();
  shrink_buffers(pair);
  op::Descriptor descriptor(pair.near.get());
  Sender sender(descriptor);
  const std::string bytes = pattern(4 << 20);
  load(sender, bytes);
  reactor_->submit(sender.operation);
  turns(5);
  if (!sender.ended()) reactor_->cancel(sender.operation);
  ASSERT_TRUE(run_until([&] { return sender.ended(); }));
  size_t sent = sender.results.back().ok() ? static_cast<size_t>(sender.results.back().value()) : 0;
  EXPECT_LT(sent, bytes.size());
  // The far end gets exactly the bytes that the completion owned up to.
  pair.near.reset();
  EXPECT_EQ(read_to_end(pair.far.get()), bytes.substr(0, sent));
}

TEST_P(CancelTest, AFinishedOperationIsNotCancelled) {
  if (!can_lend()) GTEST_SKIP() << "a receive needs buffers to be lent";
  SocketPair pair = unix_pair();
  op::Descriptor descriptor(pair.near.get());
  Receiver receiver(descriptor);
  op::Descriptor nothing(-1);
  Note note(nothing);
  write_all(pair.far.get(), "won");
  reactor_->submit(receiver.operation);
  reactor_->post(note.operation, base::Result(0));
  note.upcall = [&](const op::Completion&) { reactor_->cancel(receiver.operation); };
  // The ring has the result before the note cancels; epoll attempts after it, and is cancelled.
  ASSERT_TRUE(run_until([&] { return receiver.ended(); }));
  std::string rest = read_available(pair.near.get());
  EXPECT_EQ(receiver.bytes + rest, "won") << "no byte is lost, whoever won";
  EXPECT_EQ(receiver.final_count, 1);
}

TEST_P(CancelTest, ACancelThatLosesTheRaceKeepsTheData) {
  if (!can_lend()) GTEST_SKIP() << "a receive needs buffers to be lent";
  SocketPair pair = unix_pair();
  op::Descriptor descriptor(pair.near.get());
  Receiver receiver(descriptor);
  receiver.operation.set_multishot(reactor_->capabilities().multishot_recv);
  reactor_->submit(receiver.operation);
  turns(2);
  write_all(pair.far.get(), "in time");
  reactor_->cancel(receiver.operation);
  ASSERT_TRUE(run_until([&] { return receiver.ended(); }));
  EXPECT_EQ(receiver.bytes + read_available(pair.near.get()), "in time");
}

TEST_P(CancelTest, ACancelledOperationCanBeSubmittedAgainFromItsCompletion) {
  SocketPair pair = unix_pair();
  op::Descriptor descriptor(pair.near.get());
  Poller poller(descriptor, op::Direction::read);
  poller.upcall = [&](const op::Completion& completion) {
    if (completion.result.is(ECANCELED)) reactor_->submit(poller.operation);
  };
  reactor_->submit(poller.operation);
  turns(2);
  reactor_->cancel(poller.operation);
  ASSERT_TRUE(run_until([&] { return poller.final_count == 1; }));
  turns(2);
  EXPECT_EQ(poller.final_count, 1) << "the old cancel must not reach the new submission";
  write_all(pair.far.get(), "x");
  ASSERT_TRUE(run_until([&] { return poller.final_count == 2; }));
  EXPECT_TRUE(poller.results.back().ok());
}

TEST_P(CancelTest, AnIdleOperationIsNotCancelled) {
  SocketPair pair = unix_pair();
  op::Descriptor descriptor(pair.near.get());
  Poller poller(descriptor, op::Direction::read);
  reactor_->cancel(poller.operation);
  turns(2);
  EXPECT_EQ(poller.final_count, 0);
}

}  // namespace
}  // namespace rloop::test
