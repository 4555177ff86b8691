// The policy of sending; see context.hpp.
#include "net/context.hpp"

#include <utility>

#include "absl/cleanup/cleanup.h"

#include "net/datagram.hpp"
#include "net/stream.hpp"

namespace rloop::net {
namespace {

// So many writes of one socket leave one by one; what it writes beyond that in the same turn leaves
// together.
constexpr uint32_t kWritesAtOnce = 8;
// So many sockets are handed over together, or fewer when the first has waited so long, or when a
// handler has taken so long. Each group wakes its clients. Those of quick handlers are awake: they
// work on one group while the next is made, so that these are smaller.
constexpr size_t kGroup = 64;
constexpr int64_t kPatience_ns = 1'000'000;
constexpr int64_t kSlowHandler_ns = 300'000;
constexpr size_t kQuickGroup = 20;
constexpr int64_t kQuickGroup_ns = 100'000;
// Up to so many dirty streams are sent to directly before the wait, more go through the ring with
// it. 0, 2, 8 and "always" differed by less than the noise (KERNEL.md 0b).
constexpr size_t kDirectFlush_streams = 2;

}  // namespace

Context::Context(reactor::Reactor* engine) : reactor(engine) {}
Context::~Context() = default;

void Context::begin_turn(size_t to_run) {
  ++turn;
  if (writers_ > 0) writers_before_ = std::exchange(writers_, 0);
  little_to_run_ = to_run < kMuch;
  sockets_left_ = few_write() ? kFew : 0;
  times_handlers_ = false;
  if (sockets_left_ == 0) time_handlers(base::now_ns());
}

void Context::time_handlers(int64_t now_ns) {
  times_handlers_ = true;
  handler_began_ns_ = now_ns;
}

bool Context::few_write() const {
  return writers_ <= kFew && (writers_before_ <= kPair || little_to_run_);
}

bool Context::may_send_now(SentAtOnce& sent) {
  if (!loop_running || reactor->asleep()) return true;  // nobody flushes, or another thread writes
  if (sent.turn != turn % kTurns) {
    ++writers_;
    bool may = sockets_left_ > 0;
    if (may) --sockets_left_;
    sent = {.turn = turn % kTurns, .left = may ? kWritesAtOnce : 0};
  }
  if (sent.left == 0) return false;
  --sent.left;
  return true;
}

// A full group leaves when another stream begins to write: what its last one has written before may
// be half an answer. What one handler writes to many counts as quick.
void Context::gather(Stream& stream) {
  absl::Cleanup join = [&] {
    dirty_.push_back(stream);
    note_gathered();
  };
  // Without a ring this would send from inside another socket's write(), and call its owner.
  if (group_is_full(handler_began_ns_) && reactor->capabilities().ring) hand_over();
}

void Context::gather(Datagram& datagram) {
  dirty_datagrams_.push_back(datagram);
  note_gathered();
}

void Context::note_gathered() {
  if (gathered_count_++ != 0) return;
  gathered_since_ns_ = base::now_ns();
  // How long this handler has run nobody knows: it counts as slow.
  if (!times_handlers_) time_handlers(gathered_since_ns_ - kSlowHandler_ns);
}

// Where handlers are slow there is nothing to gain by gathering, and the next one may be as slow.
bool Context::handler_ended(int64_t now_ns) {
  bool was_slow = now_ns - std::exchange(handler_began_ns_, now_ns) >= kSlowHandler_ns;
  if (gathered_count_ == 0) return false;
  return group_is_full(now_ns) || was_slow || now_ns - gathered_since_ns_ >= kPatience_ns;
}

bool Context::group_is_full(int64_t now_ns) const {
  size_t size = now_ns - gathered_since_ns_ < kQuickGroup_ns ? kQuickGroup : kGroup;
  return gathered_count_ >= size;
}

void Context::hand_over_gathered() {
  flush_datagrams();
  hand_over();
}

void Context::hand_over() {
  bool through_ring = reactor->capabilities().ring;
  flush_streams(through_ring);
  if (through_ring) reactor->flush();
}

void Context::flush_all_dirty() {
  flush_datagrams();
  if (dirty_.empty()) return;
  // Not gathered_count_: some may have been flushed or closed since.
  bool are_several = dirty_.count_up_to(kDirectFlush_streams + 1) > kDirectFlush_streams;
  flush_streams(are_several && reactor->capabilities().ring);
}

// What is written by an event of the flush belongs to the next one.
void Context::flush_streams(bool through_ring) {
  base::IntrusiveList<Stream, DirtyListTag> batch;
  batch.splice_back(dirty_);
  gathered_count_ = dirty_datagrams_.empty() ? 0 : 1;            // these wait on
  absl::Cleanup keep_rest = [&] { dirty_.splice_back(batch); };  // when one has no memory
  while (!batch.empty()) {
    Stream& stream = batch.pop_front();
    absl::Cleanup keep = [&] {  // or nobody would send what it has written
      if (!stream.linked()) dirty_.push_back(stream);
    };
    if (through_ring) {
      stream.flush_through_reactor();
    } else {
      stream.flush_direct();
    }
    std::move(keep).Cancel();
  }
}

// One sendmmsg for all datagrams of a socket: as few system calls as through the ring. A socket
// that is dirty again after its errors waits for the next turn.
void Context::flush_datagrams() {
  base::IntrusiveList<Datagram, DirtyListTag> batch;
  batch.splice_back(dirty_datagrams_);
  if (dirty_.empty()) gathered_count_ = 0;
  absl::Cleanup keep_rest = [&] { dirty_datagrams_.splice_back(batch); };
  while (!batch.empty())
    batch.pop_front().flush();
}

void Context::flush_dirty_now() {
  flush_datagrams();
  gathered_count_ = 0;
  while (!dirty_.empty())
    dirty_.pop_front().flush_direct();
}

std::span<std::byte> Context::datagram_memory() {
  constexpr size_t kBytes = 1024 * 1024;
  try {
    if (!datagram_pool_) datagram_pool_ = std::make_unique<base::BufferPool>(1, kBytes);
  } catch (const std::exception&) {
    return {};
  }
  return datagram_pool_->buffer(0);
}

}  // namespace rloop::net
