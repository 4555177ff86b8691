// The first look at io_uring, in processes that may not have it.
//
// The probe is cached for the life of a process, so nothing in this file probes in the test's own
// process: every look is taken in a forked child, some behind a seccomp filter or a limit. A
// child's exit code is the result.
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

#include "conformance/connection.hpp"
#include "conformance/process.hpp"

namespace rloop::test {
namespace {

// Whether this machine would give the test a ring at all.
bool machine_has_io_uring() {
  return run_in_child([] { return reactor::probe_io_uring().capabilities.ring ? kGood : kBad; }) ==
         kGood;
}

// 0 when a connection of `context` works: a message there and back.
int try_a_connection(net::Context& context) {
  SocketPair pair = unix_pair();
  Connection near(context, std::move(pair.near)), far(context, std::move(pair.far));
  near.stream.start_reading();
  far.stream.start_reading();
  far.upcall = [&](Event event) {
    if (event == Event::data) far.write("answer");
  };
  near.write("question");
  bool answered = run_until(context, [&] { return near.received == "answer"; });
  near.stream.abort();
  far.stream.abort();
  bool closed = run_until(context, [&] { return near.closed() && far.closed(); });
  return answered && closed ? kGood : kBad;
}

TEST(ProbeTest, WhatItSawIsWhatWorks) {
  if (!machine_has_io_uring()) GTEST_SKIP() << "io_uring is not available to this process";
  EXPECT_EQ(run_in_child([] {
              const reactor::Probe& probe = reactor::probe_io_uring();
              bool same = &probe == &reactor::probe_io_uring();
              bool explained = probe.error_number == 0 && !probe.reason.empty();
              bool multishot =
                  probe.capabilities.multishot_recv && probe.capabilities.multishot_recvmsg;
              return same && explained && multishot ? kGood : kBad;
            }),
            kGood);
}

// The kernel refuses for real, by a filter of this process. An emulator (qemu-user) lets nobody
// filter the calls that it makes itself, and has no io_uring to refuse.
class RefusedProbeTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!has_seccomp()) GTEST_SKIP() << "there are no seccomp filters here";
  }
};

TEST_F(RefusedProbeTest, ASeccompFilterIsExplained) {
  for (int error : {EPERM, ENOSYS}) {
    int code = run_in_child([error] {
      if (!refuse_io_uring(error)) return kBad;
      const reactor::Probe& probe = reactor::probe_io_uring();
      bool refused = !probe.capabilities.ring && probe.error_number == error;
      bool explained = probe.reason.find("seccomp") != std::string::npos ||
                       probe.reason.find("io_uring_disabled") != std::string::npos;
      return refused && explained ? kGood : kBad;
    });
    EXPECT_EQ(code, kGood) << "errno " << error;
  }
}

TEST_F(RefusedProbeTest, ARefusedRingThrowsWithTheReason) {
  int code = run_in_child([] {
    if (!refuse_io_uring(EPERM)) return kBad;
    reactor::Statistics statistics;
    try {
      reactor::make_ring_reactor({}, statistics);
    } catch (const std::system_error& error) {
      bool reason = std::string(error.what()).find("io_uring is not available") == 0;
      return error.code().value() == EPERM && reason ? kGood : kBad;
    }
    return kBad;
  });
  EXPECT_EQ(code, kGood);
}

TEST_F(RefusedProbeTest, TheEpollEngineNeedsNoRing) {
  int code = run_in_child([] {
    if (!refuse_io_uring(ENOSYS)) return kBad;
    reactor::Statistics statistics;
    auto reactor = reactor::make_epoll_reactor({}, statistics);
    net::Context context(reactor.get());
    if (!reactor->attach_to_thread().ok()) return kBad;
    int result = try_a_connection(context);
    return reactor->drain(0) == 0 ? result : kBad;
  });
  EXPECT_EQ(code, kGood);
}

TEST(ProbeTest, NoDescriptorLeftIsExplained) {
  if (!machine_has_io_uring()) GTEST_SKIP() << "io_uring is not available to this process";
  int code = run_in_child([] {
    rlimit limit{.rlim_cur = 3, .rlim_max = 3};
    ::syscall(SYS_close_range, 3U, ~0U, 0U);
    ::setrlimit(RLIMIT_NOFILE, &limit);
    const reactor::Probe& probe = reactor::probe_io_uring();
    bool explained = probe.reason.find("ulimit -n") != std::string::npos;
    return probe.error_number == EMFILE && explained ? kGood : kBad;
  });
  EXPECT_EQ(code, kGood);
}

// --- the memory-lock limit ------------------------------------------------------------------

class MemlockTest : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "only root can become an unprivileged user";
    if (!machine_has_io_uring()) GTEST_SKIP() << "io_uring is not available to this process";
  }
};

TEST_F(MemlockTest, ALowLimitShrinksTheRing) {
  int code = run_in_child([] {
    if (!become_user_with_memlock(256 * 1024)) return kBad;
    reactor::Statistics statistics;
    auto reactor = reactor::make_ring_reactor({}, statistics);
    net::Context context(reactor.get());
    if (!reactor->attach_to_thread().ok()) return kBad;
    int result = try_a_connection(context);
    return reactor->drain(kSecond_ns) == 0 ? result : kBad;
  });
  EXPECT_EQ(code, kGood);
}

TEST_F(MemlockTest, ALimitTooLowForTheRingLeavesEverythingToEpoll) {
  int code = run_in_child([] {
    if (!become_user_with_memlock(64 * 1024)) return kBad;
    reactor::Statistics statistics;
    auto ring = reactor::make_ring_reactor({}, statistics);
    base::Result attached = ring->attach_to_thread();
    if (attached.ok()) return kGood;  // kernels 5.12 to 6.12 charge no such memory
    if (!attached.is(ENOMEM)) return kBad;
    auto epoll = reactor::make_epoll_reactor({}, statistics);
    ring->move_to(*epoll);
    ring.reset();
    net::Context context(epoll.get());
    if (!epoll->attach_to_thread().ok()) return kBad;
    int result = try_a_connection(context);
    return epoll->drain(0) == 0 ? result : kBad;
  });
  EXPECT_EQ(code, kGood);
}

}  // namespace
}  // namespace rloop::test
