// asyncio's _ThreadSafeHandle, what call_soon_threadsafe gives from 3.14 on.
//
// asyncio makes a threading.RLock for each: cancel() and cancelled() of another thread wait until
// the callback has ended, those of the callback itself do not. With the GIL somebody has to wait
// only when the holder gives the GIL up, which few callbacks do and few threads ask about. So the
// lock is a depth and the holder's number, and becomes an RLock, held on the holder's behalf, when
// another thread has to wait or when somebody asks for `_lock`; from then on that one decides.
// Needs the GIL, which is given up while waiting.
#pragma once

#include <cstdint>

#include "native/handle.hpp"

namespace rloop::native {

class ThreadSafeHandle : public Handle {
 public:
  // asyncio's name, because repr() shows it.
  static constexpr const char* kName = "rloop._core._ThreadSafeHandle";
  static constexpr const char* kDoc =
      "A callback scheduled by call_soon_threadsafe; another thread's cancel() and cancelled() "
      "wait "
      "until it has ended.";

  ThreadSafeHandle(PyObject* loop, PyObject* callback, std::span<PyObject* const> arguments,
                   Ref&& context, bool shares_context)
      : Handle(loop, callback, arguments, std::move(context), shares_context) {
    is_locked_to_run_ = true;
  }

  // As Handle's, after whoever else holds the lock. A signal handler that raises ends the wait.
  void run_locked(PyThreadState* thread);
  // Somebody does, or has a lock to do it with.
  bool is_held() const { return holder_.depth > 0 || has_lock(); }
  // While nobody holds it, and its context is entered.
  void run_entered_locked(ContextRun& among);
  void cancel();
  bool cancelled();
  Ref get_lock();

  static std::vector<PyMethodDef> methods();
  static std::vector<PyGetSetDef> attributes();

 private:
  class Hold;
  struct Holder {
    uint64_t thread;  // PyThreadState's number, which is never used again
    size_t depth;     // 0: nobody
    bool operator==(const Holder&) const = default;
  };

  bool has_lock() const { return rare_ && rare_->lock; }
  void acquire(PyThreadState* thread);
  void acquire_lock(PyThreadState* thread);
  void release();
  void release_lock();
  void forget_holder();
  void make_lock();
  bool try_make_lock();
  bool is_lost(PyThreadState* thread) const;

  Holder holder_{0, 0};
};

using ThreadSafeHandleType = binding::HeapType<ThreadSafeHandle>;

}  // namespace rloop::native
