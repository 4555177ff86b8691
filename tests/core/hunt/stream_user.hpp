// The owner of a Stream as a transport is one, and the oracle of what it sees.
//
// It notes what it asked for, and says at each event whether that event may come: bytes in order,
// none lost before the end, nothing while paused or after the end, segments released neither early
// nor twice, `on_closed` once and last. Inside an event it does what the sequence told it to.
#pragma once

#include <array>
#include <memory>
#include <vector>

#include "hunt/script_reactor.hpp"
#include "hunt/stream_kernel.hpp"
#include "net/stream.hpp"

namespace rloop::hunt {

class StreamUser final : public net::StreamEvents {
 public:
  enum class Event : uint8_t { data, buffer, filled, eof, sent, error, joining, closed };
  static constexpr size_t kEventCount = 8;
  // What the user can do at any time; also inside an event.
  enum class Call : uint8_t {
    write,
    write_at_once,
    write_eof,
    close,
    abort,
    pause,
    resume,
    reader_kind,
    flush_now,
    interrupt,
    resume_and_pause,
    pause_and_resume,
    push,
    close_number,
    enter,
    hand_over,
  };
  static constexpr size_t kCallCount = 16;

  // `script`: where sends in flight can be looked up, if anywhere.
  StreamUser(net::Context& context, StreamSocket& socket, int fd, const ScriptReactor* script);
  ~StreamUser();

  void call(Call call, size_t size);
  void write(size_t size, bool at_once);
  void append(size_t size);
  void set_own_memory(size_t size) { own_memory_.resize(size); }
  // Inside the next event of this sort.
  void react(Event event, Call call) {
    reactions_[static_cast<size_t>(event)] = static_cast<int>(call);
  }
  void forget_reactions() { reactions_.fill(-1); }
  void abandon();

  // What must be true when nothing is under way and nothing stopped the user from reading.
  void expect_everything_received() const;
  void expect_end() const;

  net::Stream& stream() { return *stream_; }
  bool alive() const { return stream_ != nullptr; }
  bool closed() const { return closed_; }
  bool open() const { return !closing_ && !aborted_; }
  bool ended() const { return closed_ || (abandoned_ && stream_->closed()); }
  bool was_aborted() const { return aborted_; }
  bool has_number() const { return holder_ >= 0; }
  uint64_t received_count() const { return received_; }
  // Nothing more is to come to it.
  bool has_everything() const;
  StreamSocket& socket() { return socket_; }
  // The program closes the socket that it holds as well.
  void close_number();

  bool aborts_on_error = true;
  bool deletes_at_end = false;  // the stream is gone when on_closed returns

  void on_data(std::span<const std::byte> data) override;
  std::span<std::byte> next_buffer(size_t hint) override;
  std::span<std::byte> memory_for_much(size_t most) override;
  void on_buffer_unused() override { much_is_lent_ = false; }
  void on_buffer_filled(size_t size) override;
  void on_eof() override;
  void on_sent() override;
  void on_error(net::IoStep step, int error_number) override;
  void on_joining() override;
  void on_closed() override;

 private:
  struct Held;
  net::Segment make_segment(size_t size);
  static void release(void* object);
  void received(std::span<const std::byte> data);
  void expect_reading() const;
  void happen(Event event);

  net::Context& context_;
  StreamSocket& socket_;
  const ScriptReactor* script_;
  int fd_;
  int holder_;  // where the program keeps the number
  bool paused_ = false, closing_ = false, aborted_ = false, joined_ = false, closed_ = false;
  bool abandoned_ = false, eof_written_ = false, read_ended_ = false, got_eof_ = false;
  uint64_t received_ = 0;
  int held_count_ = 0;
  bool uses_buffers_ = false;
  bool paused_in_buffer_ = false;  // inside the last next_buffer
  bool ended_in_buffer_ = false;   // ... whose receive is under way
  std::vector<std::byte> own_memory_;
  std::vector<std::byte> much_;  // lent until data or on_buffer_unused
  bool much_is_lent_ = false;
  std::array<int, kEventCount> reactions_;
  std::unique_ptr<net::Stream> stream_;
};

}  // namespace rloop::hunt
