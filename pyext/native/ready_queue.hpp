// The handles that are due, first in, first out.
//
// A power-of-two ring of owned references: pushing and popping cost no allocation once it has
// grown to the program's width. Needs the GIL (which also orders call_soon_threadsafe).
#pragma once

#include <algorithm>
#include <memory>

#include "binding/ref.hpp"

namespace rloop::native {

class ReadyQueue {
 public:
  // Where the next handle will stand, counted from the queue's beginning; it never decreases.
  size_t end_position() const { return tail_; }
  // How many handles stand in front of a position.
  size_t count_before(size_t position) const { return position > head_ ? position - head_ : 0; }

  bool empty() const { return head_ == tail_; }
  size_t size() const { return tail_ - head_; }

  void push(binding::Ref&& handle) {
    if (size() == capacity_) [[unlikely]]
      grow();
    places_[tail_++ & (capacity_ - 1)].fill(std::move(handle));
  }
  binding::Ref pop() { return std::move(places_[head_++ & (capacity_ - 1)]); }

  // The first of them, or null.
  PyObject* next() const { return empty() ? nullptr : places_[head_ & (capacity_ - 1)].get(); }

  template <class Each>
  void for_each(Each each) {
    for_first(size(), each);
  }
  // Of the first `count` of them.
  template <class Each>
  void for_first(size_t count, Each each) {
    for (size_t i = head_; i != head_ + std::min(count, size()); ++i)
      each(places_[i & (capacity_ - 1)]);
  }

 private:
  static constexpr size_t kInitialCapacity = 64;

  void grow() {
    size_t capacity = std::max(capacity_ * 2, kInitialCapacity);
    auto places = std::make_unique<binding::Ref[]>(capacity);
    for (size_t i = head_; i != tail_; ++i) {
      places[i & (capacity - 1)] = std::move(places_[i & (capacity_ - 1)]);
    }
    places_ = std::move(places);
    capacity_ = capacity;
  }

  size_t capacity_ = 0;  // so that a loop is made without memory of its own, which might be short
  size_t head_ = 0;
  size_t tail_ = 0;
  std::unique_ptr<binding::Ref[]> places_;
};

}  // namespace rloop::native
