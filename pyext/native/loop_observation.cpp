// What an operator sees of a loop: counters, time, what there is of everything, and which
// callbacks are slow; see loop.hpp.
//
// Counters and the meter are fed where things happen; what there is now is counted when it is asked
// for, over the loop's own lists, without a call of Python on the way. Callbacks are timed only
// after a turn that was slow, for a while.
#include <algorithm>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "binding/dict.hpp"
#include "native/datagram_transport.hpp"
#include "native/fd_watch.hpp"
#include "native/loop.hpp"
#include "native/names.hpp"
#include "native/server.hpp"
#include "native/stream_transport.hpp"
#include "native/upcall.hpp"

namespace rloop::native {
namespace {

using binding::put;

constexpr int64_t kSecond_ns = 1'000'000'000;
// So long callbacks are timed after a slow turn: longer each time that the next one comes when they
// are not timed any more, until there was none for an hour.
constexpr int64_t kTimedFor_ns = 10 * kSecond_ns;
constexpr int64_t kTimedForMost_ns = 640 * kSecond_ns;
constexpr int64_t kForgotten_ns = 3600 * kSecond_ns;
// Where all of them are slow, few are described: that costs microseconds.
constexpr int kMostReportsPerSecond = 50;
// A timer for a time long past is that late, and no more: sums must not overflow.
constexpr int64_t kLatest_ns = 86'400 * kSecond_ns;

// As <what>_ns and <what>_total_ns.
void put_histogram(PyObject* dict, const std::string& what, const base::Histogram& histogram) {
  Ref counts = Ref::checked(PyTuple_New(base::Histogram::kBuckets));
  for (size_t i = 0; i < base::Histogram::kBuckets; ++i) {
    Ref count = Ref::checked(PyLong_FromUnsignedLongLong(histogram.buckets()[i]));
    PyTuple_SET_ITEM(counts.get(), static_cast<Py_ssize_t>(i), count.release());
  }
  put(dict, (what + "_ns").c_str(), std::move(counts));
  put(dict, (what + "_total_ns").c_str(), histogram.total_ns());
}

}  // namespace

Ref Loop::statistics(PyObject* takes_longest) {
  net::Traffic traffic = context_.past_traffic;
  transports_.for_each([&](Transport& transport) { traffic += transport.traffic(); });
  Ref made = Ref::checked(PyDict_New());
  PyObject* dict = made.get();
  const reactor::Statistics& s = statistics_;
  put(dict, "turns", watched_run_.turns());
  put(dict, "syscalls", s.syscalls);
  put(dict, "submitted", s.submitted);
  put(dict, "completions", s.completions);
  put(dict, "messages_in", traffic.messages_in);
  put(dict, "messages_out", traffic.messages_out);
  put(dict, "bytes_in", traffic.bytes_in);
  put(dict, "bytes_out", traffic.bytes_out);
  put(dict, "buffers_short", s.buffers_short);
  put(dict, "buffers_lent", s.buffers_lent);
  put(dict, "buffers_returned", s.buffers_returned);
  put(dict, "ring_rebuilds", s.ring_rebuilds);
  put(dict, "slow_callbacks", slow_.callback_count);
  put(dict, "slow_turns", slow_.turn_count);
  put(dict, "stalls", watched_run_.stalls());
  add_times(dict, truth(takes_longest));
  add_gauges(dict);
  return made;
}

void Loop::add_times(PyObject* dict, bool takes_longest) {
  int64_t now = base::now_ns();
  // The loop's thread may wake meanwhile, without the GIL. What grows must never be told to be less
  // than before: Prometheus would take that for a new beginning.
  told_busy_ns_ = std::max(told_busy_ns_, context_.meter.busy_ns(now));
  told_idle_ns_ = std::max(told_idle_ns_, context_.meter.idle_ns(now));
  put(dict, "busy_ns", static_cast<uint64_t>(told_busy_ns_));
  put(dict, "idle_ns", static_cast<uint64_t>(told_idle_ns_));
  put(dict, "longest_turn_ns",
      static_cast<uint64_t>(context_.meter.longest_turn_ns(now, takes_longest)));
  put_histogram(dict, "turn", context_.meter.turns());
  put_histogram(dict, "ready_lag", context_.meter.ready_lag());
  put_histogram(dict, "timer_lag", context_.meter.timer_lag());
}

void Loop::add_gauges(PyObject* dict) {
  uint64_t streams = 0, datagrams = 0, listeners = 0, watched = 0, backlog = 0;
  transports_.for_each([&](Transport& transport) {
    ++(DatagramTransportType::check(transport.object()) ? datagrams : streams);
    backlog += transport.backlog();
  });
  listeners_.for_each([&](ServerListener&) { ++listeners; });
  for (const auto& [fd, watch] : watches_)
    watched += !watch->empty();
  put(dict, "ready", ready_.size());
  put(dict, "timers", timers_.size());
  put(dict, "watched_descriptors", watched);
  put(dict, "streams", streams);
  put(dict, "datagram_endpoints", datagrams);
  put(dict, "listeners", listeners);
  put(dict, "backlog_bytes", backlog);
  put(dict, "buffers_held", statistics_.buffers_lent - statistics_.buffers_returned);
  put(dict, "operations_in_flight", reactor_ ? reactor_->busy_count() : 0);
}

// Its connections by state, and those with the heaviest backlogs.
Ref Loop::connections(PyObject* heaviest_count) {
  size_t count = PyLong_AsSize_t(heaviest_count);
  if (PyErr_Occurred()) throw binding::PythonError{};
  constexpr const char* kStates[] = {"open", "reading_paused", "writing_paused", "closing"};
  uint64_t in_state[std::size(kStates)] = {};
  struct Loaded {
    size_t backlog;
    Transport* transport;
    Ref held;  // it may end while another one is described
  };
  std::vector<Loaded> heaviest;
  transports_.for_each([&](Transport& transport) {
    ++in_state[std::ranges::find(kStates, std::string_view(transport.state())) - kStates];
    heaviest.push_back({transport.backlog(), &transport, Ref::borrow(transport.object())});
  });
  count = std::min(count, heaviest.size());
  auto heavier = [](const Loaded& one, const Loaded& other) { return one.backlog > other.backlog; };
  std::ranges::partial_sort(heaviest, heaviest.begin() + static_cast<ptrdiff_t>(count), heavier);
  Ref list = Ref::checked(PyList_New(0));
  for (size_t i = 0; i < count; ++i) {
    Ref described = heaviest[i].transport->describe();
    binding::check(PyList_Append(list.get(), described.get()));
  }
  Ref states = Ref::checked(PyDict_New());
  for (size_t i = 0; i < std::size(kStates); ++i)
    put(states.get(), kStates[i], in_state[i]);
  Ref made = Ref::checked(PyDict_New());
  put(made.get(), "states", std::move(states));
  put(made.get(), "heaviest", std::move(list));
  return made;
}

void Loop::count_timer_lag(size_t due_count, double found_at) {
  // A clock of the program's is not asked more often than asyncio asks it.
  bool is_ours = !overrides_.has(object(), Override::time);
  double now = is_ours ? time() : found_at;
  ready_.for_first(due_count, [&](const Ref& handle) {
    if (!TimerHandleType::check(handle.get())) return;  // a turn within the turn took them
    TimerHandle& timer = TimerHandleType::value(handle.get());
    if (timer.cancelled()) return;
    double late_ns = (now - timer.when_seconds()) * 1e9;
    bool is_sane = late_ns < static_cast<double>(kLatest_ns);
    context_.meter.timer_is_late(is_sane ? static_cast<int64_t>(late_ns) : kLatest_ns);
  });
}

// --- slow callbacks ----------------------------------------------------------------------------

void Loop::time_callbacks() {
  ++slow_.turn_count;
  int64_t now = base::now_ns();
  if (slow_.timed_for_ns == 0 || now - slow_.last_turn_ns > kForgotten_ns) {
    slow_.timed_for_ns = kTimedFor_ns;
  } else if (now > slow_.times_until_ns) {
    slow_.timed_for_ns = std::min(slow_.timed_for_ns * 2, kTimedForMost_ns);
  }
  slow_.last_turn_ns = now;
  slow_.times_callbacks = true;
  slow_.times_until_ns = now + slow_.timed_for_ns;
}

// Outside debug mode; the exception of the callback is raised after its report.
void Loop::run_timed(PyObject* handle, PyThreadState* thread) {
  int64_t began = base::now_ns();
  slow_.is_timing = true;
  absl::Cleanup done = [&] {
    slow_.is_timing = false;
    int64_t spent_ns = base::now_ns() - began;
    if (!was_slow(spent_ns)) return;
    report_slow("slow_handle", {handle}, spent_ns);
  };
  run_by_anyone(handle, thread);
}

void Loop::upcall_took(int64_t spent_ns, PyObject* protocol, PyObject* method) {
  if (was_slow(spent_ns)) report_slow("slow_upcall", {protocol, method}, spent_ns);
}

bool Loop::was_slow(int64_t spent_ns) {
  if (base::now_ns() > slow_.times_until_ns) slow_.times_callbacks = false;
  if (spent_ns < slow_.least_ns) return false;
  ++slow_.callback_count;
  return true;
}

// A Python error that is set stays so.
void Loop::report_slow(const char* report, std::initializer_list<PyObject*> what,
                       int64_t spent_ns) {
  int64_t now = base::now_ns();
  if (now - slow_.reports_since_ns > kSecond_ns) {
    slow_.reports_since_ns = now;
    slow_.report_count = 0;
  }
  if (++slow_.report_count > kMostReportsPerSecond) return;
  Ref error = PyErr_Occurred() ? binding::take_exception() : Ref();
  contained(*this, [&] {
    Ref seconds = Ref::checked(PyFloat_FromDouble(base::to_seconds(spent_ns)));
    Ref tuple = Ref::checked(PyTuple_New(static_cast<Py_ssize_t>(what.size())));
    for (size_t i = 0; i < what.size(); ++i)
      PyTuple_SET_ITEM(tuple.get(), static_cast<Py_ssize_t>(i), Py_NewRef(what.begin()[i]));
    names::report(report, object(), seconds.get(), tuple.get());
  });
  if (error) binding::restore_exception(std::move(error));
}

}  // namespace rloop::native
