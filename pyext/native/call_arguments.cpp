// More than four arguments, and what Python sees of them; see call_arguments.hpp.
#include "native/call_arguments.hpp"

namespace rloop::native {

using binding::Ref;

namespace {

// `place(i)` gives a new reference.
template <class Place>
Ref tuple_of(Place place, size_t count) {
  Ref tuple = Ref::checked(PyTuple_New(static_cast<Py_ssize_t>(count)));
  for (size_t i = 0; i < count; ++i)
    PyTuple_SET_ITEM(tuple.get(), static_cast<Py_ssize_t>(i), place(i).release());
  return tuple;
}

}  // namespace

void CallArguments::pack(std::span<PyObject* const> arguments) {
  auto borrow = [&](size_t i) { return Ref::borrow(arguments[i]); };
  std::construct_at(&places_[0], tuple_of(borrow, arguments.size()));
  count_ = 1;
  is_packed_ = true;
}

Ref CallArguments::call_packed(PyObject* callable) {
  return Ref::steal(
      binding::into_python([&] { return PyObject_Call(callable, places_[0].get(), nullptr); }));
}

Ref CallArguments::as_tuple() const {
  if (is_packed_) return places_[0].copy();
  // Making the tuple may collect garbage, and so cancel the handle that we belong to.
  std::array<Ref, kInline> copies;
  for (size_t i = 0; i < count_; ++i)
    copies[i] = places_[i].copy();
  return tuple_of([&](size_t i) { return std::move(copies[i]); }, count_);
}

}  // namespace rloop::native
