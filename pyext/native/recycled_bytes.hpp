// The bytes objects that data_received is called with.
//
// What came in small is copied. Of what came in large the copy would cost a sixth of the receive:
// so the engine receives straight into a bytes object of the loop's, which is handed out with its
// true size and used again once nobody else has it. While it is out the engine has its own memory
// back. Whoever keeps a piece, or a view, a frame or a traceback that holds it, has a reference,
// and then the object is theirs for good; the loop takes care not to give large objects to those
// who keep small pieces. Needs the GIL, under which a reference count of one says that nobody else
// is there.
#pragma once

#include <span>

#include "binding/ref.hpp"
#include "reactor/reactor.hpp"

namespace rloop::native {

// One for each loop, whose present engine is given to each call.
class RecycledBytes {
 public:
  // `data`, just received, as bytes: the loop's object if it lies there, else a copy.
  binding::Ref of(reactor::Reactor& engine, std::span<const std::byte> data) {
    if (data.size() < kWorthwhile_bytes) [[likely]]
      return copy_of(data);
    return of_much(engine, data);
  }
  // After the call that was given the bytes.
  void take_back(reactor::Reactor& engine) {
    if (is_out_) [[unlikely]]
      decide(engine);
  }
  // The engine is gone.
  void forget() { object_ = nullptr; }

 private:
  // From here on a copy, and the memory for it, cost more than the exchange.
  static constexpr size_t kWorthwhile_bytes = 16 * 1024;
  // So many large pieces are copied after one was kept.
  static constexpr int kCautious_pieces = 255;

  static binding::Ref copy_of(std::span<const std::byte> data);
  binding::Ref of_much(reactor::Reactor& engine, std::span<const std::byte> data);
  void receive_into_object(reactor::Reactor& engine);
  void decide(reactor::Reactor& engine);
  std::byte* memory() const {
    return reinterpret_cast<std::byte*>(PyBytes_AS_STRING(object_.get()));
  }

  binding::Ref object_;  // as large as the engine's scratch; null: none
  bool is_out_ = false;
  int cautious_ = 0;
};

}  // namespace rloop::native
