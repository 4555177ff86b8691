// The loop's engine: choosing it, attaching it, replacing it, closing it; see loop.hpp.
//
// A refused ring is replaced by epoll here, once, also in the middle of a run; the end of the loop
// and the child of a fork are here too. What the user sees of it (the reason) as well.
#include <cerrno>
#include <system_error>

#include "base/log.hpp"
#include "native/fd_watch.hpp"
#include "native/loop.hpp"
#include "native/names.hpp"
#include "native/requests.hpp"
#include "native/server.hpp"
#include "native/stream_transport.hpp"

namespace rloop::native {
namespace {

using base::LogLevel;

constexpr int64_t kDrainLimit_ns = 1'000'000'000;

PyObject* backend_unavailable = nullptr;

}  // namespace

// The only exception that is not asyncio's: what a program gets that insists on an engine.
void define_backend_unavailable(PyObject* module) {
  backend_unavailable =
      Ref::checked(PyErr_NewExceptionWithDoc(
                       "rloop.BackendUnavailable",
                       "A backend was demanded that cannot be used; the text says what to change.",
                       PyExc_RuntimeError, nullptr))
          .release();
  binding::check(PyModule_AddObjectRef(module, "BackendUnavailable", backend_unavailable));
}

Loop::Loop() noexcept = default;

Loop::~Loop() {
  if (linked()) unlink();
  if (!closed_ && reactor_) close_io();
}

// Loop.__init__: configure(backend) with "auto", "io_uring" or "epoll".
void Loop::configure(const Arguments& arguments) {
  PyObject* given[2];
  arguments.parse({"backend", "masked"}, 1, given, "_configure");
  if (reactor_ || backend_reason_.size() > 0) {
    binding::raise(PyExc_RuntimeError, "an event loop cannot be initialised twice");
  }
  std::string wanted = PyUnicode_AsUTF8(given[0]) ? PyUnicode_AsUTF8(given[0]) : "";
  if (PyErr_Occurred()) throw binding::PythonError{};
  if (given[1]) mask(given[1]);
  backend_reason_ = "epoll was asked for";
  bool has_ring = false;
  if (wanted != "epoll") {  // else no call of io_uring is made at all
    const reactor::Probe& probe = reactor::probe_io_uring();
    has_ring = probe.capabilities.ring && config_.allowed.ring;
    backend_reason_ = probe.capabilities.ring && !has_ring ? "ring is masked" : probe.reason;
  }
  if (has_ring) {
    reactor_ = reactor::make_ring_reactor(config_, statistics_);
    fallback_allowed_ = wanted == "auto";
  } else if (wanted == "io_uring") {
    std::string reason = std::exchange(backend_reason_, {});  // it may be initialised again
    binding::raise(backend_unavailable, "%s", reason.c_str());
  } else {
    base::log(LogLevel::info, "reactor", "using epoll: ", backend_reason_);
    reactor_ = reactor::make_epoll_reactor(config_, statistics_);
  }
  backend_ = reactor_->name();
  context_.reactor = reactor_.get();
  context_.loop_running = false;
  closed_ = false;
  base::log(LogLevel::debug, "reactor", "backend ", reactor_->name(), ": ", backend_reason_);
}

// For tests and diagnosis: the path of an older kernel on a new one.
void Loop::mask(PyObject* names) {
  Ref list = Ref::checked(PySequence_Fast(names, "masked: a sequence of capability names"));
  for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(list.get()); ++i) {
    const char* name = PyUnicode_AsUTF8(PySequence_Fast_GET_ITEM(list.get(), i));
    if (!name) throw binding::PythonError{};
    bool* capability = config_.allowed.find(name);
    if (!capability) binding::raise(PyExc_ValueError, "unknown capability '%s'", name);
    *capability = false;
  }
}

void Loop::attach() {
  base::Result result = reactor_->attach_to_thread();
  if (!result.ok()) engine_failed(result);
}

// A ring worked in this process before, but this thread gets none (memory lock, a new filter), or
// it may not be entered any more. Epoll goes on, unless the ring was demanded, or it is an error of
// the user's process, which must not silently change the backend.
void Loop::engine_failed(base::Result why) {
  int error = why.error_number();
  // A closed descriptor is no refusal: somebody closes what is not theirs, or (in the child of a
  // fork) a watched one was closed meanwhile.
  bool is_refusal = reactor_->capabilities().ring && error != EBADF && error != EBADR;
  if (!is_refusal) {
    binding::set_os_error(error);
    throw binding::PythonError{};
  }
  std::string reason =
      reactor::explain_refusal(error, "io_uring_setup, io_uring_enter or io_uring_register");
  if (error == EMFILE || error == ENFILE) {
    Ref text = Ref::checked(PyUnicode_FromString(reason.c_str()));
    Ref arguments = Ref::checked(Py_BuildValue("(iO)", error, text.get()));
    PyErr_SetObject(PyExc_OSError, arguments.get());
    throw binding::PythonError{};
  }
  if (fallback_allowed_) return fall_back_to_epoll(why, std::move(reason));
  binding::raise(backend_unavailable, "%s", reason.c_str());
}

