// One Context object for the many handles that were made in the same context.
//
// asyncio gives each handle a copy of the context in which it was made: a copy and its end are half
// the cost of call_soon. Contexts that hold the same variables share their (immutable) table of
// them, so handles can share one Context object, as long as each finds in it what it would find in
// its own copy: after a callback that has set a variable the table is put back. Whoever asks a
// handle for its context gets a copy.
//
// The table is found by the layout of CPython's Context (binding/context.hpp); where that does not
// fit every handle gets its copy. Needs the GIL.
#pragma once

#include <optional>
#include <utility>

#include "binding/context.hpp"
#include "binding/ref.hpp"

namespace rloop::native {

class SharedContextScope;

// Owned by a loop.
class SharedContext {
 public:
  // A context for a new handle; `is_shared` tells whether others have it too.
  binding::Ref for_handle(bool& is_shared) {
    is_shared = binding::context_layout_fits;
    PyObject* current = PyThreadState_Get()->context;
    if (context_ && current && binding::layout_of(current).table == table_) [[likely]]
      return context_.copy();
    return renew();
  }
  // Lets go of the values that the variables had, which a handle would have let go of.
  void forget() {
    table_ = nullptr;
    context_ = binding::Ref();
  }
  bool is_held() const { return static_cast<bool>(context_); }
  static bool is_entered(PyObject* context) { return binding::layout_of(context).entered != 0; }
  // A copy of `context`; if a callback runs in it, as it was before that.
  binding::Ref copy_of(PyObject* context) const;
  template <class Each>
  void references(Each each) {
    each(context_);
  }

 private:
  friend class SharedContextScope;
  binding::Ref renew();

  binding::Ref context_;
  PyObject* table_ = nullptr;  // of context_ while no callback runs in it; borrowed from there
  SharedContextScope* innermost_ = nullptr;
};

// Stands around a callback that runs in a shared context: puts its variables back at the end.
class SharedContextScope {
 public:
  SharedContextScope(SharedContext& owner, PyObject* context)
      : owner_(owner),
        outer_(std::exchange(owner.innermost_, this)),
        context_(context),
        table_(binding::Ref::borrow(binding::layout_of(context).table)) {}
  ~SharedContextScope() {
    owner_.innermost_ = outer_;
    if (is_changed()) [[unlikely]]
      put_back();
  }
  SharedContextScope(const SharedContextScope&) = delete;
  SharedContextScope& operator=(const SharedContextScope&) = delete;

  // A variable has another value than at the beginning.
  bool is_changed() const { return !table_.is(binding::layout_of(context_).table); }

 private:
  friend class SharedContext;
  void put_back();

  SharedContext& owner_;
  SharedContextScope* outer_;
  PyObject* context_;
  binding::Ref table_;
};

// Handles that run one after the other in the same context, a shared one or one that they were
// given: it is entered once for all of them, and left when one with another context comes, when a
// variable of a shared one was changed, and at the end. From 3.14 on entering and leaving are calls
// (binding/context.hpp).
class ContextRun {
 public:
  ContextRun(SharedContext& owner, PyThreadState* thread) : owner_(owner), thread_(thread) {}
  ~ContextRun() { leave(); }
  ContextRun(const ContextRun&) = delete;
  ContextRun& operator=(const ContextRun&) = delete;

  PyThreadState* thread() const { return thread_; }
  bool is_entered() const { return static_cast<bool>(context_); }
  // `context` is the current one, with the variables that it was shared with.
  bool is_in(PyObject* context) const {
    return context_.is(context) && is_current() && !(scope_ && scope_->is_changed());
  }
  // Makes it so; false when it is entered by somebody else, or is no Context.
  bool enter(PyObject* context, bool is_shared);
  // False when a callback has left the context, or another one in its place.
  bool is_current() const { return thread_->context == context_.get(); }
  void leave() {
    if (context_) exit();
  }
  // After a callback that failed, whose exception stays set, or that has left another context
  // behind, which becomes the exception: leaves, and returns a copy of a shared context as it is by
  // then.
  binding::Ref leave_failed();

 private:
  void exit();

  SharedContext& owner_;
  PyThreadState* thread_;
  binding::Ref context_;                     // the one that is entered, or null
  std::optional<SharedContextScope> scope_;  // of a shared one
};

}  // namespace rloop::native
