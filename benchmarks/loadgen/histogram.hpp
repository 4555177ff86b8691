// A log-linear latency histogram, for loadgen.
//
// Values are nanoseconds. Below 64 each value has its own bucket; above, every power of two is cut
// into 64 equal buckets, so a percentile is exact to 1.6 %. The memory is fixed (32 KiB) and adding
// a value is an increment: recording must not disturb what is recorded. Minimum, maximum and mean
// are kept beside the buckets and are exact. One thread only; knows neither sockets nor clocks.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>

namespace loadgen {

class Histogram {
 public:
  void add(std::uint64_t value_ns) {
    buckets_[index_of(value_ns)] += 1;
    count_ += 1;
    sum_ns_ += static_cast<double>(value_ns);
    max_ns_ = std::max(max_ns_, value_ns);
    min_ns_ = count_ == 1 ? value_ns : std::min(min_ns_, value_ns);
  }

  void clear() { *this = Histogram(); }

  std::uint64_t count() const { return count_; }
  double min_us() const { return static_cast<double>(min_ns_) / 1e3; }
  double max_us() const { return static_cast<double>(max_ns_) / 1e3; }
  double mean_us() const { return count_ == 0 ? 0.0 : sum_ns_ / static_cast<double>(count_) / 1e3; }

  // The value that `fraction` (0..1) of all values do not exceed, in microseconds.
  double percentile_us(double fraction) const {
    const auto wanted =
        static_cast<std::uint64_t>(std::ceil(fraction * static_cast<double>(count_)));
    std::uint64_t seen = 0;
    for (std::size_t i = 0; i < buckets_.size(); ++i) {
      seen += buckets_[i];
      if (seen >= wanted && seen > 0) {
        return std::min(middle_of(i) / 1e3, max_us());
      }
    }
    return max_us();
  }

 private:
  static constexpr std::size_t kSubBuckets = 64;
  static constexpr int kSubBits = 6;

  static std::size_t index_of(std::uint64_t value) {
    if (value < kSubBuckets) {
      return value;
    }
    const int shift = 63 - std::countl_zero(value) - kSubBits;
    return static_cast<std::size_t>(shift) * kSubBuckets + (value >> shift);
  }

  static double middle_of(std::size_t index) {
    if (index < kSubBuckets) {
      return static_cast<double>(index);
    }
    const std::size_t shift = index / kSubBuckets - 1;
    const std::size_t sub = index - shift * kSubBuckets;
    return (static_cast<double>(sub) + 0.5) * std::ldexp(1.0, static_cast<int>(shift));
  }

  std::array<std::uint64_t, kSubBuckets * (64 - kSubBits + 1)> buckets_{};
  std::uint64_t count_ = 0;
  std::uint64_t min_ns_ = 0;
  std::uint64_t max_ns_ = 0;
  double sum_ns_ = 0.0;
};

}  // namespace loadgen
