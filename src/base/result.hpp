// The result of a system call or of an operation: a count, or an errno.
//
// The kernel's own convention for completions (>= 0 is a count, < 0 is -errno) in one word, so that
// it is passed by value everywhere and an unknown errno is never lost on the way. "Again" is the
// answer of an attempt that would have blocked; it is not an error for anybody but a system call.
#pragma once

#include <sys/types.h>

#include <cerrno>

namespace rloop::base {

class Result {
 public:
  constexpr explicit Result(int raw = 0) : raw_(raw) {}

  static constexpr Result count(int n) { return Result(n); }
  static constexpr Result error(int error_number) { return Result(-error_number); }
  static constexpr Result again() { return Result(-EAGAIN); }

  // From a system call that returned `returned`, reading errno when it failed.
  static Result from_call(ssize_t returned) {
    return Result(returned < 0 ? -errno : static_cast<int>(returned));
  }

  constexpr bool ok() const { return raw_ >= 0; }
  constexpr bool is_again() const { return raw_ == -EAGAIN; }
  constexpr bool is(int error_number) const { return raw_ == -error_number; }
  constexpr int value() const { return raw_; }  // the count; meaningful when ok()
  constexpr int error_number() const { return raw_ < 0 ? -raw_ : 0; }  // 0 when ok()

 private:
  int raw_;
};

}  // namespace rloop::base
