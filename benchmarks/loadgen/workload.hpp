// What every kind of load has in common: one thread, one level-triggered epoll, a clock.
//
// A workload keeps its connections busy while `run` lasts and records a latency for each finished
// request; the kinds (echo, churn, bulk, http) say what a request is. They share the life cycle
// that main.cpp drives: run (warm-up), reset_figures, run (the window), drain. The server under
// test is the subject, so this side is kept cheap: no allocation per request. Knows neither the
// command line nor the output; failures are thrown as std::runtime_error.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "histogram.hpp"

namespace loadgen {

std::uint64_t now_ns();

// Throws "<what>: <text of errno>".
[[noreturn]] void fail(const std::string& what);

class Workload {
 public:
  Workload();
  virtual ~Workload();
  Workload(const Workload&) = delete;
  Workload& operator=(const Workload&) = delete;

  // Starts everything idle and keeps it busy for `seconds`.
  void run(double seconds);

  // Starts nothing new and finishes what is under way; throws after `limit_seconds`.
  void drain(double limit_seconds);

  // Forgets what was recorded so far; requests under way count when they finish.
  virtual void reset_figures() { latencies_.clear(); }

  const Histogram& latencies() const { return latencies_; }

  // Messages finished since the last reset.
  virtual std::uint64_t messages() const = 0;

  // Requests that were answered with the wrong bytes, since the start.
  virtual std::uint64_t mismatches() const { return 0; }

 protected:
  virtual void start_idle() = 0;
  virtual void on_ready(void* connection, std::uint32_t events) = 0;
  // Called when nothing at all happened for a tenth of a second.
  virtual void on_silence() {}

  // Begins and ends watching; `connection` comes back in on_ready and must stay where it is.
  void watch(int fd, void* connection, std::uint32_t events);
  void change(int fd, void* connection, std::uint32_t events);

  bool sending() const { return sending_; }

  Histogram latencies_;
  std::size_t busy_count_ = 0;

 private:
  void turn(std::uint64_t deadline_ns);

  bool sending_ = false;
  int epoll_fd_ = -1;
};

}  // namespace loadgen
