// The owner of a Datagram as a transport is one, and the oracle of what it sees.
//
// Datagrams and errors in the order in which they came, none lost, none twice; nothing while paused
// or after the end; each refused datagram reported once; `on_closed` once and last.
#pragma once

#include <array>
#include <memory>

#include "hunt/datagram_kernel.hpp"
#include "net/datagram.hpp"

namespace rloop::hunt {

class DatagramUser final : public net::DatagramEvents {
 public:
  enum class Event : uint8_t { datagram, error, sent, joining, closed };
  static constexpr size_t kEventCount = 5;
  enum class Call : uint8_t { send, send_at_once, flush, pause, resume, close, abort, interrupt };
  static constexpr size_t kCallCount = 8;

  DatagramUser(net::Context& context, DatagramKernel& kernel, int family);
  ~DatagramUser();

  void call(Call call, size_t size);
  void react(Event event, Call call) {
    reactions_[static_cast<size_t>(event)] = static_cast<int>(call);
  }
  void forget_reactions() { reactions_.fill(-1); }
  void abandon();
  void close_number();
  void expect_everything_received() const;
  void expect_end() const;

  net::Datagram& datagram() { return *datagram_; }
  bool alive() const { return datagram_ != nullptr; }
  bool closed() const { return closed_; }

  bool deletes_at_end = false;

  void on_datagram(std::span<const std::byte> data, const base::Address& from) override;
  void on_error(net::IoStep step, int error_number) override;
  void on_sent() override;
  void on_joining() override;
  void on_closed() override;

 private:
  struct Held;
  void send(size_t size, bool at_once);
  static void release(void* object);
  void expect_reading() const;
  void happen(Event event);

  net::Context& context_;
  DatagramKernel& kernel_;
  int holder_ = kFirstNumber;
  bool paused_ = false, closing_ = false, aborted_ = false, joined_ = false, closed_ = false;
  bool abandoned_ = false;
  size_t seen_ = 0;  // of what came in
  size_t errors_seen_ = 0;
  int held_count_ = 0;
  std::array<int, kEventCount> reactions_;
  std::unique_ptr<net::Datagram> datagram_;
};

}  // namespace rloop::hunt
