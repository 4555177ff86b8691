// A reactor whose kernel is a script: it decides what happens to each operation, and when.
//
// It takes operations like the ring (by their submission entries, which it reads) and completes
// them when the test says so: receives from the real socket, sends onto a `wire` of any length,
// cancels late or lost, completions that wait while the owner goes on. It asserts what every
// reactor may rely on: never two receives or two sends of one stream in flight. Header only.
#pragma once

#include <gtest/gtest.h>
#include <liburing.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <deque>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "reactor/reactor.hpp"

namespace rloop::test {

class FakeReactor final : public reactor::Reactor {
 public:
  // With `lends_buffers` streams receive through Recv, else through Poll.
  explicit FakeReactor(reactor::Statistics& statistics, bool multishot = true,
                       bool lends_buffers = true)
      : Reactor(small(), statistics) {
    capabilities_.multishot_recv = multishot;
    capabilities_.buffer_ring = lends_buffers;
  }

  void mask_ring() { capabilities_.ring = false; }
  // The next submit() finds no memory.
  void run_out_of_memory() { has_memory_ = false; }

  // --- what the owner asks for ---------------------------------------------------------------

  void submit(op::Operation& operation) override {
    RLOOP_ASSERT(operation.idle(), "an operation was submitted while in flight");
    if (!std::exchange(has_memory_, true)) throw std::bad_alloc();
    ++submit_count;
    operation.set_state(op::State::in_flight);
    io_uring_sqe sqe;
    std::memset(&sqe, 0, sizeof(sqe));
    operation.prepare(sqe);
    Pending pending{&operation, sqe.opcode, sqe.fd, sqe.addr, sqe.len};
    for (const Pending& other : in_flight_) {
      EXPECT_TRUE(other.fd != pending.fd || writes(other) != writes(pending))
          << "two operations of one direction on one socket";
    }
    in_flight_.push_back(pending);
  }
  void cancel(op::Operation& operation) override {
    if (operation.state() == op::State::in_flight) operation.set_cancel_requested(true);
  }

  // --- what the kernel does ------------------------------------------------------------------

