// The share of the GIL that other threads get beside a loop that is never idle.
//
// CPython lets a thread have the GIL when its holder gives it up, else 5 ms after it has asked
// (sys.setswitchinterval). But each time that the holder gives it up for less than the asker needs
// to wake up, these begin anew: a loop whose waits all end at once kept it out for a tenth of a
// second and more. So where the waits together are short, the loop looks before it waits, with the
// GIL held, and waits only when there is nothing.
#pragma once

#include <cstdint>

#include "base/clock.hpp"
#include "native/names.hpp"

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

// Needs the GIL.
class GilShare {
 public:
  // Whether the wait that begins is to look first.
  bool looks_first() const { return withholds_ && has_other_threads(); }
  // Turns passed in which the GIL was kept. Requests for it are met between bytecodes, but where
  // all callbacks are in C there are none.
  static void meet_requests() {
    if (!has_other_threads()) return;
    static PyObject* bytecodes = names::from_stdlib("a_few_bytecodes").release();
    binding::Ref nothing = binding::call(bytecodes);
  }
  // In the system call, with the GIL or without; times of now_ns().
  void waited(int64_t from_ns, int64_t to_ns) {
    waited_ns_ += to_ns - from_ns;
    int64_t window_ns = to_ns - began_ns_;
    if (window_ns < kWindow_ns) return;
    withholds_ = waited_ns_ < window_ns / kLeastPart;
    began_ns_ = to_ns;
    waited_ns_ = 0;
  }

 private:
  static constexpr int64_t kWindow_ns = 5'000'000;
  static constexpr int64_t kLeastPart = 10;  // of the window in waits: threads get their turn there

  // The list may grow meanwhile, but nobody leaves it without the GIL.
  static bool has_other_threads() {
    return PyThreadState_Next(PyInterpreterState_ThreadHead(PyInterpreterState_Get())) != nullptr;
  }

  int64_t began_ns_ = 0;   // the window
  int64_t waited_ns_ = 0;  // within it
  bool withholds_ = false;
};

}  // namespace rloop::native
