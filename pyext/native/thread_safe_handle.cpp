// Holding, waiting, and the lock that stands in when threads meet; see thread_safe_handle.hpp.
#include "native/thread_safe_handle.hpp"

#include <string_view>

#include "native/names.hpp"
#include "native/shared_context.hpp"

namespace rloop::native {
namespace {

// The thread with this number, or null: it has ended, or this is the child of a fork.
PyThreadState* find_thread(PyThreadState* current, uint64_t id) {
  for (PyThreadState* each = PyInterpreterState_ThreadHead(current->interp); each;
       each = PyThreadState_Next(each)) {
    if (each->id == id) return each;
  }
  return nullptr;
}

}  // namespace

class ThreadSafeHandle::Hold {
 public:
  Hold(ThreadSafeHandle& handle, PyThreadState* thread) : handle_(handle) {
    handle_.acquire(thread);
  }
  Hold(const Hold&) = delete;
  Hold& operator=(const Hold&) = delete;
  ~Hold() { handle_.release(); }

 private:
  ThreadSafeHandle& handle_;
};

inline void ThreadSafeHandle::acquire(PyThreadState* thread) {
  bool is_ours = holder_.depth == 0 || holder_.thread == thread->id;
  if (!is_ours || has_lock()) [[unlikely]]
    return acquire_lock(thread);
  holder_.thread = thread->id;
  ++holder_.depth;
}

void ThreadSafeHandle::acquire_lock(PyThreadState* thread) {
  if (is_lost(thread)) {
    forget_holder();
    return acquire(thread);
  }
  if (!has_lock()) make_lock();
  Ref lock = rare().lock.copy();
  binding::call_method(lock.get(), names::acquire);
  holder_.thread = thread->id;
  ++holder_.depth;
}

inline void ThreadSafeHandle::release() {
  --holder_.depth;
  if (has_lock()) [[unlikely]]
    release_lock();
}

// May be called with an error set.
void ThreadSafeHandle::release_lock() {
  Ref pending = binding::take_exception();
  Ref lock = rare().lock.copy();
  if (!binding::try_call_method(lock.get(), names::release)) PyErr_WriteUnraisable(lock.get());
  if (pending) binding::restore_exception(std::move(pending));
}

// Whatever held it will never end: the child of a fork would wait for ever, as with asyncio.
void ThreadSafeHandle::forget_holder() {
  if (rare_) rare_->lock = nullptr;
  holder_ = {};
  running_ = false;
}

void ThreadSafeHandle::make_lock() {
  if (is_lost(PyThreadState_Get())) forget_holder();
  while (!has_lock() && !try_make_lock()) {
  }
}

// False when the holder has changed while Python code ran.
bool ThreadSafeHandle::try_make_lock() {
  static PyObject* type = binding::import_from("_thread", "RLock").release();
  Holder holder = holder_;
  Ref lock = binding::call(type);
  if (holder.depth > 0) {
    PyThreadState* thread = find_thread(PyThreadState_Get(), holder.thread);
    if (!thread) return false;
    Ref state = Ref::checked(Py_BuildValue("(nk)", static_cast<Py_ssize_t>(holder.depth),
                                           static_cast<unsigned long>(thread->thread_id)));
    // What threading.Condition does after a wait; nobody else knows the lock yet.
    binding::call_method(lock.get(), names::acquire_restore, state.get());
  }
  if (has_lock()) return true;
  if (!(holder == holder_)) return false;
  rare().lock = std::move(lock);
  return true;
}

bool ThreadSafeHandle::is_lost(PyThreadState* thread) const {
  return holder_.depth > 0 && !find_thread(thread, holder_.thread);
}

void ThreadSafeHandle::run_locked(PyThreadState* thread) {
  Hold hold(*this, thread);
  if (Handle::cancelled()) return;
  if (running_) [[unlikely]]
    return refuse_to_run();
  run_now(thread);
}

void ThreadSafeHandle::run_entered_locked(ContextRun& among) {
  Hold hold(*this, among.thread());
  run_entered_now(among);
}

void ThreadSafeHandle::cancel() {
  Hold hold(*this, PyThreadState_Get());
  Handle::cancel();
}

bool ThreadSafeHandle::cancelled() {
  if (!is_held()) [[likely]]
    return Handle::cancelled();
  Hold hold(*this, PyThreadState_Get());
  return Handle::cancelled();
}

// A program that holds it keeps the callback from running.
Ref ThreadSafeHandle::get_lock() {
  make_lock();
  return rare().lock.copy();
}

std::vector<PyMethodDef> ThreadSafeHandle::methods() {
  using binding::method;
  std::vector<PyMethodDef> all = Handle::methods();
  std::erase_if(all, [](const PyMethodDef& inherited) {
    std::string_view name = inherited.ml_name;
    return name == "cancel" || name == "cancelled";
  });
  all.push_back(method<&ThreadSafeHandle::cancel>(
      "cancel", "cancel($self)\n--\n\nCancel the callback; waits when it runs in another thread."));
  all.push_back(method<&ThreadSafeHandle::cancelled>(
      "cancelled",
      "cancelled($self)\n--\n\nTrue if it was cancelled; waits when it runs in another thread."));
  return all;
}

std::vector<PyGetSetDef> ThreadSafeHandle::attributes() {
  std::vector<PyGetSetDef> all = Handle::attributes();
  all.push_back(binding::attribute<&ThreadSafeHandle::get_lock>("_lock", nullptr));
  return all;
}

}  // namespace rloop::native
