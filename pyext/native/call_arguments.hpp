// The arguments of a scheduled call, kept so that the call needs no tuple.
//
// Up to four lie inline behind a scratch word, which is what a vectorcall wants; more are packed
// into a tuple. Places that are not used are not even initialised: most callbacks have no
// arguments. Needs the GIL.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "binding/call.hpp"

namespace rloop::native {

class CallArguments {
 public:
  static constexpr size_t kInline = 4;

  explicit CallArguments(std::span<PyObject* const> arguments) {
    if (arguments.size() > kInline) [[unlikely]] {
      pack(arguments);
      return;
    }
    count_ = static_cast<uint8_t>(arguments.size());
    for (size_t i = 0; i < arguments.size(); ++i)
      std::construct_at(&places_[i], binding::Ref::borrow(arguments[i]));
  }
  CallArguments(const CallArguments&) = delete;
  CallArguments& operator=(const CallArguments&) = delete;
  ~CallArguments() { std::destroy_n(places_.begin(), count_); }

  // callable(*arguments); null with an error set.
  binding::Ref give_to(PyObject* callable) {
    if (is_packed_) [[unlikely]]
      return call_packed(callable);
    static_assert(sizeof(binding::Ref) == sizeof(PyObject*), "the places are a vector of pointers");
    static_assert(offsetof(CallArguments, places_) ==
                  offsetof(CallArguments, scratch_) + sizeof(PyObject*));
    return binding::vectorcall(callable, reinterpret_cast<PyObject* const*>(places_.data()),
                               count_);
  }
  binding::Ref as_tuple() const;
  void drop() {
    for (size_t i = 0; i < count_; ++i)
      binding::Ref dropped = std::move(places_[i]);
  }
  template <class Predicate>
  bool any(Predicate holds) const {
    for (size_t i = 0; i < count_; ++i) {
      if (holds(places_[i].get())) return true;
    }
    return false;
  }
  Py_ssize_t count_of(PyObject* object) const {
    Py_ssize_t found = 0;
    for (size_t i = 0; i < count_; ++i)
      found += places_[i].is(object);
    return found;
  }
  template <class Each>
  void references(Each each) {
    for (size_t i = 0; i < count_; ++i)
      each(places_[i]);
  }

 private:
  void pack(std::span<PyObject* const> arguments);
  binding::Ref call_packed(PyObject* callable);

  uint8_t count_ = 0;  // places in use
  bool is_packed_ = false;
  PyObject* scratch_;  // the callee of a vectorcall may write here
  union {
    std::array<binding::Ref, kInline> places_;
  };
};

}  // namespace rloop::native
