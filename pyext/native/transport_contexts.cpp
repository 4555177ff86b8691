// In which context a transport calls its protocol.
//
// Its own (asyncio's, from 3.15 on, or a copy of its maker's), or one that the connections of its
// listener share, lent for each upcall; see transport.hpp and connection_contexts.hpp.
#include "native/transport.hpp"

namespace rloop::native {
namespace {

ConnectionContexts& value_of(const Ref& contexts) {
  return ConnectionContextsType::value(contexts.get());
}

}  // namespace

bool Transport::shares_current_context() const {
  return contexts_ && value_of(contexts_).is_like_current();
}

// A shared context for one call; null where the transport has one of its own, afterwards at least,
// and for want of memory: that the call is made counts more than where.
Ref Transport::borrow_context() {
  if (context_ || !contexts_) return {};
  try {
    Ref lent = value_of(contexts_).lend();
    if (!lent) context_ = value_of(contexts_).copy_of_original();
    return lent;
  } catch (const binding::PythonError&) {
    PyErr_Clear();
    return {};
  }
}

// For who keeps it; null when the collector has cleared it.
PyObject* Transport::own_context() {
  if (!context_ && contexts_) context_ = value_of(contexts_).copy_of_original();
  return context_.get();
}

// Null when the upcall runs in the transport's own context, or in that of an upcall under way.
Ref Transport::lent_for_upcall() {
  if (context_ || borrows_context_) return {};
  Ref lent = borrow_context();
  borrows_context_ = static_cast<bool>(lent);
  return lent;
}

// After the upcall; `lent` is what it ran in, or null.
void Transport::settle_context(Ref lent) {
  ConnectionContexts& contexts = value_of(contexts_);
  if (lent) {
    borrows_context_ = false;
    context_ = contexts.take_back(std::move(lent));
  } else if (context_ && contexts.is_like_shared(context_.get())) {
    context_ = Ref();
  }
}

// After connection_lost and in its context, as asyncio: the protocol may end here, a socket of the
// program's own class is closed.
void Transport::release_in_context() {
  Ref contexts = contexts_.copy();  // these outlive us
  Ref lent = borrow_context();
  Ref own = context_.copy();
  {
    ContextScope scope(lent ? lent.get() : own.get());
    release();
  }
  if (lent) value_of(contexts).take_back(std::move(lent));
}

}  // namespace rloop::native
