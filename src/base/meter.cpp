// What the meter makes of its groups of turns; see meter.hpp.
#include "base/meter.hpp"

namespace rloop::base {

void Meter::run_begins(int64_t now) {
  run_began_ = now;
  begin_turns(now, kBeforeFirst, 1);
}

void Meter::run_ends(int64_t now) {
  if (run_began_ == 0) return;             // it has ended by a fork
  if (began() != 0) end_group_early(now);  // else the wait has failed
  past_runs_ns_ += now - run_began_;
  run_began_ = 0;
}

int64_t Meter::busy_ns(int64_t now) const {
  int64_t since = began();
  int64_t past = static_cast<int64_t>(turns_.total_ns()) + before_turns_ns_;
  return since == 0 ? past : past + now - since;
}

int64_t Meter::idle_ns(int64_t now) const {
  int64_t run = run_began_ == 0 ? 0 : now - run_began_;
  return past_runs_ns_ + run - busy_ns(now);
}

int64_t Meter::longest_turn_ns(int64_t now, bool take) {
  int64_t since = group_ == kBeforeFirst ? 0 : began();
  int64_t longest = std::max(longest_turn_ns_, since == 0 ? 0 : now - since);
  if (take) longest_turn_ns_ = 0;
  return longest;
}

// The next group is larger after a quick one, so that reading the clock costs next to nothing, and
// a single turn after a slow one.
int64_t Meter::end_group(int64_t now) {
  int64_t spent = now - began();
  int64_t longest = end_turns(now, group_);
  uint32_t group = std::max(group_, 1U);
  if (group_ != kBeforeFirst && spent < kQuick_ns) group = std::min(group * 2, kLargestGroup);
  if (spent > kLong_ns) group = 1;
  begin_turns(now, group, group);
  return longest;
}

// With the turn that ends now, and a sleep or the end of the run behind it.
int64_t Meter::end_group_early(int64_t now) {
  uint32_t count = group_ == kBeforeFirst ? 0 : group_ - untimed_ + 1;
  int64_t longest = end_turns(now, count);
  begin_turns(0, 1, 1);  // by wakes
  return longest;
}

void Meter::begin_turns(int64_t now, uint32_t group, uint32_t untimed) {
  awake_from(now);
  group_ = group;
  untimed_ = untimed;
  ready_turns_ = 0;
}

// The turns of a group count as equally long. Where they took much longer than those of the group
// before, one of them was slow, and the others count as long as those: its length is wrong by what
// a group takes, some 10 us, at most.
int64_t Meter::end_turns(int64_t now, uint32_t count) {
  int64_t spent = now - began();
  if (count == 0) {
    before_turns_ns_ += spent;
    return 0;
  }
  int64_t usual = count == 1 ? spent : spent / count;
  if (count > 1 && spent > kLong_ns && usual_ns_ * count < spent / 2) usual = usual_ns_;
  int64_t longest = spent - usual * (count - 1);
  if (count > 1) turns_.record(usual, count - 1);
  turns_.record(longest);
  if (ready_turns_ > 0) {
    ready_lag_.record(longest);
    if (ready_turns_ > 1) ready_lag_.record(usual, ready_turns_ - 1);
  }
  usual_ns_ = usual;
  longest_turn_ns_ = std::max(longest_turn_ns_, longest);
  return longest;
}

}  // namespace rloop::base
