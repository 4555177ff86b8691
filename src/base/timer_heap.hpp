// A heap of deadlines whose entries know their places, so that a cancelled one leaves at once.
//
// Four children a node: half the levels of a binary heap, in the same cache lines. `Place` is told
// where a value stands whenever that changes, and kNowhere when it leaves; remove() takes that
// place. Removing at once was measured against leaving the dead until they surface: with one live
// timer the same, with 100 000 live ones three times as fast, because a freed timer is the next
// one's memory. Owns the entries' values; knows neither clock nor Python.
#pragma once

#include <algorithm>
#include <cstddef>
#include <utility>
#include <vector>

#include "base/assert.hpp"
#include "base/timer_entry.hpp"

namespace rloop::base {

// Place: a default-constructible function object (const Value&, size_t place), which must not throw
// nor use the heap.
template <class Value, class Place>
class TimerHeap {
 public:
  using Entry = TimerEntry<Value>;
  static constexpr size_t kNowhere = kNoTimerPlace;

  bool empty() const { return entries_.empty(); }
  size_t size() const { return entries_.size(); }
  // The earliest one; there must be one.
  const Entry& front() const { return entries_.front(); }

  // So many do not need memory any more.
  void reserve(size_t count) {
    if (count > entries_.capacity()) entries_.reserve(std::max(count, 2 * entries_.capacity()));
  }

  // Its deadline is not NaN. May throw, before anything has changed.
  void push(Entry entry) {
    entries_.emplace_back();
    rise(entries_.size() - 1, std::move(entry));
  }

  // What stands at `place`, or null.
  const Value* at(size_t place) const {
    return place < entries_.size() ? &entries_[place].value : nullptr;
  }

  // The one that stands at `place`; 0 is the earliest one's.
  Value remove(size_t place) {
    RLOOP_ASSERT(place < entries_.size(), "a timer was removed that is not in the heap");
    Value value = std::move(entries_[place].value);
    Place{}(value, kNowhere);
    Entry last = std::move(entries_.back());
    entries_.pop_back();
    if (place == entries_.size()) return value;
    if (place > 0 && last.earlier_than(entries_[parent_of(place)])) {
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

 private:
  static constexpr size_t kChildren = 4;
  static size_t parent_of(size_t place) { return (place - 1) / kChildren; }

  void put(size_t place, Entry entry) {
    entries_[place] = std::move(entry);
    Place{}(entries_[place].value, place);
  }

  // `place` is free: puts `entry` there or nearer to the root.
  void rise(size_t place, Entry entry) {
    while (place > 0 && entry.earlier_than(entries_[parent_of(place)])) {
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
        if (entries_[child].earlier_than(entries_[least])) least = child;
      }
      if (!entries_[least].earlier_than(entry)) break;
      put(place, std::move(entries_[least]));
      place = least;
    }
    put(place, std::move(entry));
  }

  std::vector<Entry> entries_;
};

}  // namespace rloop::base
