// Bytes that a connection received and could not send yet; what both engines keep per connection.
//
// A queue in one block of memory: appending may move it, so what the kernel is reading from must
// not be appended to. A peer that sends and does not read must not fill the server's memory: from
// kPauseBytes on the connection is not read from until all of it is sent.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace limit {

class Backlog {
 public:
  static constexpr std::size_t kPauseBytes = 256 * 1024;

  bool empty() const { return start_ == bytes_.size(); }
  bool is_large() const { return bytes_.size() - start_ >= kPauseBytes; }
  std::span<const char> front() const { return std::span(bytes_).subspan(start_); }

  void append(std::span<const char> more) { bytes_.insert(bytes_.end(), more.begin(), more.end()); }

  // The first `size` bytes are sent.
  void drop(std::size_t size) {
    start_ += size;
    if (empty()) {
      bytes_.clear();
      start_ = 0;
    }
  }

 private:
  std::vector<char> bytes_;
  std::size_t start_ = 0;
};

}  // namespace limit
