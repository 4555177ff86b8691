// The event loop's native half: the ready queue, the timers, the turn, and the way to the reactor.
//
// Python's UringEventLoop derives from it and adds what runs once per loop or connection. Owns the
// reactor, every open transport, listener and pending socket request (each keeps one reference to
// itself while the loop holds it), and what add_reader was given. The thread that runs it holds
// the GIL except in the one line that waits. call_soon_threadsafe is the only method for other
// threads.
#pragma once

#include <algorithm>
#include <array>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>

#include "base/timer_queue.hpp"
#include "binding/call.hpp"
#include "binding/heap_type.hpp"
#include "native/gil_share.hpp"
#include "native/handle.hpp"
#include "native/literal_answers.hpp"
#include "native/names.hpp"
#include "native/overrides.hpp"
#include "native/ready_queue.hpp"
#include "native/recycled_bytes.hpp"
#include "native/shared_context.hpp"
#include "native/slow_turns.hpp"
#include "native/watchdog.hpp"
#include "net/context.hpp"
#include "reactor/reactor.hpp"

namespace rloop::native {

class FdWatch;
class Transport;
class ServerListener;
class SockRequest;

// Tells a timer's handle where it stands among the timers.
struct NotePlace {
  void operator()(const Ref& handle, size_t place) const {
    if (handle)
      TimerHandleType::value(handle.get()).set_place(place);  // null: the collector's work
  }
};

struct OpenTransportTag;
struct ListenerTag;
struct RequestTag;
struct TrackingTag;

class Loop : public base::ListNode<TrackingTag> {
 public:
  static constexpr const char* kName = "rloop._core.Loop";
  static constexpr const char* kDoc = "The native half of UringEventLoop; not used by itself.";
  static constexpr bool kSubclassable = true;
  static constexpr bool kKeepsReferences = true;

  Loop() noexcept;
  ~Loop();
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  // The Loop of a Python object, or null when it is another kind of loop.
  static Loop* from(PyObject* object);
  PyObject* object() const { return binding::HeapType<Loop>::object(this); }

  // --- scheduling (loop_scheduling.cpp) ---
  Ref call_soon(const Arguments& arguments);
  Ref call_soon_threadsafe(const Arguments& arguments);
  Ref call_later(const Arguments& arguments);
  Ref call_at(const Arguments& arguments);
  double time();
  void forget_timer(TimerHandle& timer);  // it was cancelled
  // Schedules callback(*arguments) for native callers, in `context`; null: a copy of the current.
  void schedule(PyObject* callback, std::initializer_list<PyObject*> arguments, PyObject* context);
  // From a watched descriptor, in dispatch: runs later in the same turn.
  void push_watched(Ref handle) { watched_.push(std::move(handle)); }

  // --- futures and tasks (loop_futures.cpp) ---
  Ref create_future();
  Ref create_task(const Arguments& arguments);
  Ref task_factory();
  void set_task_factory(PyObject* factory);

  // --- in Python's words, where a program has replaced something (loop_replaced.cpp) ---
  Ref new_future();  // for native callers
  void attribute_set(PyObject* name) noexcept { overrides_.attribute_set(name); }
  void run_once_by_user();
  bool in_turn() { return in_turn_ && !forked_; }
  bool wait_for_selector(PyObject* timeout);
  int watched_events(PyObject* fd);
  void set_waits_by_selector(PyObject* value);
  Ref selector();
  Ref ready_handles();
  Ref scheduled_handles();

  // --- running (loop.cpp) ---
  void run();
  void stop() { stopping_ = true; }
  // Reports an exception of a protocol's callback that must leave run_forever (is_exit).
  void interrupt(Ref exception);

