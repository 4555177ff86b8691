// A doubly linked list whose links live in its elements.
//
// Operations and dirty streams enter and leave lists on every message, so membership must not
// allocate. The list does not own its elements; a node knows whether it is linked and unlinks in
// constant time. Nodes neither copy nor move while linked. One thread (the loop's).
//
// An element that is in several lists at a time derives from ListNode<Tag> once per list.
#pragma once

#include <cstddef>

#include "base/assert.hpp"

namespace rloop::base {

template <class Tag>
class ListNode {
 public:
  ListNode() = default;
  ListNode(const ListNode&) = delete;
  ListNode& operator=(const ListNode&) = delete;
  ~ListNode() { RLOOP_ASSERT(!linked(), "a list node was destroyed while linked"); }

  bool linked() const { return next_ != nullptr; }
  void unlink() {
    previous_->next_ = next_;
    next_->previous_ = previous_;
    next_ = previous_ = nullptr;
  }

 private:
  template <class T, class ListTag>
  friend class IntrusiveList;
  ListNode* next_ = nullptr;
  ListNode* previous_ = nullptr;
};

template <class T, class Tag>
class IntrusiveList {
 public:
  IntrusiveList() { head_.next_ = head_.previous_ = &head_; }
  IntrusiveList(const IntrusiveList&) = delete;
  IntrusiveList& operator=(const IntrusiveList&) = delete;
  ~IntrusiveList() {
    while (!empty())
      pop_front();
    head_.next_ = head_.previous_ = nullptr;
  }

  bool empty() const { return head_.next_ == &head_; }
  bool holds_only(const ListNode<Tag>& element) const {
    return head_.next_ == &element && head_.previous_ == &element;
  }
  T& front() { return static_cast<T&>(*head_.next_); }

  void push_back(T& element) {
    ListNode<Tag>& node = element;
    RLOOP_ASSERT(!node.linked(), "a list node was linked twice");
    node.previous_ = head_.previous_;
    node.next_ = &head_;
    head_.previous_->next_ = &node;
    head_.previous_ = &node;
  }

  T& pop_front() {
    T& element = front();
    static_cast<ListNode<Tag>&>(element).unlink();
    return element;
  }

  // Moves every element of `other` behind the elements of this list.
  void splice_back(IntrusiveList& other) {
    while (!other.empty())
      push_back(other.pop_front());
  }

  // Calls visit(element) for each; visit may unlink the element that it is given, no other.
  template <class Visit>
  void for_each(Visit visit) {
    for (ListNode<Tag>* node = head_.next_; node != &head_;) {
      ListNode<Tag>* next = node->next_;
      visit(static_cast<T&>(*node));
      node = next;
    }
  }

  // How many there are, if not more than `most`: counting looks at each.
  size_t count_up_to(size_t most) const {
    size_t count = 0;
    for (const ListNode<Tag>* node = head_.next_; node != &head_ && count < most;
         node = node->next_)
      ++count;
    return count;
  }

 private:
  ListNode<Tag> head_;
};

}  // namespace rloop::base
