// A binary heap of deadlines with lazy deletion.
//
// Ordered by (deadline in ns, insertion): equal deadlines come out in the order they went in. A
// cancelled entry stays until it surfaces; count_cancelled() counts them, and when more than half
// of at least 64 entries are dead the heap is compacted, so a program that re-arms a timeout for
// every request does not grow. Measured (BINDING notes): 58 ns per re-arm at 100 000 live timers
// against 219 ns with indexed removal. Owns the entries' values; knows neither clock nor Python.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "base/clock.hpp"

namespace rloop::base {

template <class Value>
class TimerHeap {
 public:
  struct Entry {
    int64_t deadline_ns;
    uint64_t sequence;
    Value value;
  };

  bool empty() const { return entries_.empty(); }
  size_t size() const { return entries_.size(); }
  int64_t earliest_deadline_ns() const { return empty() ? kNever : entries_.front().deadline_ns; }
  const Value& earliest() const { return entries_.front().value; }

  void push(int64_t deadline_ns, Value value) {
    entries_.push_back(Entry{deadline_ns, next_sequence_++, std::move(value)});
    std::push_heap(entries_.begin(), entries_.end(), later);
  }

  Value pop() {
    std::pop_heap(entries_.begin(), entries_.end(), later);
    Value value = std::move(entries_.back().value);
    entries_.pop_back();
    return value;
  }

  // Says that one entry in the heap is dead now; true when compact() is due.
  bool count_cancelled() {
    ++cancelled_count_;
    return cancelled_count_ * 2 > entries_.size() && entries_.size() >= kCompactFrom;
  }
  // Says that a dead entry surfaced and was popped.
  void forget_cancelled() {
    if (cancelled_count_ > 0) --cancelled_count_;
  }
  size_t cancelled_count() const { return cancelled_count_; }

  // Removes the entries whose value is dead and hands them to `drop`, after the heap is whole
  // again (drop may run arbitrary code).
  template <class IsDead, class Drop>
  void compact(IsDead is_dead, Drop drop) {
    auto first_dead = std::partition(entries_.begin(), entries_.end(),
                                     [&](const Entry& entry) { return !is_dead(entry.value); });
    std::vector<Entry> dead(std::make_move_iterator(first_dead),
                            std::make_move_iterator(entries_.end()));
    entries_.erase(first_dead, entries_.end());
    std::make_heap(entries_.begin(), entries_.end(), later);
    cancelled_count_ = 0;
    for (Entry& entry : dead)
      drop(std::move(entry.value));
  }

  template <class Visit>
  void for_each(Visit visit) const {
    for (const Entry& entry : entries_)
      visit(entry.value);
  }

  // Takes all entries out, in no order.
  std::vector<Entry> take_all() {
    cancelled_count_ = 0;
    return std::exchange(entries_, {});
  }

 private:
  static constexpr size_t kCompactFrom = 64;

  static bool later(const Entry& a, const Entry& b) {
    return a.deadline_ns != b.deadline_ns ? a.deadline_ns > b.deadline_ns : a.sequence > b.sequence;
  }

  std::vector<Entry> entries_;
  uint64_t next_sequence_ = 0;
  size_t cancelled_count_ = 0;
};

}  // namespace rloop::base
