// What an operator sees of a loop: counters, time, and what there is of everything; see loop.hpp.
//
// Nothing here costs anything until it is asked for. Counters and the meter are fed where things
// happen; what there is now is counted then and there, over the loop's own lists.
#include "native/datagram_transport.hpp"
#include "native/fd_watch.hpp"
#include "native/loop.hpp"
#include "native/server.hpp"

namespace rloop::native {
namespace {

void set(PyObject* dict, const char* name, Ref value) {
  if (PyDict_SetItemString(dict, name, value.get()) < 0) throw binding::PythonError{};
}

void set(PyObject* dict, const char* name, uint64_t value) {
  set(dict, name, Ref::checked(PyLong_FromUnsignedLongLong(value)));
}

void set(PyObject* dict, const char* name, const base::Histogram& histogram) {
  Ref counts = Ref::checked(PyTuple_New(base::Histogram::kBuckets));
  for (size_t i = 0; i < base::Histogram::kBuckets; ++i) {
    Ref count = Ref::checked(PyLong_FromUnsignedLongLong(histogram.buckets()[i]));
    PyTuple_SET_ITEM(counts.get(), static_cast<Py_ssize_t>(i), count.release());
  }
  set(dict, name, std::move(counts));
}

}  // namespace

Ref Loop::statistics() {
  Ref made = Ref::checked(PyDict_New());
  PyObject* dict = made.get();
  const reactor::Statistics& s = statistics_;
  set(dict, "turns", s.turns);
  set(dict, "syscalls", s.syscalls);
  set(dict, "submitted", s.submitted);
  set(dict, "completions", s.completions);
  set(dict, "messages_in", s.messages_in);
  set(dict, "messages_out", s.messages_out);
  set(dict, "bytes_in", s.bytes_in);
  set(dict, "bytes_out", s.bytes_out);
  set(dict, "buffers_short", s.buffers_short);
  set(dict, "buffers_lent", s.buffers_lent);
  set(dict, "buffers_returned", s.buffers_returned);
  set(dict, "ring_rebuilds", s.ring_rebuilds);
  add_times(dict);
  add_gauges(dict);
  return made;
}

void Loop::add_times(PyObject* dict) {
  int64_t now = base::now_ns();
  set(dict, "busy_ns", static_cast<uint64_t>(meter_.busy_ns(now)));
  set(dict, "idle_ns", static_cast<uint64_t>(meter_.idle_ns(now)));
  set(dict, "longest_awake_ns", static_cast<uint64_t>(meter_.take_longest_awake_ns(now)));
  set(dict, "awake_ns", meter_.awake());
  set(dict, "timer_lag_ns", meter_.timer_lag());
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
  set(dict, "ready", ready_.size());
  set(dict, "timers", timers_.size());
  set(dict, "watched_descriptors", watched);
  set(dict, "streams", streams);
  set(dict, "datagram_endpoints", datagrams);
  set(dict, "listeners", listeners);
  set(dict, "backlog_bytes", backlog);
  set(dict, "operations_in_flight", reactor_ ? reactor_->busy_count() : 0);
}

}  // namespace rloop::native
