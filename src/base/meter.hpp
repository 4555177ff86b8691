// How a loop spends its time: asleep or awake, how long its turns are, how late things run.
//
// Fed with clock reads around the waits of the loop. Turns that do not wait would each cost another
// read, a tenth of the shortest ones; quick ones are timed in groups (end_turns says how). Plain
// numbers, nothing is allocated; who writes or reads them holds the GIL, but for awake_since.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/clock.hpp"

namespace rloop::base {

// Durations by powers of two: bucket b counts those of 2^(b-1) ns or more and less than 2^b ns.
// What took no time that the clock can tell counts as 1 ns.
class Histogram {
 public:
  static constexpr size_t kBuckets = 64;

  // `duration_ns` is not negative.
  void record(int64_t duration_ns, uint64_t count = 1) {
    auto duration = static_cast<uint64_t>(duration_ns);
    // One instruction; std::bit_width would ask whether it is 0.
    auto highest_bit = static_cast<size_t>(63 - __builtin_clzll(duration | 1));
    buckets_[highest_bit + 1] += count;
    total_ns_ += duration * count;
  }
  std::span<const uint64_t, kBuckets> buckets() const {
    return std::span(buckets_).first<kBuckets>();
  }
  uint64_t total_ns() const { return total_ns_; }

 private:
  std::array<uint64_t, kBuckets + 1> buckets_{};  // the last is no duration's
  uint64_t total_ns_ = 0;
};

// All times are of now_ns(). A turn counts from where its callbacks may begin, so without the sleep
// before it, to where the next one begins or the loop falls asleep.
class Meter {
 public:
  void run_begins(int64_t now);
  void run_ends(int64_t now);

  // The turn ends with a sleep. Answers how long it was in ns, as turn_passes.
  int64_t sleep_begins(int64_t now) {
    if (group_ != 1) [[unlikely]]
      return end_group_early(now);
    int64_t spent = now - began();
    turns_.record(spent);
    if (spent > longest_turn_ns_) longest_turn_ns_ = spent;
    awake_from(0);
    return spent;
  }
  // The wait is over; without the GIL, since to wait for that is no sleep.
  void wakes(int64_t now) { awake_from(now); }

  // The turn ends, and the next one begins without a sleep. `handles_wait`: handles are ready for
  // it. Answers the longest turn that was timed now, in ns, 0 when none was.
  int64_t turn_passes(bool handles_wait) {
    ready_turns_ += handles_wait;
    if (--untimed_ != 0) [[likely]]
      return 0;
    return end_group(now_ns());
  }

  void timer_is_late(int64_t late_ns) { timer_lag_.record(std::max<int64_t>(late_ns, 0)); }

  // Up to now, of all runs: what lies between runs is neither.
  int64_t busy_ns(int64_t now) const;
  int64_t idle_ns(int64_t now) const;
  const Histogram& turns() const { return turns_; }
  // How long the first of the handles that were ready for a turn may have waited for it: since the
  // turn began in which they were scheduled.
  const Histogram& ready_lag() const { return ready_lag_; }
  // From a timer's time to where the timers of its turn run.
  const Histogram& timer_lag() const { return timer_lag_; }
  // The longest turn since the last call that took it, also one that goes on.
  int64_t longest_turn_ns(int64_t now, bool take);

  // When the present turn (or group of quick ones) began; 0 while the loop sleeps or does not run.
  // The one thing for threads without the GIL.
  const std::atomic<int64_t>& awake_since() const { return awake_since_; }

 private:
  // A group ends in less than this, or is made smaller.
  static constexpr int64_t kQuick_ns = 10'000;
  static constexpr int64_t kLong_ns = 40'000;
  static constexpr uint32_t kLargestGroup = 32;
  static constexpr uint32_t kBeforeFirst = 0;  // the first turn of a run begins after its wait

  int64_t began() const { return awake_since_.load(std::memory_order_relaxed); }
  void awake_from(int64_t now) { awake_since_.store(now, std::memory_order_relaxed); }
  int64_t end_group(int64_t now);
  int64_t end_group_early(int64_t now);
  int64_t end_turns(int64_t now, uint32_t count);
  void begin_turns(int64_t now, uint32_t group, uint32_t untimed);

  uint32_t group_ = 1;        // so many turns are timed together
  uint32_t untimed_ = 1;      // how many of them are still to end
  uint32_t ready_turns_ = 0;  // of the group: left handles ready
  std::atomic<int64_t> awake_since_{0};
  int64_t run_began_ = 0;  // 0: it does not run
  int64_t past_runs_ns_ = 0;
  int64_t before_turns_ns_ = 0;  // busy, but in no turn
  int64_t longest_turn_ns_ = 0;
  int64_t usual_ns_ = 0;  // a turn of the group before
  Histogram turns_, ready_lag_, timer_lag_;
};

}  // namespace rloop::base
