// A Datagram with its owner, as tests need it: it notes every event.
//
// The owner closes the descriptor in on_closed, as transports do. What is sent is kept alive by a
// counted keeper: `held` says how many datagrams the core still holds. `upcall` is run last in
// every event, where user code would be.
#pragma once

#include <arpa/inet.h>

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/fd.hpp"
#include "conformance/engines.hpp"
#include "net/datagram.hpp"

namespace rloop::test {

enum class DatagramEvent { datagram, error, sent, closed };

class Endpoint final : public net::DatagramEvents {
 public:
  Endpoint(net::Context& context, base::UniqueFd fd, int family)
      : datagram(context, *this, fd.get(), family), fd_(std::move(fd)) {
    base::Address::local(fd_.get(), address);
  }

  void send(std::string bytes, const base::Address& to = {}) {
    auto* held_by = new Held{std::move(bytes), &held};
    ++held;
    datagram.send({reinterpret_cast<const std::byte*>(held_by->bytes.data()), held_by->bytes.size(),
                   net::Keeper(held_by, release)},
                  to);
  }

  void on_datagram(std::span<const std::byte> data, const base::Address& from) override {
    received.emplace_back(reinterpret_cast<const char*>(data.data()), data.size());
    last_from = from;
    happen(DatagramEvent::datagram);
  }
  void on_error(net::IoStep step, int error_number) override {
    errors.push_back(error_number);
    last_step = step;
    happen(DatagramEvent::error);
  }
  void on_sent() override { happen(DatagramEvent::sent); }
  void on_closed() override {
    ++closed_count;
    fd_.reset();
    happen(DatagramEvent::closed);
  }

  int fd() const { return fd_.get(); }
  bool closed() const { return closed_count > 0; }

  std::vector<std::string> received;
  base::Address last_from;
  base::Address address;
  std::vector<int> errors;
  net::IoStep last_step = net::IoStep::read;
  int closed_count = 0;
  int held = 0;
  std::function<void(DatagramEvent)> upcall;
  net::Datagram datagram;

 private:
  struct Held {
    std::string bytes;
    int* count;
  };
  static void release(void* object) {
    auto* held_by = static_cast<Held*>(object);
    --*held_by->count;
    delete held_by;
  }
  void happen(DatagramEvent event) {
    if (upcall) upcall(event);
  }

  base::UniqueFd fd_;
};

// A UDP socket on the loopback, connected to `peer` if one is given.
inline base::UniqueFd udp_socket(int family = AF_INET, const Endpoint* peer = nullptr) {
  base::UniqueFd fd(::socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  const char* loopback = family == AF_INET ? "127.0.0.1" : "::1";
  base::Address any = *base::Address::parse(loopback, 0, family);
  EXPECT_EQ(::bind(fd.get(), any.data(), any.length()), 0);
  if (peer) {
    EXPECT_EQ(::connect(fd.get(), peer->address.data(), peer->address.length()), 0);
  }
  return fd;
}

}  // namespace rloop::test
