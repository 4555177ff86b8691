// How a loop spends its time: asleep or awake, how long awake at a time, and how late timers are.
//
// Fed with clock reads that the loop makes anyway, around its waits and where timers fall due.
// Plain numbers, nothing is allocated; the loop's thread writes them, whoever holds the GIL reads
// them.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace rloop::base {

// Durations by powers of two: bucket 0 counts those of 0 ns, bucket b those of 2^(b-1) ns or more
// and less than 2^b ns.
class Histogram {
 public:
  static constexpr size_t kBuckets = 64;

  void record(int64_t duration_ns) {
    ++buckets_[std::bit_width(static_cast<uint64_t>(std::max<int64_t>(duration_ns, 0)))];
  }
  const std::array<uint64_t, kBuckets>& buckets() const { return buckets_; }

 private:
  std::array<uint64_t, kBuckets> buckets_{};
};

// All times are of now_ns().
class Meter {
 public:
  void run_begins(int64_t now) {
    running_ = true;
    awake_since_ = now;
  }
  void run_ends(int64_t now) {
    end_awake(now);
    running_ = false;
  }
  void sleep_begins(int64_t now) {
    end_awake(now);
    asleep_ = true;
    asleep_since_ = now;
  }
  void sleep_ends(int64_t now) {
    idle_ns_ += now - asleep_since_;
    asleep_ = false;
    awake_since_ = now;
  }
  void timer_is_due(int64_t late_ns) { timer_lag_.record(late_ns); }

  // Up to now, of all runs: what lies between runs is neither.
  int64_t busy_ns(int64_t now) const { return busy_ns_ + (is_awake() ? now - awake_since_ : 0); }
  int64_t idle_ns(int64_t now) const { return idle_ns_ + (asleep_ ? now - asleep_since_ : 0); }
  // How long the loop was awake between two sleeps: so long nobody else had their turn.
  const Histogram& awake() const { return awake_; }
  // From a timer's time to the turn that found it due.
  const Histogram& timer_lag() const { return timer_lag_; }
  // The longest time awake since the last call, or since it fell asleep last.
  int64_t take_longest_awake_ns(int64_t now) {
    int64_t current = is_awake() ? now - awake_since_ : 0;
    int64_t longest = std::max(longest_awake_ns_, current);
    longest_awake_ns_ = 0;
    return longest;
  }

 private:
  bool is_awake() const { return running_ && !asleep_; }
  void end_awake(int64_t now) {
    int64_t awake_ns = now - awake_since_;
    busy_ns_ += awake_ns;
    awake_.record(awake_ns);
    longest_awake_ns_ = std::max(longest_awake_ns_, awake_ns);
  }

  bool running_ = false, asleep_ = false;
  int64_t awake_since_ = 0, asleep_since_ = 0;
  int64_t busy_ns_ = 0, idle_ns_ = 0, longest_awake_ns_ = 0;
  Histogram awake_, timer_lag_;
};

}  // namespace rloop::base
