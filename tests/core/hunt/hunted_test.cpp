// A part of the hunt that every test run makes: the same seeds each time, and the sequences that
// found something once.
#include <gtest/gtest.h>

#include <array>

#include "hunt/hunt.hpp"
#include "hunt/stream_steps.hpp"
#include "reactor/capabilities.hpp"

namespace rloop::hunt {
namespace {

#if defined(__SANITIZE_ADDRESS__)
constexpr uint64_t kSteps = 150'000, kRealSteps = 15'000;
#else
constexpr uint64_t kSteps = 2'000'000, kRealSteps = 60'000;
#endif

class HuntTest : public testing::TestWithParam<WorldKind> {};
INSTANTIATE_TEST_SUITE_P(Scripted, HuntTest,
                         testing::Values(WorldKind::stream, WorldKind::datagram,
                                         WorldKind::listener, WorldKind::watch),
                         [](const auto& info) { return std::string(world_name(info.param)); });

TEST_P(HuntTest, TheFirstSeedsFindNothing) {
  std::array worlds = {GetParam()};
  Outcome outcome = hunt(worlds, {.steps = kSteps, .progress = false});
  EXPECT_EQ(outcome.failure, "") << "--world " << world_name(outcome.world) << " --replay "
                                 << outcome.seed;
}

class RealHuntTest : public testing::TestWithParam<WorldKind> {};
INSTANTIATE_TEST_SUITE_P(Real, RealHuntTest,
                         testing::Values(WorldKind::real_epoll, WorldKind::real_uring),
                         [](const auto& info) { return std::string(world_name(info.param)); });

TEST_P(RealHuntTest, TheFirstSeedsFindNothing) {
  if (GetParam() == WorldKind::real_uring && !reactor::probe_io_uring().capabilities.ring) {
    GTEST_SKIP() << reactor::probe_io_uring().reason;
  }
  std::array worlds = {GetParam()};
  Outcome outcome = hunt(worlds, {.steps = kRealSteps, .progress = false});
  EXPECT_EQ(outcome.failure, "") << "--world " << world_name(outcome.world) << " --replay "
                                 << outcome.seed;
}

// --- what was found ------------------------------------------------------------------------------

TEST(HuntedTest, AWriteBehindAnAbortThatLeftSomethingUnsent) {
  Case sequence{WorldKind::stream,
                577,
                {
                    {stream::data, 0, 1},
                    {stream::enter, 0, 0},
                    {stream::advance, 0, 0},
                    {stream::reset, 0, 0},
                    {stream::write, 0, 1},
                    {stream::dispatch, 0, 0},
                    {stream::write, 0, 0},
                    {stream::dispatch_ends, 0, 0},
                }};
  EXPECT_EQ(failure_of(sequence), "");
}

TEST(HuntedTest, APauseAndAResumeInsideNextBufferBeforeTheEnd) {
  Case sequence{WorldKind::stream,
                280,
                {
                    {stream::end_of_data, 0, 0},
                    {stream::react, 153, 7782},
                    {stream::advance, 0, 0},
                }};
  EXPECT_EQ(failure_of(sequence), "");
}

TEST(HuntedTest, AResumeInsideOnClosedWithKeptData) {
  Case sequence{WorldKind::stream,
                645,
                {
                    {stream::enter, 0, 0},
                    {stream::data, 0, 1},
                    {stream::pause, 0, 0},
                    {stream::react, 121, 6234},
                    {stream::refuse, 0, 747},
                    {stream::write, 0, 1},
                    {stream::advance, 0, 0},
                    {stream::dispatch_others, 0, 0},
                    {stream::turn, 0, 0},
                }};
  EXPECT_EQ(failure_of(sequence), "");
}

}  // namespace
}  // namespace rloop::hunt
