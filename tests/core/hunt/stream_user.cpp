// What the user does, and what it may see; see stream_user.hpp.
#include "hunt/stream_user.hpp"

#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

namespace rloop::hunt {

// One block of memory: this, then the bytes.
struct StreamUser::Held {
  StreamUser* user;
  uint64_t end;  // position of the last byte + 1
  size_t size;
  bool accepted;
  std::byte* bytes() { return reinterpret_cast<std::byte*>(this + 1); }
};

StreamUser::StreamUser(net::Context& context, StreamSocket& socket, int fd,
                       const ScriptReactor* script)
    : context_(context),
      socket_(socket),
      script_(script),
      fd_(fd),
      holder_(fd_),
      stream_(std::make_unique<net::Stream>(context, *this, fd_)) {
  reactions_.fill(-1);
  stream_->follow(&holder_);
}

StreamUser::~StreamUser() {
  // Whoever abandons closes as well.
  if (!closed_ && holder_ >= 0) SystemCalls::installed->close(fd_);
  expect(held_count_ == 0 || !closed_, "a segment was not released");
}

void StreamUser::call(Call call, size_t size) {
  net::Stream& stream = *stream_;
  switch (call) {
    case Call::write:
      return write(size, false);
    case Call::write_at_once:
      return write(size, true);
    case Call::write_eof:
      if (!open()) return;
      eof_written_ = true;
      stream.write_eof();
      return;
    case Call::close:
      closing_ = true;
      return stream.close();
    case Call::abort:
      aborted_ = true;
      return stream.abort();
    case Call::pause:
      paused_ = true;
      return stream.pause_reading();
    case Call::resume:
      paused_ = false;
      return stream.resume_reading();
    case Call::reader_kind:
      uses_buffers_ = !uses_buffers_;
      return stream.set_reads_into_buffers(uses_buffers_);
    case Call::flush_now:
      return stream.flush_now();
    case Call::interrupt:
      return context_.reactor->interrupt_dispatch();
    case Call::resume_and_pause:
      this->call(Call::resume, 0);
      return this->call(Call::pause, 0);
    case Call::pause_and_resume:
      this->call(Call::pause, 0);
      return this->call(Call::resume, 0);
    case Call::push:
      return stream.push();
    case Call::close_number:
      return close_number();
    case Call::enter:
      return context_.reactor->flush();
    case Call::hand_over:
      return context_.hand_over_if_due();
  }
}

// Nothing is promised for what was under way.
void StreamUser::close_number() {
  if (holder_ < 0 || closed_) return;
  holder_ = -1;
  socket_.out_loose = socket_.in_loose = true;
  if (!script_) SystemCalls::installed->close(fd_);  // a script's operations go on with the file
}

net::Segment StreamUser::make_segment(size_t size) {
  auto* held = static_cast<Held*>(std::malloc(sizeof(Held) + size));
  StreamSocket& to = socket();
  *held = {this, to.written + size, size, !joined_ && !closed_ && size > 0};
  NumberedBytes::write(to.number, to.written, {held->bytes(), size});
  if (held->accepted) to.written += size;
  ++held_count_;
  return {held->bytes(), size, net::Keeper(held, release)};
}

void StreamUser::release(void* object) {
  auto* held = static_cast<Held*>(object);
  StreamUser& user = *held->user;
  --user.held_count_;
  if (held->size > 0 && user.script_) {
    expect(!user.script_->sends_from(held->bytes(), held->size),
           "a segment was released while a send uses it");
  }
  StreamSocket& to = user.socket();
  expect(!to.exact || !held->accepted || to.out_loose || user.joined_ || user.closed_ ||
             held->end <= to.out_taken,
         "a segment was released before it was sent");
  std::memset(held->bytes(), 0xdd, held->size);
  std::free(held);
}

void StreamUser::write(size_t size, bool at_once) {
  if (eof_written_) return;  // an error of the user
  stream_->write(make_segment(size), at_once);
}

void StreamUser::append(size_t size) {
  if (eof_written_) return;
  stream_->append(make_segment(size));
}

void StreamUser::abandon() {
  abandoned_ = aborted_ = joined_ = true;
  stream_->abandon();
}

// --- events ----------------------------------------------------------------------------------

void StreamUser::expect_reading() const {
  expect(!closed_, "an event of reading after on_closed");
  expect(!abandoned_, "an event after abandon");
  expect(open() || ended_in_buffer_, "an event of reading after the close");
  expect(!paused_ || ended_in_buffer_, "an event of reading while paused");
  expect(!read_ended_, "an event of reading after the end");
}

void StreamUser::received(std::span<const std::byte> data) {
  expect_reading();
  expect(!data.empty(), "data of no bytes");
  expect(NumberedBytes::match(socket_.number + 100, received_, data),
         "received: not what comes next");
  received_ += data.size();
  expect(received_ <= socket().in_taken, "received more than the kernel gave");
}

// Of all sizes, and sometimes none.
std::span<std::byte> StreamUser::memory_for_much(size_t most) {
  expect(!much_is_lent_, "memory was asked for twice");
  if (received_ % 5 == 0) return {};
  much_.assign(received_ % 3 == 0 ? most : std::min(most, received_ * 7 % 400), std::byte{0xcc});
  much_is_lent_ = !much_.empty();
  return much_;
}

void StreamUser::on_data(std::span<const std::byte> data) {
  if (std::exchange(much_is_lent_, false)) {
    expect(data.data() == much_.data() && data.size() <= much_.size(), "it lies elsewhere");
  }
  received(data);
  uint64_t before = received_;
  happen(Event::data);
  // Lent until this returns, whatever was done meanwhile.
  expect(NumberedBytes::match(socket_.number + 100, before - data.size(), data),
         "lent bytes changed before they were given back");
}

std::span<std::byte> StreamUser::next_buffer(size_t /*hint*/) {
  expect_reading();
  happen(Event::buffer);
  paused_in_buffer_ = paused_;
  ended_in_buffer_ = !open();
  std::memset(own_memory_.data(), 0xcc, std::min<size_t>(own_memory_.size(), 256));
  return own_memory_;
}

// asyncio's get_buffer may pause, or close: the receive that asked for memory goes on.
void StreamUser::on_buffer_filled(size_t size) {
  expect(size <= own_memory_.size(), "more was filled than there is");
  bool paused = std::exchange(paused_, false);
  received(std::span(own_memory_).first(size));
  ended_in_buffer_ = false;
  paused_ = paused && paused_in_buffer_;
  expect(!paused || paused_, "memory was filled while paused");
  happen(Event::filled);
}

void StreamUser::on_eof() {
  expect_reading();
  expect(socket().in_ended, "an end that the peer did not send");
  expect(socket_.in_loose || received_ == socket_.in_sent, "the end came before all data");
  ended_in_buffer_ = false;
  read_ended_ = got_eof_ = true;
  happen(Event::eof);
}

void StreamUser::on_sent() {
  expect(!abandoned_ && !joined_ && !closed_, "an event of writing after the end");
  const StreamSocket& to = socket();
  expect(!to.exact || to.out_loose || stream_->backlog_bytes() == to.written - to.out_taken,
         "the backlog is not what is left");
  happen(Event::sent);
}

void StreamUser::on_error(net::IoStep step, int /*error_number*/) {
  bool may_have_ended = step == net::IoStep::read && ended_in_buffer_;
  expect(!abandoned_ && (!joined_ || may_have_ended) && !closed_, "an error after the end");
  if (step == net::IoStep::read) {
    expect_reading();
    ended_in_buffer_ = false;
    read_ended_ = true;
  } else {
    expect(socket().out_loose, "an error of writing that nobody made");
  }
  happen(Event::error);
  if (aborts_on_error && alive()) call(Call::abort, 0);
}

void StreamUser::on_joining() {
  expect(!joined_ && !closed_, "joining twice");
  expect(closing_ || aborted_, "an end that nobody asked for");
  joined_ = true;
  happen(Event::joining);
}

void StreamUser::on_closed() {
  expect(!abandoned_, "an event after abandon");
  expect(joined_, "closed before joining");
  expect(!closed_, "on_closed came twice");
  const StreamSocket& to = socket();
  expect(!to.exact || aborted_ || to.out_loose || to.out_taken == to.written,
         "closed before everything was sent");
  closed_ = true;
  if (holder_ >= 0) SystemCalls::installed->close(fd_);
  happen(Event::closed);
  if (deletes_at_end) stream_.reset();
}

void StreamUser::happen(Event event) {
  int& place = reactions_[static_cast<size_t>(event)];
  if (place < 0) return;
  auto reaction = static_cast<Call>(std::exchange(place, -1));
  call(reaction, 100);
}

// --- the end ---------------------------------------------------------------------------------

bool StreamUser::has_everything() const {
  if (!open() || paused_ || holder_ < 0 || closed_ || read_ended_) return true;
  return received_ == socket_.in_sent && !socket_.in_ended;
}

void StreamUser::expect_everything_received() const {
  const StreamSocket& from = socket_;
  if (!open() || paused_ || holder_ < 0 || closed_ || read_ended_) return;
  expect(from.in_loose || received_ == from.in_sent, "data was lost on the way in");
  expect(!from.in_ended, "the end was lost on the way in");
}

void StreamUser::expect_end() const {
  expect(!stream_ || stream_->closed(), "the stream does not end");
  expect(closed_ || abandoned_, "on_closed did not come");
  expect(held_count_ == 0, "a segment was not released");
}

}  // namespace rloop::hunt
