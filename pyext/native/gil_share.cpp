#include "native/gil_share.hpp"

#include "base/clock.hpp"
#include "binding/call.hpp"

namespace rloop::native {

using binding::Ref;

namespace {

Ref function_of_nothing() {
  Ref globals = Ref::checked(PyDict_New());
  return Ref::checked(binding::into_python(
      [&] { return PyRun_String("lambda: None", Py_eval_input, globals.get(), globals.get()); }));
}

}  // namespace

void GilShare::run_begins(int64_t now_ns) {
  began_ns_ = now_ns;
  waited_ns_ = 0;
  withholds_ = meets_requests_ = false;
}

void GilShare::waited(int64_t from_ns, int64_t to_ns) {
  waited_ns_ += to_ns - from_ns;
  int64_t window_ns = to_ns - began_ns_;
  if (window_ns < kWindow_ns) return;
  withholds_ = waited_ns_ < window_ns / 10;
  began_ns_ = to_ns;
  waited_ns_ = 0;
}

void GilShare::turns_passed() {
  constexpr int64_t kLeast_ns = 1'000'000;  // of the 5 ms that who asks waits
  uint64_t now = base::ticks();
  if (now - met_at_ticks_ < base::ticks_of(kLeast_ns)) return;
  met_at_ticks_ = now;
  meets_requests_ = has_other_threads();
}

// Reads no state but the caller's own: others may begin and end meanwhile.
bool GilShare::has_other_threads() {
  PyThreadState* own = PyThreadState_Get();
  return PyInterpreterState_ThreadHead(PyThreadState_GetInterpreter(own)) != own ||
         PyThreadState_Next(own) != nullptr;
}

void GilShare::run_bytecodes() {
  static PyObject* nothing = function_of_nothing().release();
  Ref result = binding::call(nothing);
}

}  // namespace rloop::native
