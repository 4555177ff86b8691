// A piece of memory on its way to the kernel, and who must keep it alive until then.
//
// The core holds memory of other worlds (Python's bytes) through an opaque Keeper: a pointer and
// the function that lets go of it. Moves only; released exactly once, on the loop's thread with
// the GIL held.
#pragma once

#include <cstddef>
#include <utility>

namespace rloop::net {

class Keeper {
 public:
  using Release = void (*)(void* object);

  Keeper() = default;
  Keeper(void* object, Release release) : object_(object), release_(release) {}
  Keeper(Keeper&& other) noexcept
      : object_(std::exchange(other.object_, nullptr)), release_(other.release_) {}
  Keeper& operator=(Keeper&& other) noexcept {
    if (this != &other) {
      reset();
      object_ = std::exchange(other.object_, nullptr);
      release_ = other.release_;
    }
    return *this;
  }
  ~Keeper() { reset(); }

 private:
  void reset() {
    if (object_) release_(std::exchange(object_, nullptr));
  }

  void* object_ = nullptr;
  Release release_ = nullptr;
};

struct Segment {
  const std::byte* data = nullptr;
  size_t size = 0;
  Keeper keeper;
};

}  // namespace rloop::net
