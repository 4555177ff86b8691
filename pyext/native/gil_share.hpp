// The share of the GIL that other threads get beside a loop that is never idle.
//
// CPython lets a thread have the GIL when its holder gives it up, else 5 ms after it has asked
// (sys.setswitchinterval), between two bytecodes of the holder. But each time that the holder gives
// it up for less than the asker needs to wake up, these 5 ms begin anew: a loop whose waits all end
// at once kept it out for a tenth of a second and more. So where the waits together are short, the
// loop looks before it waits, with the GIL held, and waits only when there is nothing. And for
// loops whose callbacks are all in C it runs a few bytecodes now and then.
#pragma once

#include <cstdint>
#include <utility>

#include "binding/ref.hpp"

namespace rloop::native {

// The loop's thread gives the GIL up for the time of a wait that may block.
class GilRelease {
 public:
  GilRelease() : state_(PyEval_SaveThread()) {}
  ~GilRelease() {
    binding::into_python([this] { PyEval_RestoreThread(state_); });
  }

 private:
  PyThreadState* state_;
};

// Needs the GIL; times are of base::now_ns().
class GilShare {
 public:
  static void define();  // at import: nothing of it may happen while somebody asks for the GIL

  void run_begins(int64_t now_ns);

  // Whether the wait that begins is to look first.
  bool looks_first() const { return withholds_ && has_other_threads(); }
  // With the GIL or without.
  void waited(int64_t from_ns, int64_t to_ns);

  // Some turns passed in which the GIL was kept.
  void turns_passed();
  // Those who have asked for the GIL for long enough get it now. May run the program's signal
  // handlers, and throw what they raise.
  void meet_requests() {
    if (std::exchange(is_time_, false)) [[unlikely]]
      run_bytecodes();
  }

 private:
  static constexpr int64_t kWindow_ns = 5'000'000;
  // Who asks wakes up at some moment, and finds the GIL free as often as the loop waits: with a
  // tenth of the time it takes some ten moments.
  static constexpr int64_t kLeastPartInWaits = 10;

  static bool has_other_threads();
  static void run_bytecodes();

  int64_t began_ns_ = 0;   // the window
  int64_t waited_ns_ = 0;  // within it
  bool withholds_ = false;
  bool is_time_ = false;  // to meet requests
  uint64_t met_at_ticks_ = 0;
};

}  // namespace rloop::native