  // Receives what is in the socket and completes polls that are ready.
  void receive() {
    for (Pending& pending : snapshot()) {
      if (pending.opcode == IORING_OP_RECV) receive_one(pending);
      if (pending.opcode == IORING_OP_POLL_ADD && !writes(pending)) poll_one(pending);
    }
  }
  // Says of every poll for reading that it is readable, true or not.
  void say_readable() { complete_polls(op::Direction::read, POLLIN); }
  // Completes the polls of those that wait for room: there is some, or a hang-up looks like it.
  void make_room(int events = POLLOUT) { complete_polls(op::Direction::write, events); }
  // Ends a receive in flight with an errno: ENOBUFS, ECANCELED, ...
  void fail_receive(int error_number) {
    for (Pending& pending : snapshot()) {
      if (!writes(pending)) complete(*pending.operation, -error_number, false, {});
    }
  }
  // A send in flight takes at most `limit` bytes onto the wire and ends; one that does not wait for
  // room takes what the real socket does.
  void send(size_t limit) {
    for (Pending& pending : snapshot()) {
      if (!is_send(pending)) continue;
      std::string taken = bytes_of(pending).substr(0, limit);
      int result = static_cast<int>(taken.size());
      if (sends_wait) {
        wire += taken;
      } else {
        ssize_t sent = ::send(pending.fd, taken.data(), taken.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
        result = sent < 0 ? -errno : static_cast<int>(sent);
      }
      complete(*pending.operation, result, false, {});
    }
  }
  void fail_send(int error_number) {
    for (Pending& pending : snapshot()) {
      if (is_send(pending)) complete(*pending.operation, -error_number, false, {});
    }
  }
  // Carries out the cancels that were asked for. Receives that have data win the race.
  void run_cancels() {
    for (Pending& pending : snapshot()) {
      if (!pending.operation->cancel_requested()) continue;
      if (pending.opcode == IORING_OP_RECV) receive_one(pending);
      if (pending.operation->state() == op::State::in_flight) {
        complete(*pending.operation, -ECANCELED, false, {});
      }
    }
  }

  // --- what the loop does --------------------------------------------------------------------

  void dispatch() override {
    size_t count = collected_.size();
    for (size_t i = 0; i < count && !collected_.empty(); ++i) {
      Collected collected = std::move(collected_.front());
      collected_.pop_front();
      auto* bytes = reinterpret_cast<const std::byte*>(collected.data.data());
      bring_home(*collected.operation, {.result = base::Result(collected.result),
                                        .more = collected.more,
                                        .data = {bytes, collected.data.size()}});
    }
    run_batch(begin_batch());
  }
  using Reactor::run_batch;
  void run_batch() override {
    for (Arrival arrival; next_arrival(arrival);) {
      bring_home(*arrival.operation, {.result = arrival.result});
    }
  }
  bool has_undispatched() const override {
    return Reactor::has_undispatched() || !collected_.empty();
  }
  void dispatch_all() {
    for (int i = 0; has_undispatched(); ++i) {
      ASSERT_LT(i, 1000) << "it never comes to rest";
      dispatch();
    }
  }

  size_t in_flight_count() const { return in_flight_.size() + collected_.size(); }
  bool sending() const { return std::any_of(in_flight_.begin(), in_flight_.end(), is_send); }
  bool waiting_for_room() const {
    return std::any_of(in_flight_.begin(), in_flight_.end(),
                       [](const Pending& pending) { return writes(pending) && !is_send(pending); });
  }
  bool receiving() const { return !std::all_of(in_flight_.begin(), in_flight_.end(), writes); }

  // --- what no stream needs ------------------------------------------------------------------

  base::Result watch(int, op::Direction, reactor::Watcher&) override { return base::Result(0); }
  bool unwatch(int, op::Direction) override { return false; }
  bool sends_wait_for_room() const override { return sends_wait; }
  bool needs_poll() override { return true; }
  void prepare_wait(int64_t) override {}
  void block() override {}
  base::Result collect() override { return base::Result(0); }
  void flush() override { ++flush_count; }
  void wake() override {}
  base::Result attach_to_thread() override { return base::Result(0); }
  void quiesce() override {}
  void move_to(Reactor&) override {}
  size_t drain(int64_t) override { return 0; }
  void start_over() override {}
  void give_up(base::Result) override {}
  void abandon() override {}
  const char* name() const override { return "fake"; }

  std::string wire;  // what sends took
  size_t submit_count = 0;
  size_t flush_count = 0;
  bool sends_wait = true;  // as epoll's; the ring's come home with "again"

 private:
  bool has_memory_ = true;
  struct Pending {
    op::Operation* operation;
    uint8_t opcode;
    int fd;
    uint64_t address;
    uint32_t length;
  };
  struct Collected {
    op::Operation* operation;
    int result;
    bool more;
    std::string data;
  };

  static reactor::Config small() {
    reactor::Config config;
    config.buffer_size = 64;
    config.scratch_size = 256;
    return config;
  }
  static bool is_send(const Pending& pending) {
    return pending.opcode == IORING_OP_SEND || pending.opcode == IORING_OP_SENDMSG;
  }
  static bool writes(const Pending& pending) {
    return pending.operation->direction() == op::Direction::write;
  }
  static std::string bytes_of(const Pending& pending) {
    if (pending.opcode == IORING_OP_SEND) {
      return {reinterpret_cast<const char*>(pending.address), pending.length};
    }
    const auto& message = *reinterpret_cast<const msghdr*>(pending.address);
    std::string bytes;
    for (size_t i = 0; i < message.msg_iovlen; ++i) {
      bytes.append(static_cast<const char*>(message.msg_iov[i].iov_base),
                   message.msg_iov[i].iov_len);
    }
    return bytes;
  }

  std::vector<Pending> snapshot() const { return in_flight_; }

  void receive_one(Pending& pending) {
    std::string data(config_.buffer_size, '\0');
    ssize_t got = ::recv(pending.fd, data.data(), data.size(), MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN) return;
    data.resize(got > 0 ? static_cast<size_t>(got) : 0);
    bool more = pending.operation->multishot() && got > 0;
    complete(*pending.operation, got < 0 ? -errno : static_cast<int>(got), more, std::move(data));
  }
  void complete_polls(op::Direction direction, int events) {
    for (Pending& pending : snapshot()) {
      if (pending.opcode != IORING_OP_POLL_ADD) continue;
      if (pending.operation->direction() != direction) continue;
      complete(*pending.operation, events, false, {});
    }
  }
  void poll_one(Pending& pending) {
    pollfd asked{.fd = pending.fd, .events = POLLIN, .revents = 0};
    if (::poll(&asked, 1, 0) > 0) complete(*pending.operation, POLLIN, false, {});
  }
  void complete(op::Operation& operation, int result, bool more, std::string data) {
    if (!more) {
      operation.set_state(op::State::finishing);
      std::erase_if(in_flight_, [&](Pending& pending) { return pending.operation == &operation; });
    }
    collected_.push_back({&operation, result, more, std::move(data)});
  }

  std::vector<Pending> in_flight_;
  std::deque<Collected> collected_;
};

}  // namespace rloop::test