  // --- I/O (loop_io.cpp) ---
  Ref add_reader(const Arguments& arguments);
  Ref add_writer(const Arguments& arguments);
  bool remove_reader(const Arguments& arguments);
  bool remove_writer(const Arguments& arguments);
  Ref quiet_add_reader(
      const Arguments& arguments);  // without the check for a transport's descriptor
  Ref quiet_add_writer(const Arguments& arguments);
  bool quiet_remove_reader(PyObject* fd);
  bool quiet_remove_writer(PyObject* fd);
  void ensure_fd_no_transport(PyObject* fd);
  Ref make_socket_transport(const Arguments& arguments);
  Ref make_datagram_transport(const Arguments& arguments);
  void start_serving(const Arguments& arguments);
  void stop_listening(PyObject* socket);
  Ref clients_of(PyObject* server);
  Ref check_socket(PyObject* socket);
  Ref sock_recv(const Arguments& arguments);
  Ref sock_recv_into(const Arguments& arguments);
  Ref sock_send(const Arguments& arguments);
  Ref wait_readable(PyObject* socket);
  Ref wait_writable(PyObject* socket);
  Ref known_answer(const Arguments& question) { return find_literal_answer(question); }
  void remember_answer(const Arguments& question) { remember_literal_answer(question); }

  // --- lifecycle (loop_lifecycle.cpp) ---
  void configure(const Arguments& arguments);
  void close_io();
  void after_fork_in_child(PyObject* was_running);
  const char* backend() { return backend_; }
  Ref backend_reason();
  bool is_closed() { return closed_; }
  bool is_forked() { return forked_; }
  void check_closed() {
    if (closed_) [[unlikely]]
      binding::raise(PyExc_RuntimeError, "Event loop is closed");
  }

  bool debug() { return debug_; }
  // An eager task asks it.
  bool is_running() { return !binding::get_attribute(object(), names::thread_id).is(Py_None); }
  // For what is scheduled without call_soon: debug mode refuses it in another thread, as asyncio.
  void check_thread() {
    if (debug_) [[unlikely]]
      refuse_other_threads();
  }
  void set_debug(PyObject* value);
  double slow_callback_duration() { return slow_.least_seconds; }
  void set_slow_callback_duration(PyObject* value);
  Ref current_handle();
  void set_current_handle(PyObject* handle) { current_handle_ = Ref::borrow(handle); }
  bool stopping() { return stopping_; }
  void set_stopping(PyObject* value) { stopping_ = truth(value); }

  // --- for operators (loop_observation.cpp) ---
  Ref statistics(PyObject* takes_longest);
  Ref connections(PyObject* heaviest_count);
  void name_changed() { Watchdog::instance().name_again(watched_run_); }
  const base::Meter& meter() const { return context_.meter; }
  // Turns take longer than slow_callback_duration, so callbacks are timed for a while.
  bool times_callbacks() const { return slow_.times_callbacks && !slow_.is_timing; }
  // A protocol's method has; its exception may be set.
  template <class Call>
  Ref timed_upcall(PyObject* protocol, PyObject* method, Call call) {
    int64_t began = base::now_ns();
    slow_.is_timing = true;  // what it calls is part of it
    Ref result = call();
    slow_.is_timing = false;
    upcall_took(base::now_ns() - began, protocol, method);
    return result;
  }

  // For the transports.
  net::Context& context() { return context_; }
  SharedContext& shared_context() { return shared_context_; }
  RecycledBytes& received_bytes() { return received_bytes_; }
  reactor::Reactor& reactor() { return *reactor_; }
  void transport_opened(Transport& transport);
  void transport_closed(Transport& transport);
  // A connection begins to end: its connection_lost comes after the handles that are ready now.
  // `made`: its connection_made was called; else that comes first, and the ends wait for it.
  void note_end(bool made) {
    size_t here = ready_.end_position();
    ends_position_ = std::min(ends_position_, here);
    if (!made) ends_not_before_ = here;
  }
  void listener_started(ServerListener& listener);
  void listener_stopped(ServerListener& listener);
  base::IntrusiveList<SockRequest, RequestTag>& requests() { return requests_; }
  // Who waits for a descriptor that is open; null: nobody.
  SockRequest*& request_place(int fd, op::Direction direction);
  // Whether the last sock_recv got as many bytes as it had asked for.
  bool last_receive_was_full() const { return last_receive_was_full_; }
  void note_received(size_t size, size_t most) {
    last_receive_was_full_ = size == most;
    reactor_->note_received(size);
  }

