// A heap of deadlines whose entries know their places, so that a cancelled one leaves at once.
//
// Ordered by (deadline in seconds of any clock, insertion): equal deadlines come out in the order
// they went in. Four children a node: half the levels of a binary heap, in the same cache lines.
// `Place` is told where a value stands whenever that changes, and kNowhere when it leaves; remove()
// takes that place. Removing at once was measured against leaving the dead until they surface: with
// one live timer the same, with 100 000 live ones three times as fast, because a freed timer is the
// next one's memory. Owns the entries' values; knows neither clock nor Python.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "base/assert.hpp"

namespace rloop::base {

// Place: a default-constructible function object (const Value&, size_t place), which must not throw
// nor use the heap.
template <class Value, class Place>
class TimerHeap {
 public:
  static constexpr size_t kNowhere = static_cast<size_t>(-1);
  static constexpr double kEndless = std::numeric_limits<double>::infinity();

  bool empty() const { return entries_.empty(); }
  size_t size() const { return entries_.size(); }
  // Infinity when there is none.
  double earliest_deadline() const { return empty() ? kEndless : entries_.front().deadline; }

  // NaN, which has no order, stands for infinity.
  void push(double deadline, Value value) {
    if (std::isnan(deadline)) deadline = kEndless;
    entries_.emplace_back();
    rise(entries_.size() - 1, Entry{deadline, next_sequence_++, std::move(value)});
  }

  // What stands at `place`, or null.
  const Value* at(size_t place) const {
    return place < entries_.size() ? &entries_[place].value : nullptr;
  }

  // The earliest one; there must be one.
  Value pop() { return remove(0); }

  // The one that stands at `place`.
  Value remove(size_t place) {
    RLOOP_ASSERT(place < entries_.size(), "a timer was removed that is not in the heap");
    Value value = std::move(entries_[place].value);
    Place{}(value, kNowhere);
    Entry last = std::move(entries_.back());
    entries_.pop_back();
    if (place == entries_.size()) return value;
    if (place > 0 && earlier(last, entries_[parent_of(place)])) {
      rise(place, std::move(last));
    } else {
      sink(place, std::move(last));
    }
    return value;
  }

  // `visit` may remove entries; it then misses some.
  template <class Visit>
  void for_each(Visit visit) {
    for (size_t i = 0; i < entries_.size(); ++i)
      visit(entries_[i].value);
  }

  // Takes all values out, in no order.
  std::vector<Value> take_all() {
    std::vector<Value> values;
    values.reserve(entries_.size());
    for (Entry& entry : std::exchange(entries_, {})) {
      Place{}(entry.value, kNowhere);
      values.push_back(std::move(entry.value));
    }
    return values;
  }

 private:
  static constexpr size_t kChildren = 4;
  struct Entry {
    double deadline = 0;
    uint64_t sequence = 0;
    Value value{};
  };

  static bool earlier(const Entry& a, const Entry& b) {
    return a.deadline != b.deadline ? a.deadline < b.deadline : a.sequence < b.sequence;
  }
  static size_t parent_of(size_t place) { return (place - 1) / kChildren; }

  void put(size_t place, Entry entry) {
    entries_[place] = std::move(entry);
    Place{}(entries_[place].value, place);
  }

  // `place` is free: puts `entry` there or nearer to the root.
  void rise(size_t place, Entry entry) {
    while (place > 0 && earlier(entry, entries_[parent_of(place)])) {
      put(place, std::move(entries_[parent_of(place)]));
      place = parent_of(place);
    }
    put(place, std::move(entry));
  }

  // `place` is free: puts `entry` there or farther from the root.
  void sink(size_t place, Entry entry) {
    while (true) {
      size_t first = place * kChildren + 1;
      if (first >= entries_.size()) break;
      size_t end = std::min(first + kChildren, entries_.size());
      size_t least = first;
      for (size_t child = first + 1; child < end; ++child) {
        if (earlier(entries_[child], entries_[least])) least = child;
      }
      if (!earlier(entries_[least], entry)) break;
      put(place, std::move(entries_[least]));
      place = least;
    }
    put(place, std::move(entry));
  }

  std::vector<Entry> entries_;
  uint64_t next_sequence_ = 0;
};

}  // namespace rloop::base
