// A message of an owner to itself is posted; no kernel ever sees it.
//
// An engine that prepared or attempted one would have been given it by submit instead of post,
// which is an error of the owner and fatal. That a posted notice comes in the next dispatch is in
// conformance/submit_and_cancel_test.cpp.
#include "op/notice.hpp"

#include <gtest/gtest.h>
#include <liburing.h>

#include "conformance/owners.hpp"

namespace rloop::op {
namespace {

TEST(NoticeDeathTest, IsNeverSubmitted) {
  Descriptor descriptor(-1);
  test::Note note(descriptor);
  io_uring_sqe sqe{};  // as io_uring_get_sqe gives it
  EXPECT_DEATH(note.operation.prepare(sqe), "posted, never submitted");
  EXPECT_DEATH(note.operation.attempt({}), "posted, never submitted");
}

}  // namespace
}  // namespace rloop::op
