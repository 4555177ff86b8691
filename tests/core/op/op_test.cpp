// What every operation keeps: its states, and the rules of its ownership, which are asserted.
//
// From submit to the final completion an operation belongs to the reactor. The death tests here
// are the rules that every owner relies on; that reactors keep the states right is in
// conformance/ and in the tests of both engines.
#include "op/op.hpp"

#include <gtest/gtest.h>

#include "conformance/owners.hpp"

namespace rloop::op {
namespace {

TEST(OperationTest, ACompletionComesHomeToTheMember) {
  Descriptor descriptor(-1);
  test::Note note(descriptor);
  note.operation.complete({.result = base::Result::count(3), .more = true});
  note.operation.complete({.result = base::Result::error(EPIPE)});
  EXPECT_EQ(note.results.size(), 2U);
  EXPECT_EQ(note.final_count, 1);
  EXPECT_EQ(note.last_error(), EPIPE);
}

TEST(OperationTest, IsIdleAtFirst) {
  Descriptor descriptor(-1);
  test::Note note(descriptor);
  EXPECT_TRUE(note.operation.idle());
  EXPECT_FALSE(note.operation.multishot());
  EXPECT_EQ(&note.operation.descriptor(), &descriptor);
}

TEST(OperationDeathTest, MustNotDieInFlight) {
  Descriptor descriptor(-1);
  EXPECT_DEATH(
      {
        test::Note note(descriptor);
        note.operation.set_state(State::in_flight);
      },
      "destroyed while in flight");
}

TEST(OperationDeathTest, MustNotBeChangedInFlight) {
  Descriptor descriptor(-1);
  test::Receiver receiver(descriptor);
  receiver.operation.set_state(State::queued);
  EXPECT_DEATH(receiver.operation.set_multishot(true), "changed while in flight");
  receiver.operation.set_state(State::idle);
}

TEST(DescriptorTest, AShortReadDrainsUntilAHangUp) {
  Descriptor descriptor(-1);
  descriptor.ready[0] = descriptor.ready[1] = true;
  descriptor.note_short(Direction::read);
  EXPECT_FALSE(descriptor.ready[0]);
  EXPECT_TRUE(descriptor.ready[1]);
  descriptor.ready[0] = true;
  descriptor.hung_up = true;
  descriptor.note_short(Direction::read);
  EXPECT_TRUE(descriptor.ready[0]) << "no further edge comes: reads go on until one returns 0";
  descriptor.mark_drained(Direction::read);
  EXPECT_FALSE(descriptor.ready[0]);
}

}  // namespace
}  // namespace rloop::op
