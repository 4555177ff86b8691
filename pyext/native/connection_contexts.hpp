// One Context object for the many connections of a listener.
//
// asyncio calls each protocol in a context of its own, a copy of the listener's: 90 bytes a
// connection, in which hardly any protocol ever sets a variable. Here the connections share one
// object, until a call leaves a variable changed or the object in somebody's hands: from then on
// that very object is the connection's (what ContextVar.set returned belongs to it), and the others
// share a new one. Needs the layout of CPython's Context (binding/context.hpp); where that does not
// fit, each connection has its copy. Needs the GIL.
#pragma once

#include "binding/context.hpp"
#include "binding/heap_type.hpp"

namespace rloop::native {

using binding::Ref;

// Held by the listener and by its connections.
class ConnectionContexts {
 public:
  static constexpr const char* kName = "rloop._core.ConnectionContexts";
  static constexpr const char* kDoc = "The context that a listener's connections share.";

  explicit ConnectionContexts(PyObject* listeners)
      : original_(Ref::checked(PyContext_Copy(listeners))) {}

  // The current context has the variables of the listener's.
  bool is_like_current() const;
  // Nobody could tell this context, which a connection holds, from a shared one.
  bool is_like_shared(PyObject* own) const {
    return has_original_table(own) && Py_REFCNT(own) == 1;
  }
  // For one call of a protocol: the shared context, or null while it is entered, by a call that
  // led to another connection's: then the connection needs a copy_of_original().
  Ref lend();
  Ref copy_of_original() const {
    return original_ ? Ref::checked(PyContext_Copy(original_.get())) : Ref();
  }
  // After the call. Returns the context if it is the connection's from now on, else null.
  Ref take_back(Ref lent);

  static std::vector<PyMethodDef> methods() { return {}; }
  static std::vector<PyGetSetDef> attributes() { return {}; }
  template <class Each>
  void references(Each each) {
    each(original_);
    each(shared_);
  }

 private:
  bool has_original_table(PyObject* context) const {
    return binding::context_layout_fits && original_ &&
           binding::layout_of(context).table == binding::layout_of(original_.get()).table;
  }

  Ref original_;  // never entered; null once the collector has cleared it
  Ref shared_;    // made when it is first lent
};

using ConnectionContextsType = binding::HeapType<ConnectionContexts>;

}  // namespace rloop::native
