// asyncio.Handle and asyncio.TimerHandle: a callback, its arguments and its context.
//
// Real subclasses of asyncio's classes (users do isinstance checks), whose inherited slot names all
// answer. Handles are made and freed on every callback: both types keep a free list. A Handle keeps
// its loop, as asyncio's does. Needs the GIL.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "binding/heap_type.hpp"
#include "native/call_arguments.hpp"

namespace rloop::native {

using binding::Arguments;
using binding::Ref;

class Loop;
class ContextRun;

class Handle {
 public:
  static constexpr const char* kName = "rloop._core.Handle";
  static constexpr const char* kDoc =
      "A scheduled callback; see asyncio.Handle. Made by the loop's call_soon.";
  static constexpr size_t kFreeList = 1024;
  // Most handles are gone a turn later, and nobody but the ready queue ever held them: the queue
  // shows their references to the collector, which spares it a third of its work in a program with
  // a thousand callbacks under way. A handle that somebody else holds is tracked once it has run.
  static constexpr bool kTrackedLater = true;

  // `shares_context`: other handles have the same context object; see SharedContext.
  Handle(PyObject* loop, PyObject* callback, std::span<PyObject* const> arguments, Ref&& context,
         bool shares_context)
      : loop_(Ref::borrow(loop)),
        callback_(Ref::borrow(callback)),
        context_(std::move(context)),
        shares_context_(shares_context),
        arguments_(arguments) {}

  // Runs the callback in its context. A failure is given to the loop's exception handler, except
  // SystemExit and KeyboardInterrupt, which are thrown. `thread` is the current one.
  void run(PyThreadState* thread);
  // The same among others, which may have the same context; `next` comes after it, or is null.
  void run_among(ContextRun& among, PyObject* next);
  // Whether somebody's finalizer may run when this handle goes.
  bool takes_something_along() const;
  void run_by_user();
  void cancel();
  bool cancelled() { return cancelled_; }
  PyObject* loop() const { return loop_.get(); }

  static std::vector<PyMethodDef> methods();
  static std::vector<PyGetSetDef> attributes();
  template <class Each>
  void references(Each each) {
    each(loop_);
    each(callback_);
    each(context_);
    arguments_.references(each);
    if (!rare_) return;
    each(rare_->repr);
    each(rare_->source_traceback);
    each(rare_->when);
    each(rare_->replaced_callback);
    each(rare_->lock);
  }
  // The collector emptied the references: there is nothing to run, and no context to enter.
  void cleared() {
    cancelled_ = true;
    shares_context_ = false;
  }

  Ref get_callback();
  void set_callback(PyObject* callback);
  Ref get_args();
  Ref get_context();
  Ref get_loop();
  Ref get_repr();
  Ref get_source_traceback();
  void set_source_traceback(Ref traceback) { rare().source_traceback = std::move(traceback); }

 protected:
  // What few handles have.
  struct Rare {
    Ref repr;               // debug mode: what it was before it was cancelled
    Ref source_traceback;   // debug mode: where it was scheduled
    Ref when;               // of a timer, when it was not given as a float
    Ref replaced_callback;  // the one that runs
    Ref lock;               // of a ThreadSafeHandle that threads have met at
  };

  Rare& rare();
  // For ThreadSafeHandle, which holds its lock meanwhile.
  void run_now(PyThreadState* thread);
  void run_entered_now(ContextRun& among);
  void refuse_to_run();

  std::unique_ptr<Rare> rare_;
  bool running_ = false;
  bool is_locked_to_run_ = false;  // a ThreadSafeHandle

 private:
  void run_rarely(PyThreadState* thread);
  void run_inline(PyThreadState* thread);
  void run_entered(ContextRun& among);
  void drop_call();
  bool is_forgotten() const { return cancelled_ && !describes_itself_; }
  Ref call_in_context(PyThreadState* thread);
  Ref call_through_context();
  Ref call_in_shared_context(PyThreadState* thread);
  Ref call_beside_callback(PyThreadState* thread);
  Ref leave_shared_context();
  void end_run(bool failed);
  bool is_free() const;
  bool enters_among(ContextRun& among, PyObject* next);
  void fail_among(ContextRun& among);
  void report_failure(Ref error);

  Ref loop_;
  Ref callback_;
  Ref context_;
  bool cancelled_ = false;
  bool describes_itself_ = false;   // as cancelled, but with its callback
  bool callback_replaced_ = false;  // while it runs
  bool shares_context_;
  CallArguments arguments_;
};

class TimerHandle : public Handle {
 public:
  static constexpr const char* kName = "rloop._core.TimerHandle";
  static constexpr const char* kDoc =
      "A callback scheduled for a time; see asyncio.TimerHandle. Made by the loop's call_later.";

  TimerHandle(PyObject* loop, PyObject* callback, std::span<PyObject* const> arguments,
              Ref&& context, bool shares_context, double when)
      : Handle(loop, callback, arguments, std::move(context), shares_context), when_(when) {}

  void cancel();
  Ref when();
  double when_seconds() const { return when_; }
  // Of another type than float: when() gives it back as it came.
  void keep_when(PyObject* when) { rare().when = Ref::borrow(when); }
  // Where it stands among the loop's timers; kNowhere when it does not wait there.
  static constexpr size_t kNowhere = static_cast<size_t>(-1);
  size_t place() const { return place_; }
  void set_place(size_t place) { place_ = place; }

  static std::vector<PyMethodDef> methods();
  static std::vector<PyGetSetDef> attributes();
  bool get_scheduled() { return place_ != kNowhere; }

 private:
  double when_;  // seconds of the loop's clock
  size_t place_ = kNowhere;
};

using HandleType = binding::HeapType<Handle>;
using TimerHandleType = binding::HeapType<TimerHandle>;

// Both types put their value at the same place, so this serves either.
inline Handle& handle_of(PyObject* object) {
  return HandleType::value(object);
}

void define_handles(PyObject* module);

}  // namespace rloop::native
