// contextvars.Context objects: the layout of CPython's, its check, entering and leaving.
//
// A callback is entered and left once each, which PyContext_Enter and PyContext_Exit make two calls
// with a look-up of the thread in each; the same few stores are here, inline. The layout is checked
// when the module is imported, on real contexts; where it does not fit, the functions of CPython
// are called and nothing is shared (SharedContext): slower, never wrong. From 3.14 on they are
// called in any case: contexts can be watched there (PyContext_AddWatcher), and whether anybody
// does is written in the interpreter's state alone, whose layout may change with every release.
// Needs the GIL.
#pragma once

#include <utility>

#include "binding/ref.hpp"

namespace rloop::binding {

// CPython's PyContext (Include/internal/pycore_context.h), the same from 3.11 to 3.15.
struct ContextLayout {
  PyObject head;
  PyObject* previous;  // what was entered before this one; its reference
  PyObject* table;     // an immutable mapping of the variables
  PyObject* weak_references;
  int entered;
};

inline ContextLayout& layout_of(PyObject* context) {
  return *reinterpret_cast<ContextLayout*>(context);
}

// Set by check_context_layout. May become false as long as there is no loop, for tests.
inline bool context_layout_fits = false;

// Makes `context` the current one; false with RuntimeError set when it is entered already, with
// TypeError when it is no Context.
inline bool enter_context([[maybe_unused]] PyThreadState* thread, PyObject* context) {
#if PY_VERSION_HEX < 0x030E0000
  ContextLayout& layout = layout_of(context);
  if (context_layout_fits && PyContext_CheckExact(context) && layout.entered == 0) [[likely]] {
    layout.previous = thread->context;
    layout.entered = 1;
    thread->context = Py_NewRef(context);
    ++thread->context_ver;
    return true;
  }
#endif
  return PyContext_Enter(context) == 0;
}

// Makes the one before it the current one; false with RuntimeError set when it is not the current.
inline bool exit_context([[maybe_unused]] PyThreadState* thread, PyObject* context) {
#if PY_VERSION_HEX < 0x030E0000
  ContextLayout& layout = layout_of(context);
  if (context_layout_fits && layout.entered == 1 && thread->context == context) [[likely]] {
    thread->context = std::exchange(layout.previous, nullptr);
    layout.entered = 0;
    ++thread->context_ver;
    Py_DECREF(context);
    return true;
  }
#endif
  return PyContext_Exit(context) == 0;
}

// To be called when the module is imported. Looks at real contexts: equal ones share a table, a new
// value changes it, entering shows. A field more, of which we would not know when to change it,
// changes the size.
inline void check_context_layout() {
  if (PyContext_Type.tp_basicsize != static_cast<Py_ssize_t>(sizeof(ContextLayout))) return;
  PyThreadState* thread = PyThreadState_Get();
  Ref before = Ref::steal(Py_XNewRef(thread->context));
  Ref variable = Ref::checked(PyContextVar_New("rloop_check", nullptr));
  Ref first = Ref::checked(PyContext_New());
  check(PyContext_Enter(first.get()));
  bool fits = thread->context == first.get();
  Ref token = Ref::checked(PyContextVar_Set(variable.get(), Py_None));
  Ref second = Ref::checked(PyContext_CopyCurrent());
  ContextLayout& one = layout_of(first.get());
  ContextLayout& two = layout_of(second.get());
  fits = fits && one.table && one.table == two.table && one.entered == 1 && two.entered == 0 &&
         one.previous == before.get();
  Ref other = Ref::checked(PyContextVar_Set(variable.get(), Py_True));
  fits = fits && one.table != two.table;
  check(PyContext_Exit(first.get()));
  context_layout_fits =
      fits && one.entered == 0 && !one.previous && thread->context == before.get();
}

}  // namespace rloop::binding
