// Timers that went in by their deadlines' order: appended at the end, taken from anywhere.
//
// Who asks for the same delay again and again (an idle timeout that each message arms anew) asks
// for deadlines in order; such a timer costs no search and moves no other one. A ring of entries.
// One that is taken leaves a gap, without its value; gaps at the ends go at once, and when there
// are more of them than of entries the rest moves together. `Place` is told where a value stands
// whenever that changes: its number since the run began, which only moving together changes.
// Owns the entries' values; knows neither clock nor Python.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "base/assert.hpp"
#include "base/timer_entry.hpp"

namespace rloop::base {

// Place: a function object (const Value&, size_t place), which must not throw nor use the run.
template <class Value, class Place>
class TimerRun {
 public:
  using Entry = TimerEntry<Value>;
  static constexpr double kEndless = std::numeric_limits<double>::infinity();

  TimerRun() = default;
  explicit TimerRun(Place place) : place_(place) {}

  bool empty() const { return size_ == 0; }
  size_t size() const { return size_; }
  // The earliest one; there must be one.
  const Entry& front() const { return slot(begin_); }
  // Infinity when there is none.
  double first_deadline() const { return first_deadline_; }
  // Minus infinity when there is none.
  double last_deadline() const { return last_deadline_; }

  // Not earlier than last_deadline(). May throw, before anything has changed.
  void append(double deadline, uint64_t sequence, Value&& value) {
    if (end_ - begin_ > mask_ || slots_.empty()) [[unlikely]]
      grow();
    if (empty()) first_deadline_ = deadline;
    last_deadline_ = deadline;
    place_(value, end_);
    Entry& entry = slot(end_++);
    entry.deadline = deadline;
    entry.sequence = sequence;
    entry.value = std::move(value);
    ++size_;
  }

  // What stands at `place`, or null.
  const Value* at(size_t place) const { return has(place) ? &slot(place).value : nullptr; }

  // The one that stands at `place`.
  Value take(size_t place) {
    RLOOP_ASSERT(has(place), "a timer was taken that is not in the run");
    Entry& entry = slot(place);
    Value taken = std::move(entry.value);
    entry.sequence = kGap;
    place_(taken, kNoTimerPlace);
    if (--size_ == 0) {
      end();
    } else {
      close_gap(place);
    }
    return taken;
  }

  // The earliest one; there must be one.
  Value take_first() { return take(begin_); }

  // By the order of their deadlines; `visit` may take entries out, and then misses some.
  template <class Visit>
  void for_each(Visit visit) {
    for (size_t place = begin_; place < end_; ++place) {
      if (place >= begin_ && !is_gap(place)) visit(slot(place).value);
    }
  }

 private:
  static constexpr uint64_t kGap = static_cast<uint64_t>(-1);
  static constexpr size_t kFewSlots = 16;  // powers of two
  static constexpr size_t kManySlots = 4096;
  static constexpr size_t kFewGaps = 16;

  Entry& slot(size_t place) { return slots_[place & mask_]; }
  const Entry& slot(size_t place) const { return slots_[place & mask_]; }
  bool is_gap(size_t place) const { return slot(place).sequence == kGap; }
  bool has(size_t place) const { return place - begin_ < end_ - begin_ && !is_gap(place); }

  void end() {
    begin_ = end_;
    first_deadline_ = kEndless;
    last_deadline_ = -kEndless;
    if (mask_ >= kManySlots) [[unlikely]]
      release();
  }

  [[gnu::noinline]] void release() {
    slots_ = std::vector<Entry>();
    begin_ = end_ = mask_ = 0;
  }

  // Beside the main path, which is the inlined one: one timer, armed and cancelled.
  [[gnu::noinline]] void close_gap(size_t place) {
    if (place == begin_) {
      while (is_gap(begin_))
        ++begin_;
      first_deadline_ = front().deadline;
    } else if (place + 1 == end_) {
      while (is_gap(end_ - 1))
        --end_;
      last_deadline_ = slot(end_ - 1).deadline;
    }
    if (end_ - begin_ > 2 * size_ + kFewGaps) move_together();
  }

  [[gnu::noinline]] void grow() {
    std::vector<Entry> larger(slots_.empty() ? kFewSlots : slots_.size() * 2);
    size_t mask = larger.size() - 1;
    for (size_t place = begin_; place < end_; ++place)
      larger[place & mask] = std::move(slot(place));
    slots_ = std::move(larger);
    mask_ = mask;
  }

  void move_together() {
    size_t to = begin_;
    for (size_t from = begin_; from < end_; ++from) {
      if (is_gap(from)) continue;
      if (from != to) {
        slot(to) = std::move(slot(from));
        place_(slot(to).value, to);
      }
      ++to;
    }
    end_ = to;
  }

  std::vector<Entry> slots_;
  size_t mask_ = 0;   // their number less one; a place's slot is its number modulo theirs
  size_t begin_ = 0;  // of the places in use
  size_t end_ = 0;
  size_t size_ = 0;  // without the gaps
  double first_deadline_ = kEndless;
  double last_deadline_ = -kEndless;
  [[no_unique_address]] Place place_{};
};

}  // namespace rloop::base