  static std::vector<PyMethodDef> methods();
  static std::vector<PyMethodDef> scheduling_methods();
  static std::vector<PyMethodDef> future_methods();
  static std::vector<PyGetSetDef> attributes();
  template <class Each>
  void references(Each each);
  // The collector emptied the handles: nothing is left that could run.
  void cleared() {
    for (ReadyQueue* queue : {&ready_, &watched_}) {
      while (!queue->empty())
        queue->pop();
    }
    timers_.take_all();
  }
  // Visited by the collector but never cleared by it: what the kernel may still write to.
  template <class Each>
  void kept_references(Each each);

 private:
  static constexpr size_t kNoEnds = static_cast<size_t>(-1);

  template <class Type>
  Ref make_ready(const Arguments& arguments, const char* method, bool check_thread);
  template <class Type = HandleType>
  Ref make_handle(PyObject* callback, std::span<PyObject* const> arguments, PyObject* context);
  Ref context_of_handle(PyObject* context, bool& is_shared);
  Ref schedule_at(double when, PyObject* given, PyObject* callback,
                  std::span<PyObject* const> arguments, PyObject* context);
  Ref loop_keyword();
  Ref task_keywords(const Arguments& arguments);
  Ref create_task_by_asyncio(const Arguments& arguments);
  void check_debug_call(PyObject* callback, const char* method, bool check_thread);
  void keep_source_traceback(Handle& handle);
  void refuse_other_threads();

  template <class Turns>
  void run_attached(Turns turns);
  void run_once();
  void turn();
  bool is_busy() const;
  int64_t wait_timeout_ns();
  void wait(int64_t timeout_ns);
  void wait_natively(int64_t timeout_ns, bool is_metered = true);
  bool finds_at_once(base::Result& result, int64_t& timeout_ns);
  base::Result sleep(int64_t timeout_ns, bool is_metered);
  void turn_passes();
  bool may_defer_look();
  bool has_due_timer();
  bool data_goes_first();
  double make_due_timers_ready();
  void run_handles(ReadyQueue& queue, size_t count);
  void run_specially(PyObject* handle, PyThreadState* thread);
  void run_by_anyone(PyObject* handle, PyThreadState* thread);
  void run_in_debug_mode(PyObject* handle, PyThreadState* thread);
  void run_timed(PyObject* handle, PyThreadState* thread);
  void upcall_took(int64_t spent_ns, PyObject* protocol, PyObject* method);
  bool was_slow(int64_t spent_ns);
  void report_slow(const char* report, std::initializer_list<PyObject*> what, int64_t spent_ns);
  // A turn was timed; 0: it was not.
  void turn_took(int64_t longest_ns) {
    if (longest_ns >= slow_.least_ns) [[unlikely]]
      time_callbacks();
  }
  void time_callbacks();
  void count_timer_lag(size_t due_count, double found_at);
  void raise_interruption();
  void leave();

  double clock();
  double resolution();
  Ref call_later_by_name(PyObject* delay, PyObject* callback, std::span<PyObject* const> arguments,
                         PyObject* context);
  void call_soon_by_name(PyObject* callback, std::initializer_list<PyObject*> arguments,
                         PyObject* context);
  void wait_by_selector(int64_t timeout_ns);

  void add_times(PyObject* dict, bool takes_longest);
  void add_gauges(PyObject* dict);

  static void track_if_held(PyObject* handle);
  void track_held_handles_later();
  static int track_held_handles(void*);
  static bool truth(PyObject* value);

  void attach();
  void engine_failed(base::Result why);
  void fall_back_to_epoll(base::Result why, std::string reason);
  void mask(PyObject* names);
  void check_fork();

  Ref watch(const Arguments& arguments, op::Direction direction, const char* method,
            bool may_be_transports);
  bool unwatch(PyObject* fd, op::Direction direction);
  Ref serving(PyObject* socket);

