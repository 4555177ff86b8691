// What the user does, and what it may see; see datagram_user.hpp.
#include "hunt/datagram_user.hpp"

#include <cstdlib>
#include <cstring>
#include <utility>

namespace rloop::hunt {

struct DatagramUser::Held {
  DatagramUser* user;
  size_t number;
  size_t size;
  bool accepted;
  std::byte* bytes() { return reinterpret_cast<std::byte*>(this + 1); }
};

DatagramUser::DatagramUser(net::Context& context, DatagramKernel& kernel, int family)
    : context_(context),
      kernel_(kernel),
      datagram_(std::make_unique<net::Datagram>(context, *this, kFirstNumber, family)) {
  reactions_.fill(-1);
  datagram_->follow(&holder_);
}

DatagramUser::~DatagramUser() {
  expect(held_count_ == 0, "a datagram was not released");
}

void DatagramUser::call(Call call, size_t size) {
  switch (call) {
    case Call::send:
      return send(size, false);
    case Call::send_at_once:
      return send(size, true);
    case Call::flush:
      return datagram_->flush();
    case Call::pause:
      paused_ = true;
      return datagram_->pause_reading();
    case Call::resume:
      paused_ = false;
      return datagram_->resume_reading();
    case Call::close:
      closing_ = true;
      return datagram_->close();
    case Call::abort:
      aborted_ = true;
      return datagram_->abort();
    case Call::interrupt:
      return context_.reactor->interrupt_dispatch();
  }
}

void DatagramUser::send(size_t size, bool at_once) {
  auto* held = static_cast<Held*>(std::malloc(sizeof(Held) + size));
  *held = {this, kernel_.outgoing.size(), size, !closed_};
  DatagramKernel::write_outgoing(held->number, {held->bytes(), size});
  if (held->accepted) kernel_.outgoing.push_back(size);
  ++held_count_;
  datagram_->send({held->bytes(), size, net::Keeper(held, release)}, {}, at_once);
}

void DatagramUser::release(void* object) {
  auto* held = static_cast<Held*>(object);
  DatagramUser& user = *held->user;
  --user.held_count_;
  expect(!held->accepted || user.kernel_.forgiving || user.joined_ || user.closed_ ||
             held->number < user.kernel_.sent,
         "a datagram was released before it was sent");
  std::memset(held->bytes(), 0xdd, held->size);
  std::free(held);
}

void DatagramUser::abandon() {
  abandoned_ = aborted_ = joined_ = true;
  datagram_->abandon();
}

void DatagramUser::close_number() {
  holder_ = -1;
  kernel_.forgiving = true;
}

// --- events ----------------------------------------------------------------------------------

void DatagramUser::expect_reading() const {
  expect(!closed_, "an event of reading after on_closed");
  expect(!abandoned_, "an event after abandon");
  expect(!closing_ && !aborted_, "an event of reading after the close");
  expect(!paused_, "an event of reading while paused");
  expect(seen_ < kernel_.taken, "more came than was received");
}

void DatagramUser::on_datagram(std::span<const std::byte> data, const base::Address& from) {
  expect_reading();
  size_t number = seen_++;
  const DatagramKernel::Incoming& next = kernel_.incoming[number];
  expect(next.error_number == 0 && next.size == data.size(), "not the datagram that comes next");
  expect(DatagramKernel::is_incoming(number, data), "received: not what comes next");
  expect(from.port() == static_cast<uint16_t>(number + 1), "somebody else's address");
  happen(Event::datagram);
  expect(DatagramKernel::is_incoming(number, data),
         "lent bytes changed before they were given back");
}

void DatagramUser::on_error(net::IoStep step, int error_number) {
  if (step == net::IoStep::read) {
    expect_reading();
    expect(kernel_.incoming[seen_].error_number == error_number, "not the error that comes next");
    ++seen_;
  } else {
    expect(!abandoned_ && !closed_, "an error after the end");
    ++errors_seen_;
    expect(kernel_.forgiving || errors_seen_ <= kernel_.refused_count, "an error that nobody made");
  }
  happen(Event::error);
}

void DatagramUser::on_sent() {
  expect(!abandoned_ && !joined_ && !closed_, "an event of writing after the end");
  expect(kernel_.forgiving || datagram_->queued_count() == kernel_.outgoing.size() - kernel_.sent,
         "the queue is not what is left");
  happen(Event::sent);
}

void DatagramUser::on_joining() {
  expect(!joined_ && !closed_, "joining twice");
  expect(closing_ || aborted_, "an end that nobody asked for");
  joined_ = true;
  happen(Event::joining);
}

void DatagramUser::on_closed() {
  expect(!abandoned_, "an event after abandon");
  expect(joined_, "closed before joining");
  expect(!closed_, "on_closed came twice");
  if (!aborted_ && !kernel_.forgiving) {
    expect(errors_seen_ == kernel_.refused_count, "a refused datagram was not reported");
  }
  closed_ = true;
  kernel_.close(kFirstNumber);
  happen(Event::closed);
  if (deletes_at_end) datagram_.reset();
}

void DatagramUser::happen(Event event) {
  int& place = reactions_[static_cast<size_t>(event)];
  if (place >= 0) call(static_cast<Call>(std::exchange(place, -1)), 10);
}

// --- the end ---------------------------------------------------------------------------------

void DatagramUser::expect_everything_received() const {
  if (closing_ || aborted_ || paused_ || holder_ < 0) return;
  expect(seen_ == kernel_.incoming.size(), "a datagram was lost on the way in");
}

void DatagramUser::expect_end() const {
  expect(closed_ || abandoned_, "on_closed did not come");
  expect(held_count_ == 0, "a datagram was not released");
  expect(aborted_ || kernel_.forgiving || joined_ || kernel_.sent == kernel_.outgoing.size(),
         "closed before everything was sent");
}

}  // namespace rloop::hunt
