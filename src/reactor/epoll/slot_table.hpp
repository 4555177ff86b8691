// Tokens for epoll_event.data: a place in a table and its generation, not an address.
//
// Events may be on their way for what was forgotten, and a file that was closed here may live on
// elsewhere (in a forked child), where no epoll_ctl reaches it any more: its token finds nothing.
// The lowest bit of a token is 0.
#pragma once

#include <cstdint>
#include <vector>

#include "op/op.hpp"

namespace rloop::reactor {

class SlotTable {
 public:
  // The descriptor's token, until it is freed. May lack memory (std::bad_alloc).
  uint64_t take(op::Descriptor& descriptor) {
    if (free_.empty()) {
      slots_.push_back({});
      free_.reserve(slots_.capacity());  // giving one back needs no memory
      free_.push_back(static_cast<uint32_t>(slots_.size() - 1));
    }
    descriptor.slot = free_.back();
    free_.pop_back();
    Slot& slot = slots_[descriptor.slot];
    slot.descriptor = &descriptor;
    return (static_cast<uint64_t>(slot.generation) << 32) | (uint64_t{descriptor.slot} << 1);
  }

  void free(const op::Descriptor& descriptor) {
    slots_[descriptor.slot].descriptor = nullptr;
    ++slots_[descriptor.slot].generation;
    free_.push_back(descriptor.slot);
  }

  // Null for what was freed.
  op::Descriptor* find(uint64_t token) const {
    const Slot& slot = slots_[(token & 0xffff'ffff) >> 1];
    return slot.generation == token >> 32 ? slot.descriptor : nullptr;
  }

  // Calls visit(descriptor) for each that has one; it may free it.
  template <class Visit>
  void for_each(Visit visit) {
    for (const Slot& slot : slots_)
      if (slot.descriptor) visit(*slot.descriptor);
  }

 private:
  struct Slot {
    op::Descriptor* descriptor = nullptr;  // null: free
    uint32_t generation = 0;
  };

  std::vector<Slot> slots_;
  std::vector<uint32_t> free_;
};

}  // namespace rloop::reactor