  reactor::Statistics statistics_;
  WatchedRun watched_run_;
  net::Context context_;
  std::unique_ptr<reactor::Reactor> reactor_;
  GilShare gil_share_;
  const char* backend_ = "none";
  std::string backend_reason_;
  reactor::Config config_;

  ReadyQueue ready_;
  size_t ends_position_ = kNoEnds;  // in ready_, of the first note_end of this turn
  size_t ends_not_before_ = 0;
  ReadyQueue watched_;  // handles of add_reader and add_writer, within a turn
  base::TimerQueue<Ref, NotePlace> timers_;
  SharedContext shared_context_;
  RecycledBytes received_bytes_;
  Ref loop_keyword_;  // while the loop runs, once it was asked for
  Ref task_factory_;  // null: none
  Ref interruption_;  // an exception that must leave run_forever
  Ref current_handle_;
  LoopOverrides overrides_;
  Ref selector_;                        // what stands for asyncio's, when somebody has asked for it
  bool waits_by_selector_ = false;      // its select() was replaced
  PyThreadState* selecting_ = nullptr;  // the thread whose turn has called that
  bool runs_handles_plainly_ = true;
  bool in_turn_ = false;
  bool much_came_ = false;         // with the last look, of this run and in the last turn
  bool defers_look_ = false;       // this turn
  size_t data_before_timers_ = 0;  // how many completions due timers still wait for; 0: none
  bool stopping_ = false;
  bool closed_ = true;  // until configured
  bool debug_ = false;
  bool forked_ = false;
  bool fallback_allowed_ = false;
  SlowTurns slow_;
  int64_t told_busy_ns_ = 0, told_idle_ns_ = 0;

  // Not absl's: its table is broken when it cannot grow for want of memory.
  std::unordered_map<int, std::unique_ptr<FdWatch>> watches_;
  base::IntrusiveList<Transport, OpenTransportTag> transports_;
  std::vector<Transport*> transports_by_fd_;  // null: none
  base::IntrusiveList<ServerListener, ListenerTag> listeners_;
  base::IntrusiveList<SockRequest, RequestTag> requests_;
  std::vector<std::array<SockRequest*, 2>> requests_by_fd_;
  bool last_receive_was_full_ = false;
};

using LoopType = binding::HeapType<Loop>;

template <class Type>
inline Ref Loop::make_handle(PyObject* callback, std::span<PyObject* const> arguments,
                             PyObject* context) {
  bool is_shared = false;
  Ref entered = context_of_handle(context, is_shared);
  return Type::create(object(), callback, arguments, std::move(entered), is_shared);
}

// `context` as the caller gave it; null and None stand for a copy of the current one.
inline Ref Loop::context_of_handle(PyObject* context, bool& is_shared) {
  if (context && context != Py_None) return Ref::borrow(context);
  return shared_context_.for_handle(is_shared);
}

// Runs `turns` between attaching the engine to this thread and letting it go.
template <class Turns>
void Loop::run_attached(Turns turns) {
  check_closed();
  check_fork();
  attach();
  context_.loop_running = true;
  much_came_ = false;
  int64_t now = base::now_ns();
  context_.meter.run_begins(now);
  gil_share_.run_begins(now);
  try {
    Watchdog::instance().enter(watched_run_, *this);
    turns();
  } catch (const binding::PythonError&) {
    Ref error = binding::take_exception();
    leave();
    binding::restore_exception(std::move(error));
    throw;
  } catch (const std::exception&) {  // no memory
    leave();
    throw;
  }
  leave();
}

void define_backend_unavailable(PyObject* module);
void define_loop(PyObject* module);

// `value`, or null for null and None; TypeError when it is no contextvars.Context.
PyObject* context_or_null(PyObject* value);
// The descriptor number of an int or of an object with fileno(); ValueError as in `selectors`.
int descriptor_number(PyObject* file_object);
// The same, but -1 for a negative one (a closed socket).
int descriptor_number_or_closed(PyObject* file_object);
// The same for a socket of the user; OSError(EBADF) when it is closed, as its methods raise.
int socket_number(PyObject* socket);

}  // namespace rloop::native
