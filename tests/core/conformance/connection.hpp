// A Stream with its owner, as tests need it: it notes every event.
//
// The owner closes the descriptor in on_closed, as transports do, and aborts on errors unless the
// test says otherwise. What is written is kept alive by a counted keeper: `held` says how many
// segments the core still holds. `upcall` is run last in every event, where user code would be.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "conformance/engines.hpp"
#include "conformance/sockets.hpp"
#include "net/stream.hpp"

namespace rloop::test {

enum class Event { data, buffer, eof, sent, read_error, write_error, closed };

class Connection final : public net::StreamEvents {
 public:
  Connection(net::Context& context, base::UniqueFd fd)
      : stream(context, *this, fd.get()), fd_(std::move(fd)) {}

  void write(std::string bytes, bool at_once = false) {
    auto* owned = new std::string(std::move(bytes));
    owned->shrink_to_fit();
    auto* held_by = new Held{std::unique_ptr<std::string>(owned), &held};
    ++held;
    stream.write({reinterpret_cast<const std::byte*>(owned->data()), owned->size(),
                  net::Keeper(held_by, release)},
                 at_once);
  }

  void on_data(std::span<const std::byte> data) override {
    received.append(reinterpret_cast<const char*>(data.data()), data.size());
    happen(Event::data);
  }
  std::span<std::byte> next_buffer(size_t) override {
    if (asked) asked();
    return own_buffer;
  }
  void on_buffer_filled(size_t size) override {
    received.append(reinterpret_cast<const char*>(own_buffer.data()), size);
    happen(Event::buffer);
  }
  void on_eof() override {
    eof = true;
    happen(Event::eof);
  }
  void on_sent() override { happen(Event::sent); }
  void on_error(net::IoStep step, int error_number) override {
    error = error_number;
    happen(step == net::IoStep::read ? Event::read_error : Event::write_error);
    if (aborts_on_error) stream.abort();
  }
  void on_closed() override {
    ++closed_count;
    fd_.reset();
    happen(Event::closed);
  }

  bool closed() const { return closed_count > 0; }

  std::string received;
  std::vector<std::byte> own_buffer;  // given to the stream when it reads into buffers
  bool eof = false;
  int error = 0;
  int closed_count = 0;
  int held = 0;
  bool aborts_on_error = true;
  std::function<void(Event)> upcall;
  std::function<void()> asked;  // for memory; where user code would be
  net::Stream stream;

 private:
  struct Held {
    std::unique_ptr<std::string> bytes;
    int* count;
  };
  static void release(void* object) {
    auto* held_by = static_cast<Held*>(object);
    --*held_by->count;
    delete held_by;
  }
  void happen(Event event) {
    if (upcall) upcall(event);
  }

  base::UniqueFd fd_;
};

// Two connected streams on the same reactor; aborted at the end if the test did not close them.
class ConnectionTest : public EngineTest {
 protected:
  void connect(SocketPair pair) {
    near_ = std::make_unique<Connection>(context_, std::move(pair.near));
    far_ = std::make_unique<Connection>(context_, std::move(pair.far));
  }
  void connect_and_read(SocketPair pair) {
    connect(std::move(pair));
    near_->stream.start_reading();
    far_->stream.start_reading();
  }

  void TearDown() override {
    for (Connection* connection : {near_.get(), far_.get()}) {
      if (!connection) continue;
      connection->upcall = nullptr;
      connection->stream.abort();
      EXPECT_TRUE(run_until([&] { return connection->closed(); }));
      EXPECT_EQ(connection->closed_count, 1);
      EXPECT_EQ(connection->held, 0) << "a segment was not released";
    }
    near_.reset();
    far_.reset();
    EngineTest::TearDown();
  }

  std::unique_ptr<Connection> near_;
  std::unique_ptr<Connection> far_;
};

}  // namespace rloop::test
