// Before a reactor sleeps it may look, for a moment, whether more comes.
//
// A reader that is quicker than its peer catches up with it again and again: it sleeps, and is
// woken for each piece, for which both sides pay (on a virtual machine some 10 us each). The next
// piece would have been there within a few. So, for some waits after much was received at once,
// the reactor looks without sleeping for up to kLook_ns. Where nothing comes in that time (a slow
// network, a peer on the same CPU), ever more such waits sleep at once: a look in vain is rare.
//
// finds() runs where the reactor waits, without the GIL; everything else needs the GIL.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "base/clock.hpp"

namespace rloop::reactor {

class Lingering {
 public:
  static constexpr size_t kMuch_bytes = 16 * 1024;
  static constexpr int64_t kLook_ns = 20'000;

  void received(size_t size) {
    if (size >= kMuch_bytes) [[unlikely]]
      waits_left_ = kWaits;
  }

  // Decides whether this wait looks first.
  void wait_begins(int64_t timeout_ns) {
    if (std::exchange(looked_, false)) note_outcome();
    lingers_ = waits_left_ > 0 && timeout_ns != 0;
    if (!lingers_) [[likely]]
      return;
    --waits_left_;
    if (to_pass_ == 0) return;
    --to_pass_;
    lingers_ = false;
  }

  // Looks until `look` says that there is something. False: it is time to sleep, for what is left
  // of `timeout_ns`.
  template <class Look>
  bool finds(int64_t& timeout_ns, Look look) {
    if (!lingers_) [[likely]]
      return false;
    int64_t began_ns = base::now_ns();
    int64_t took_ns = 0;
    looked_ = true;
    do {
      ++looks_;
      found_ = look();
      if (found_) return true;
      took_ns = base::now_ns() - began_ns;
    } while (took_ns < std::min(kLook_ns, timeout_ns));
    if (timeout_ns != base::kNever) timeout_ns = std::max<int64_t>(timeout_ns - took_ns, 0);
    return false;
  }

  // The system calls of the last wait beside the one that would sleep, which is not made where a
  // look finds something.
  uint64_t take_extra_calls() {
    return looks_ == 0 ? 0 : std::exchange(looks_, 0) - (found_ ? 1 : 0);
  }

 private:
  static constexpr int kWaits = 4;
  static constexpr int kMostMisses = 6;

  void note_outcome() {
    misses_ = found_ ? 0 : std::min(misses_ + 1, kMostMisses);
    to_pass_ = (1 << misses_) - 1;
  }

  int waits_left_ = 0;
  int misses_ = 0;        // looks in vain, in a row
  int to_pass_ = 0;       // waits that could look and do not
  bool lingers_ = false;  // this wait looks
  bool looked_ = false;   // the last one did
  bool found_ = false;
  uint64_t looks_ = 0;
};

}  // namespace rloop::reactor
