// The layout of a Context, its check, and what it allows; see shared_context.hpp.
#include "native/shared_context.hpp"

#include <utility>

#include "binding/call.hpp"

namespace rloop::native {
namespace {

using binding::Ref;

// CPython's PyContext (Include/internal/pycore_context.h), the same from 3.11 to 3.14.
struct ContextLayout {
  PyObject head;
  PyObject* previous;
  PyObject* table;  // an immutable mapping of the variables
  PyObject* weak_references;
  int entered;
};

ContextLayout& layout_of(PyObject* context) {
  return *reinterpret_cast<ContextLayout*>(context);
}

// Looks at real contexts: equal ones share a table, a new value changes it, entering shows.
bool check_layout() {
  if (PyContext_Type.tp_basicsize < static_cast<Py_ssize_t>(sizeof(ContextLayout))) return false;
  Ref variable = Ref::checked(PyContextVar_New("rloop_check", nullptr));
  Ref first = Ref::checked(PyContext_New());
  binding::check(PyContext_Enter(first.get()));
  Ref token = Ref::checked(PyContextVar_Set(variable.get(), Py_None));
  Ref second = Ref::checked(PyContext_CopyCurrent());
  ContextLayout& one = layout_of(first.get());
  ContextLayout& two = layout_of(second.get());
  bool fits = one.table && one.table == two.table && one.entered == 1 && two.entered == 0;
  Ref other = Ref::checked(PyContextVar_Set(variable.get(), Py_True));
  fits = fits && one.table != two.table;
  binding::check(PyContext_Exit(first.get()));
  return fits && one.entered == 0;
}

bool can_share() {
  static const bool fits = check_layout();
  return fits;
}

}  // namespace

Ref SharedContext::for_handle(bool& is_shared) {
  is_shared = can_share();
  if (!is_shared) return Ref::checked(PyContext_CopyCurrent());
  PyObject* current = PyThreadState_Get()->context;
  if (context_ && current && layout_of(current).table == table_) return context_.copy();
  context_ = Ref::checked(PyContext_CopyCurrent());
  table_ = layout_of(context_.get()).table;
  return context_.copy();
}

Ref SharedContext::copy_beside_callback(PyObject* context) const {
  if (layout_of(context).entered == 0) return nullptr;
  SharedContextScope* scope = innermost_;
  while (scope && scope->context_ != context)
    scope = scope->outer_;
  Ref copy = Ref::checked(PyContext_Copy(context));
  if (scope) Ref::steal(std::exchange(layout_of(copy.get()).table, scope->table_.copy().release()));
  return copy;
}

SharedContextScope::SharedContextScope(SharedContext& owner, PyObject* context)
    : owner_(owner),
      outer_(std::exchange(owner.innermost_, this)),
      context_(context),
      table_(Ref::borrow(layout_of(context).table)) {}

SharedContextScope::~SharedContextScope() {
  owner_.innermost_ = outer_;
  PyObject*& table = layout_of(context_).table;
  if (table == table_.get()) [[likely]]
    return;
  Ref changed = Ref::steal(table);  // its values may have finalizers: they see the old table
  table = table_.release();
}

}  // namespace rloop::native
