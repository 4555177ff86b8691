// See gil_share.hpp.
#include "native/gil_share.hpp"

#include "base/clock.hpp"
#include "native/names.hpp"

namespace rloop::native {
namespace {

PyObject* pass_bytecodes = nullptr;

}  // namespace

void GilShare::define() {
  pass_bytecodes = names::from_stdlib("pass_bytecodes").release();
}

void GilShare::run_begins(int64_t now_ns) {
  began_ns_ = now_ns;
  waited_ns_ = 0;
  withholds_ = is_time_ = false;
}

void GilShare::waited(int64_t from_ns, int64_t to_ns) {
  waited_ns_ += to_ns - from_ns;
  int64_t window_ns = to_ns - began_ns_;
  if (window_ns < kWindow_ns) return;
  withholds_ = waited_ns_ < window_ns / kLeastPartInWaits;
  began_ns_ = to_ns;
  waited_ns_ = 0;
}

void GilShare::turns_passed() {
  constexpr int64_t kLeast_ns = 1'000'000;  // small against the 5 ms of who asks
  uint64_t now = base::ticks();
  if (now - met_at_ticks_ < base::ticks_of(kLeast_ns)) return;
  met_at_ticks_ = now;
  is_time_ = has_other_threads();
}

// Reads no state but the caller's own: others may begin and end meanwhile.
bool GilShare::has_other_threads() {
  PyThreadState* own = PyThreadState_Get();
  return PyInterpreterState_ThreadHead(PyThreadState_GetInterpreter(own)) != own ||
         PyThreadState_Next(own) != nullptr;
}

void GilShare::run_bytecodes() {
  binding::Ref nothing = binding::call(pass_bytecodes);
}

}  // namespace rloop::native
