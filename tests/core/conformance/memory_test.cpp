// Ends without memory, on every engine: whatever allocation fails, nothing is left in flight.
//
// operator new of this program fails from the n-th allocation on, or there alone, for n = 0, 1, ...
// while an owner ends and the loop turns. std::bad_alloc may come out of the call or of the turn;
// it never ends the process, and with memory back the owner ends once, with all that it held
// released.
#include <unistd.h>

#include <cstdlib>
#include <deque>
#include <exception>
#include <memory>
#include <new>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "conformance/connection.hpp"
#include "conformance/endpoint.hpp"
#include "conformance/owners.hpp"
#include "net/listener.hpp"

namespace {

constexpr long kNever = -1;
long allowed_left = kNever;  // allocations until one fails
bool fails_on = false;       // also those after it

void* allocate(size_t size) {
  if (allowed_left == 0) {
    if (!fails_on) allowed_left = kNever;
    throw std::bad_alloc();
  }
  if (allowed_left > 0) --allowed_left;
  void* memory = std::malloc(size > 0 ? size : 1);
  if (!memory) throw std::bad_alloc();
  return memory;
}

}  // namespace

void* operator new(size_t size) {
  return allocate(size);
}
void* operator new[](size_t size) {
  return allocate(size);
}
// As the standard's own does; a sanitizer's would not fit the delete below.
void* operator new(size_t size, const std::nothrow_t&) noexcept {
  try {
    return allocate(size);
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}
// Not inlined: GCC would see free() where it saw operator new, and call that a mistake.
[[gnu::noinline]] void operator delete(void* memory) noexcept {
  std::free(memory);
}
void operator delete[](void* memory) noexcept {
  operator delete(memory);
}
void operator delete(void* memory, size_t) noexcept {
  operator delete(memory);
}
void operator delete[](void* memory, size_t) noexcept {
  operator delete(memory);
}

namespace rloop::test {
namespace {

constexpr long kMostAllocations = 30;  // more than any of these ends makes

class MemoryTest : public EngineTest {
 protected:
  // Calls act() and turns, without memory from allocation `allowed` on.
  template <class Act>
  void without_memory(long allowed, bool on, Act act) {
    allowed_left = allowed;
    fails_on = on;
    try {
      act();
    } catch (const std::bad_alloc&) {
      // the caller is told
    }
    for (int i = 0; i < 3; ++i) {
      try {
        context_.flush_dirty();
        reactor_->wait(0);
        reactor_->dispatch();
      } catch (const std::bad_alloc&) {
        // and so is the loop
      }
    }
    allowed_left = kNever;
  }
  // check(allowed, on) for every allocation that may fail, alone and with those after it.
  template <class Check>
  void for_each_failure(Check check) {
    for (bool on : {false, true}) {
      for (long allowed = 0; allowed < kMostAllocations; ++allowed) {
        SCOPED_TRACE(allowed);
        check(allowed, on);
        if (testing::Test::HasFatalFailure()) return;
      }
    }
  }
};
INSTANTIATE_TEST_SUITE_P(Engines, MemoryTest, every_engine(), engine_name);

TEST_P(MemoryTest, AStreamEnds) {
  for (bool gracefully : {true, false}) {
    for_each_failure([&](long allowed, bool on) {
      SocketPair pair = tcp_pair();
      shrink_buffers(pair);
      Connection connection(context_, std::move(pair.near));
      connection.stream.start_reading();
      connection.write(pattern(1 << 20));
      turns(3);
      without_memory(allowed, on,
                     [&] { gracefully ? connection.stream.close() : connection.stream.abort(); });
      connection.stream.abort();
      ASSERT_TRUE(run_until([&] { return connection.closed(); }));
      turns(2);
      EXPECT_EQ(connection.closed_count, 1);
      EXPECT_EQ(connection.held, 0);
    });
  }
}

// What the caller was told was not taken is not sent, nor anything in its place.
TEST_P(MemoryTest, AStreamWhoseQueueCannotGrowSendsWhatItHas) {
  for_each_failure([&](long allowed, bool on) {
    SocketPair pair = tcp_pair();
    Connection connection(context_, std::move(pair.near));
    static constexpr std::byte kSegment[] = {std::byte{'s'}, std::byte{'e'}, std::byte{'g'}};
    std::string expected;
    expected.reserve(100);
    without_memory(allowed, on, [&] {
      for (int i = 0; i < 9; ++i) {
        connection.stream.append({kSegment, sizeof(kSegment), {}});
        expected += "seg";
      }
    });
    EXPECT_EQ(connection.stream.backlog_bytes(), expected.size());
    connection.stream.push(true);
    EXPECT_EQ(read_available(pair.far.get()), expected);
    connection.stream.abort();
    ASSERT_TRUE(run_until([&] { return connection.closed(); }));
  });
}

// Nothing of it is sent, or the caller knows that the connection is lost, or all of it arrives.
TEST_P(MemoryTest, AStreamWritesMoreThanTheKernelTakes) {
  const std::string all = pattern(1 << 20);
  for_each_failure([&](long allowed, bool on) {
    SocketPair pair = tcp_pair();
    shrink_buffers(pair);
    Connection connection(context_, std::move(pair.near));
    bool refused = false;
    without_memory(allowed, on, [&] {
      absl::Cleanup note = [&, before = std::uncaught_exceptions()] {
        refused = std::uncaught_exceptions() > before;
      };
      connection.stream.write({reinterpret_cast<const std::byte*>(all.data()), all.size(), {}});
    });
    if (allowed == 0) {
      EXPECT_EQ(connection.error, ENOMEM) << "a part has gone";
    }
    std::string arrived;
    auto receive = [&] {
      arrived += read_available(pair.far.get());
      return arrived.size() == all.size();
    };
    if (!refused && connection.error == 0) {
      EXPECT_TRUE(run_until(receive));
    } else if (connection.error == 0) {
      EXPECT_TRUE(connection.stream.open());
    }
    receive();
    EXPECT_EQ(arrived, all.substr(0, arrived.size()));
    connection.stream.abort();
    ASSERT_TRUE(run_until([&] { return connection.closed(); }));
    EXPECT_EQ(connection.closed_count, 1);
  });
}

TEST_P(MemoryTest, ADatagramSocketEnds) {
  for_each_failure([&](long allowed, bool on) {
    base::UniqueFd fd(::socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    Endpoint endpoint(context_, std::move(fd), AF_INET);
    endpoint.datagram.start_reading();
    turns(3);
    without_memory(allowed, on, [&] { endpoint.datagram.abort(); });
    endpoint.datagram.abort();
    ASSERT_TRUE(run_until([&] { return endpoint.closed_count > 0; }));
    EXPECT_EQ(endpoint.closed_count, 1);
  });
}

class StoppedOnce final : public net::ListenerEvents {
 public:
  void on_accepted(base::UniqueFd, const base::Address&) override {}
  void on_exhausted(int) override {}
  void on_accept_error(int) override {}
  void on_stopped() override { ++stopped_count; }
  int stopped_count = 0;
};

TEST_P(MemoryTest, AListenerStops) {
  for_each_failure([&](long allowed, bool on) {
    TestListener socket = listen_on_loopback();
    StoppedOnce owner;
    net::Listener listener(context_, owner, socket.fd.get());
    listener.start();
    turns(3);
    without_memory(allowed, on, [&] { listener.stop(); });
    listener.stop();
    ASSERT_TRUE(run_until([&] { return owner.stopped_count > 0; }));
    EXPECT_EQ(owner.stopped_count, 1);
  });
}

// Also where the table of the watched descriptors cannot grow.
TEST_P(MemoryTest, AWatchIsMadeOrNot) {
  for_each_failure([&](long allowed, bool on) {
    SocketPair pair = unix_pair();
    base::UniqueFd copy(::dup(pair.near.get()));
    Watching first, second;
    without_memory(allowed, on, [&] {
      reactor_->watch(pair.near.get(), op::Direction::read, first);
      reactor_->watch(copy.get(), op::Direction::read, second);
    });
    for (auto& [fd, watcher] : {std::pair(pair.near.get(), &first), std::pair(copy.get(), &second)})
      ASSERT_TRUE(reactor_->watch(fd, op::Direction::read, *watcher).ok());
    write_all(pair.far.get(), "x");
    ASSERT_TRUE(run_until([&] { return first.count > 0 && second.count > 0; }));
    for (int fd : {pair.near.get(), copy.get()})
      EXPECT_TRUE(reactor_->unwatch(fd, op::Direction::read));
  });
}

// However many operations are under way: each number is where another table is full.
TEST_P(MemoryTest, AWaitIsMadeOrNot) {
  constexpr size_t kMostUnderWay = 80;
  for (size_t under_way = 0; under_way < kMostUnderWay; ++under_way) {
    SCOPED_TRACE(under_way);
    for (long allowed = 0; allowed < 4; ++allowed) {
      reactor::Statistics statistics;
      std::unique_ptr<reactor::Reactor> reactor = make_reactor(GetParam(), statistics);
      ASSERT_TRUE(reactor->attach_to_thread().ok());
      SocketPair pair = unix_pair();
      op::Descriptor descriptor(pair.near.get(), /*is_owned=*/false);
      std::deque<Note> others;
      for (size_t i = 0; i < under_way; ++i)
        reactor->post(others.emplace_back(descriptor).operation, base::Result(0));
      Poller poller(descriptor, op::Direction::read);
      bool refused = false;
      allowed_left = allowed;
      fails_on = false;
      try {
        reactor->submit(poller.operation);
      } catch (const std::bad_alloc&) {
        refused = true;
      }
      allowed_left = kNever;
      EXPECT_EQ(poller.operation.idle(), refused);
      reactor->drain(kSecond_ns);
      ASSERT_TRUE(poller.operation.idle());
      EXPECT_EQ(poller.final_count, refused ? 0 : 1);
    }
  }
}

}  // namespace
}  // namespace rloop::test
