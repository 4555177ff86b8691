// Lending the shared context and taking it back; see connection_contexts.hpp.
#include "native/connection_contexts.hpp"

namespace rloop::native {

using binding::context_layout_fits;
using binding::layout_of;

bool ConnectionContexts::is_like_current() const {
  PyObject* current = PyThreadState_Get()->context;
  return current && has_original_table(current);
}

Ref ConnectionContexts::lend() {
  if (!context_layout_fits) return {};
  if (!shared_) shared_ = copy_of_original();
  if (!shared_) return {};
  return layout_of(shared_.get()).entered ? Ref() : shared_.copy();
}

Ref ConnectionContexts::take_back(Ref lent) {
  constexpr Py_ssize_t kOurs = 2;  // `lent` and `shared_`
  bool is_as_lent = has_original_table(lent.get()) && Py_REFCNT(lent.get()) == kOurs;
  if (is_as_lent) [[likely]]
    return {};
  if (shared_.is(lent.get())) shared_ = Ref();
  return lent;
}

}  // namespace rloop::native
