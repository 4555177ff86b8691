// The rare ways: another context, a nested callback, a changed variable; see shared_context.hpp.
#include "native/shared_context.hpp"

namespace rloop::native {

using binding::layout_of;
using binding::Ref;

Ref SharedContext::renew() {
  Ref copy = Ref::checked(PyContext_CopyCurrent());
  if (!binding::context_layout_fits) return copy;
  table_ = layout_of(copy.get()).table;
  context_ = copy.copy();  // the values of the old one may have finalizers that come back here
  return copy;
}

Ref SharedContext::copy_of(PyObject* context) const {
  SharedContextScope* scope = is_entered(context) ? innermost_ : nullptr;
  while (scope && scope->context_ != context)
    scope = scope->outer_;
  Ref copy = Ref::checked(PyContext_Copy(context));
  if (scope) Ref::steal(std::exchange(layout_of(copy.get()).table, scope->table_.copy().release()));
  return copy;
}

bool ContextRun::enter(PyObject* context, bool is_shared) {
  leave();
  if (!binding::context_layout_fits || !PyContext_CheckExact(context)) return false;
  if (SharedContext::is_entered(context)) return false;
  if (!binding::enter_context(thread_, context)) throw binding::PythonError{};
  context_ = binding::Ref::borrow(context);
  if (is_shared) scope_.emplace(owner_, context);
  return true;
}

void ContextRun::exit() {
  Ref context = std::move(context_);  // outlives the scope, which puts its variables back
  // Somebody left another one behind: then ours cannot be left, as after PyContext_Exit's error.
  if (thread_->context == context.get()) binding::exit_context(thread_, context.get());
  scope_.reset();
}

Ref ContextRun::leave_failed() {
  Ref error = binding::take_exception();
  Ref context = std::move(context_);
  bool is_shared = scope_.has_value();
  // Before it is left: memory may be the collector's occasion (before 3.12), and a finalizer's to
  // look at a handle with this context.
  Ref copy = is_shared ? Ref::steal(PyContext_Copy(context.get())) : Ref();
  if (!binding::exit_context(thread_, context.get())) {
    Ref why = binding::take_exception();
    if (!error) error = std::move(why);
  }
  scope_.reset();
  if (is_shared && !copy) throw binding::PythonError{};
  binding::restore_exception(std::move(error));
  return copy;
}

void SharedContextScope::put_back() {
  PyObject*& table = layout_of(context_).table;
  Ref changed = Ref::steal(table);  // its values may have finalizers: they see the old table
  table = table_.release();
#if PY_VERSION_HEX < 0x030E0000
  // Still entered, if the callback has left another context behind: what variables have cached
  // goes.
  if (SharedContext::is_entered(context_)) ++PyThreadState_Get()->context_ver;
#endif
}

}  // namespace rloop::native
