// What both engines share: the queue of arrivals and the states of operations.
#include "reactor/reactor.hpp"

#include <algorithm>
#include <new>
#include <span>

#include "absl/cleanup/cleanup.h"
#include "base/heap.hpp"

namespace rloop::reactor {

Reactor::Reactor(const Config& config, Statistics& statistics)
    : config_(config),
      statistics_(statistics),
      scratch_(std::make_unique_for_overwrite<std::byte[]>(
          std::max(config.scratch_size, config.large_scratch_size))) {
  base::keep_freed_memory();
}

Reactor::~Reactor() = default;

void Reactor::hasten(op::Operation& operation) {
  if (operation.hastened()) return;
  operation.set_hastened();
  if (!operation.idle()) ++hastened_count_;
}

void Reactor::take_over(op::Operation& operation) {
  operation.set_state(op::State::idle);
  if (operation.hastened()) ++hastened_count_;
  submit(operation);
}

void Reactor::post(op::Operation& operation, base::Result result) {
  if (dead_) return;
  RLOOP_ASSERT(operation.idle(), "an operation was posted while in flight");
  expect_arrival();
  if (operation.hastened()) ++hastened_count_;
  arrive(operation, result, 0, true);
}

void Reactor::expect_arrival() {
  constexpr size_t kSpare = 64;  // so that the end of a connection finds room, also without memory
  size_t least = arrivals_.size() + busy_count_ + 1;
  if (arrivals_.capacity() < least + kSpare) {
    try {
      arrivals_.reserve(std::max(least + kSpare, arrivals_.capacity() * 2));
    } catch (const std::bad_alloc&) {
      if (arrivals_.capacity() < least) throw;
    }
  }
  ++busy_count_;
}

bool Reactor::make_room_for_batch() {
  size_t wanted = arrivals_.size() + busy_count_ + kMaxBatch;
  if (arrivals_.capacity() >= wanted) return true;
  try {
    arrivals_.reserve(wanted * 2);
  } catch (const std::bad_alloc&) {
    return false;
  }
  return true;
}

void Reactor::arrive(op::Operation& operation, base::Result result, uint32_t flags, bool final) {
  if (final) operation.set_state(op::State::finishing);
  arrivals_.push_back({&operation, result, flags});
  rouse();
}

void Reactor::arrive_in_batch(op::Operation& operation, base::Result result, size_t place) {
  operation.set_state(op::State::finishing);
  auto next = arrivals_.begin() + static_cast<ptrdiff_t>(arrivals_head_ + place);
  arrivals_.insert(next, {&operation, result, 0});
  ++batch_end_;
}

template <class First>
size_t Reactor::gather(size_t batch_end, First first) {
  auto batch = std::span(arrivals_).subspan(arrivals_head_, batch_end - arrivals_head_);
  auto others = std::stable_partition(batch.begin(), batch.end(), first);
  return arrivals_head_ + static_cast<size_t>(others - batch.begin());
}

size_t Reactor::begin_batch() {
  interrupted_ = dead_;
  // A queue that never runs empty must not keep what it handed out for ever.
  if (arrivals_head_ > kMaxBatch) {
    arrivals_.erase(arrivals_.begin(), arrivals_.begin() + static_cast<ptrdiff_t>(arrivals_head_));
    arrivals_head_ = 0;
  }
  size_t end = std::min(arrivals_.size(), arrivals_head_ + kMaxBatch);
  if (!ends_wait_ || hastened_count_ == 0) return end;
  return gather(end, [](const Arrival& one) { return !one.operation->hastened(); });
}

base::Result Reactor::undispatched_end(const op::Operation& operation) const {
  if (operation.state() != op::State::finishing) return base::Result(0);
  auto waiting = std::span(arrivals_).subspan(arrivals_head_);
  auto last = std::find_if(waiting.rbegin(), waiting.rend(),
                           [&](const Arrival& one) { return one.operation == &operation; });
  return last != waiting.rend() ? last->result : base::Result(0);
}

bool Reactor::next_arrival(Arrival& out) {
  if (arrivals_head_ >= batch_end_ || interrupted_) {
    if (arrivals_head_ == arrivals_.size()) {
      arrivals_.clear();
      arrivals_head_ = 0;
    }
    return false;
  }
  out = arrivals_[arrivals_head_++];
  return true;
}

void Reactor::dispatch_only_ends() {
  run_batch(gather(begin_batch(), [](const Arrival& one) { return one.operation->hastened(); }));
}

void Reactor::dispatch_but_ends() {
  ends_wait_ = true;
  absl::Cleanup done = [this] { ends_wait_ = false; };  // also when a completion has no memory
  dispatch();
}

void Reactor::bring_home_now(op::Operation& operation) {
  auto is_its = [&](const Arrival& one) { return one.operation == &operation; };
  auto next = arrivals_.begin() + static_cast<ptrdiff_t>(arrivals_head_);
  auto found = std::find_if(next, arrivals_.end(), is_its);
  if (found == arrivals_.end()) return;
  base::Result result = found->result;
  if (found < arrivals_.begin() + static_cast<ptrdiff_t>(batch_end_)) --batch_end_;
  arrivals_.erase(found);
  bring_home(operation, {.result = result});
}

void Reactor::die() {
  dead_ = true;
  hastened_count_ = 0;
  busy_count_ = 0;
  for (size_t i = arrivals_head_; i < arrivals_.size(); ++i) {
    op::Operation& operation = *arrivals_[i].operation;
    if (operation.state() == op::State::finishing) operation.set_state(op::State::idle);
  }
  arrivals_.clear();
  arrivals_head_ = 0;
  interrupted_ = true;  // the fork may have happened inside a completion
}

void Reactor::bring_home(op::Operation& operation, const op::Completion& completion) {
  ++statistics_.completions;
  if (!completion.more) {
    operation.set_state(op::State::idle);
    operation.set_cancel_requested(false);
    if (busy_count_ > 0) --busy_count_;  // not after a fork in a completion
    if (operation.hastened()) --hastened_count_;
  }
  operation.complete(completion);
}

}  // namespace rloop::reactor
