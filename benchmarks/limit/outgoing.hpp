// What one send of the ring carries: the buffers that a turn received into, or other memory.
//
// The kernel reads the ranges until the send has completed; the server keeps them as they are, and
// owns what they point to. One send at a time is in flight on a connection.
#pragma once

#include <liburing.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace limit {

class Outgoing {
 public:
  bool empty() const { return first_ == count_; }

  // Adds a lent buffer; false when there is no place for it.
  bool add(std::span<const char> data, std::uint16_t buffer) {
    if (count_ == kMaxRanges) {
      return false;
    }
    lent_[lent_count_++] = buffer;
    put(data);
    return true;
  }

  // Memory that is no buffer of the ring.
  void put(std::span<const char> data) {
    if (!data.empty()) {
      ranges_[count_++] = {const_cast<char*>(data.data()), data.size()};
    }
  }

  void prepare(io_uring_sqe& sqe, int fd) {
    // The kernel goes on until all is sent, or nothing more can be.
    constexpr int kFlags = MSG_WAITALL | MSG_NOSIGNAL;
    if (count_ - first_ == 1) {
      io_uring_prep_send(&sqe, fd, ranges_[first_].iov_base, ranges_[first_].iov_len, kFlags);
      return;
    }
    message_.msg_iov = &ranges_[first_];
    message_.msg_iovlen = count_ - first_;
    io_uring_prep_sendmsg(&sqe, fd, &message_, kFlags);
  }

  // So much is sent.
  void drop(std::size_t size) {
    for (; !empty() && size >= ranges_[first_].iov_len; ++first_) {
      size -= ranges_[first_].iov_len;
    }
    if (!empty()) {
      ranges_[first_].iov_base = static_cast<char*>(ranges_[first_].iov_base) + size;
      ranges_[first_].iov_len -= size;
    }
  }

  // The kernel has finished with it.
  template <class GiveBack>
  void clear(GiveBack give_back) {
    for (const std::uint16_t buffer : std::span(lent_).first(lent_count_)) {
      give_back(buffer);
    }
    first_ = count_ = lent_count_ = 0;
  }

 private:
  static constexpr std::size_t kMaxRanges = 8;

  std::array<iovec, kMaxRanges> ranges_;
  std::array<std::uint16_t, kMaxRanges> lent_;
  std::size_t first_ = 0;
  std::size_t count_ = 0;
  std::size_t lent_count_ = 0;
  msghdr message_{};
};

}  // namespace limit