void Loop::fall_back_to_epoll(base::Result why, std::string reason) {
  backend_reason_ = std::move(reason);
  reactor_->give_up(why);
  base::log(LogLevel::warning, "reactor", "falling back to epoll: ", backend_reason_);
  while (reactor_->has_undispatched())
    reactor_->dispatch();
  auto epoll = reactor::make_epoll_reactor(config_, statistics_);
  reactor_->move_to(*epoll);
  reactor_ = std::move(epoll);
  backend_ = reactor_->name();
  watched_run_.set_backend(backend_);
  context_.reactor = reactor_.get();
  much_came_ = false;
  base::Result attached = reactor_->attach_to_thread();
  fallback_allowed_ = false;
  if (attached.ok()) return;
  binding::set_os_error(attached.error_number());
  throw binding::PythonError{};
}

void Loop::check_fork() {
  if (!forked_) return;
  binding::raise(PyExc_RuntimeError,
                 "this event loop belongs to the parent process: after os.fork() its I/O engine "
                 "is shared with the parent and cannot be used; make a new loop in the child");
}

// A loop that did not run goes on in the child as in another thread. One that did has the stack of
// its run, and whatever called it, in both processes: there it is dead.
void Loop::after_fork_in_child(PyObject* was_running) {
  if (!reactor_ || forked_) return;
  if (!closed_ && !context_.loop_running && !truth(was_running)) {
    reactor_->start_over();
    return transports_.for_each([](Transport& transport) { transport.start_over(); });
  }
  forked_ = true;
  context_.meter.run_ends(base::now_ns());
  reactor_->abandon();
  transports_.for_each([](Transport& transport) { transport.forget(); });
}

// Ends all I/O. Transports get no connection_lost, as with asyncio; their descriptors are closed.
void Loop::close_io() {
  if (closed_) return;
  closed_ = true;
  if (!reactor_) return;
  if (!forked_) {
    context_.flush_dirty_now();
    transports_.for_each([](Transport& transport) { transport.abandon(); });
    listeners_.for_each([](ServerListener& listener) { listener.abandon(); });
    requests_.for_each([](SockRequest& request) { request.cancel(); });
  }
  size_t left = forked_ ? 0 : reactor_->drain(kDrainLimit_ns);
  if (left > 0) {
    // The kernel may still write into their memory: better a leak than that.
    base::log(LogLevel::warning, "reactor", left,
              " operations did not end within a second; their memory is leaked");
    (void)reactor_.release();
    return;
  }
  while (!transports_.empty())
    transports_.front().release();
  while (!listeners_.empty())
    listeners_.front().release();
  while (!requests_.empty())
    requests_.front().finish();
  auto watches = std::exchange(watches_, {});  // dropped when the loop is closed
  for (ReadyQueue* queue : {&ready_, &watched_}) {
    while (!queue->empty()) {
      Ref handle = queue->pop();
      track_if_held(handle.get());
    }
  }
  timers_.take_all();
  waits_by_selector_ = false;
  selector_ = nullptr;
  shared_context_.forget();
  context_.reactor = nullptr;
  reactor_.reset();
  received_bytes_.forget();
}

bool Loop::truth(PyObject* value) {
  int result = PyObject_IsTrue(value);
  binding::check(result);
  return result == 1;
}

void Loop::set_slow_callback_duration(PyObject* value) {
  double seconds = PyFloat_AsDouble(value);
  if (seconds == -1.0 && PyErr_Occurred()) throw binding::PythonError{};
  slow_.least_seconds = seconds;
  // Not 0, which is what a turn takes that was not timed; never for NaN.
  slow_.least_ns =
      seconds < 9e9 ? 1 + static_cast<int64_t>(std::max(seconds, 0.0) * 1e9) : base::kNever;
}

Ref Loop::current_handle() {
  return Ref::borrow(current_handle_ ? current_handle_.get() : Py_None);
}

Ref Loop::backend_reason() {
  return Ref::checked(PyUnicode_FromStringAndSize(backend_reason_.data(),
                                                  static_cast<Py_ssize_t>(backend_reason_.size())));
}

}  // namespace rloop::native
