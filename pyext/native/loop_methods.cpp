// The table of the loop's methods and attributes, and what the garbage collector sees of it; see
// loop.hpp. Names with an underscore are called by the Python half (or by asyncio's own classes),
// the others are asyncio's and replace BaseEventLoop's. Docstrings start with the signature that
// inspect.signature shows.
#include <algorithm>
#include <iterator>

#include "native/connection_contexts.hpp"
#include "native/fd_watch.hpp"
#include "native/loop.hpp"
#include "native/requests.hpp"
#include "native/server.hpp"
#include "native/stream_transport.hpp"

namespace rloop::native {
namespace {

// Loops whose queue has handles to track; see Loop::track_held_handles_later.
base::IntrusiveList<Loop, TrackingTag> loops_to_track;

}  // namespace

template <class Each>
void Loop::references(Each each) {
  ready_.for_each(each);
  watched_.for_each(each);
  timers_.for_each(each);
  each(interruption_);
  each(selector_);
  each(loop_keyword_);
  each(task_factory_);
  shared_context_.references(each);
  each(current_handle_);
  for (auto& [fd, watch] : watches_) {
    each(watch->file_object);
    each(watch->side(op::Direction::read).handle);
    each(watch->side(op::Direction::write).handle);
  }
}

template <class Each>
void Loop::kept_references(Each each) {
  transports_.for_each([&](Transport& transport) { each(transport.kept_by_loop_); });
  listeners_.for_each([&](ServerListener& listener) { each(listener.kept_by_loop_); });
  // Handles that only the queue holds are not tracked (Handle::kTrackedLater): their references
  // are shown here as if they were ours.
  ready_.for_each([&](Ref& handle) {
    if (!handle || PyObject_GC_IsTracked(handle.get())) return;
    if (Py_REFCNT(handle.get()) == 1) {
      handle_of(handle.get()).references(each);
    } else if (!linked()) {
      track_held_handles_later();
    }
  });
  requests_.for_each([&](SockRequest& request) { each(request.kept_by_loop_); });
}

// The collector has met a queued handle that somebody else holds as well. It is not known to the
// collector until it has run, which may be never: a loop that is only held by such a handle could
// not be collected. In the middle of a collection nothing may be tracked; the interpreter calls
// back soon after it, and the next one sees the handle.
void Loop::track_held_handles_later() {
  if (Py_AddPendingCall(track_held_handles, nullptr) == 0) loops_to_track.push_back(*this);
}

int Loop::track_held_handles(void*) {
  while (!loops_to_track.empty()) {
    Loop& loop = loops_to_track.pop_front();
    for (ReadyQueue* queue : {&loop.ready_, &loop.watched_})
      queue->for_each([](Ref& handle) {
        if (handle) track_if_held(handle.get());
      });
  }
  return 0;
}

std::vector<PyMethodDef> Loop::methods() {
  using binding::method;
  std::vector<PyMethodDef> all = scheduling_methods();
  std::ranges::copy(future_methods(), std::back_inserter(all));
  all.insert(
      all.end(),
      {
          method<&Loop::stop>("stop", "stop($self)\n--\n\nEnd run_forever after this turn."),
          method<&Loop::debug>("get_debug", "get_debug($self)\n--\n\nTrue in debug mode."),
          method<&Loop::is_running>("is_running",
                                    "is_running($self)\n--\n\nTrue while the loop runs."),
          method<&Loop::is_closed>("is_closed", "is_closed($self)\n--\n\nTrue after close()."),
          method<&Loop::check_closed>("_check_closed", nullptr),
          method<&Loop::add_reader>("add_reader",
                                    "add_reader($self, fd, callback, *args)\n--\n\n"
                                    "Call on every turn while fd is readable (level-triggered)."),
          method<&Loop::add_writer>("add_writer",
                                    "add_writer($self, fd, callback, *args)\n--\n\n"
                                    "Call on every turn while fd is writable (level-triggered)."),
          method<&Loop::remove_reader>(
              "remove_reader", "remove_reader($self, fd)\n--\n\nTrue if there was a reader."),
          method<&Loop::remove_writer>(
              "remove_writer", "remove_writer($self, fd)\n--\n\nTrue if there was a writer."),
          method<&Loop::quiet_add_reader>("_add_reader", nullptr),
          method<&Loop::quiet_add_writer>("_add_writer", nullptr),
          method<&Loop::quiet_remove_reader>("_remove_reader", nullptr),
          method<&Loop::quiet_remove_writer>("_remove_writer", nullptr),
          method<&Loop::ensure_fd_no_transport>("_ensure_fd_no_transport", nullptr),
          method<&Loop::make_socket_transport>("_make_socket_transport", nullptr),
          method<&Loop::make_datagram_transport>("_make_native_datagram_transport", nullptr),
          method<&Loop::start_serving>("_listen", nullptr),
          method<&Loop::stop_listening>("_stop_listening", nullptr),
          method<&Loop::clients_of>("_clients_of", nullptr),
          method<&Loop::check_socket>("_check_socket", nullptr),
          method<&Loop::sock_recv>("_sock_recv", nullptr),
          method<&Loop::sock_recv_into>("_sock_recv_into", nullptr),
          method<&Loop::sock_send>("_sock_send", nullptr),
          method<&Loop::wait_readable>("_wait_readable", nullptr),
          method<&Loop::wait_writable>("_wait_writable", nullptr),
          method<&Loop::known_answer>("_known_answer", nullptr),
          method<&Loop::remember_answer>("_remember_answer", nullptr),
          method<&Loop::configure>("_configure", nullptr),
          method<&Loop::run>("_run", nullptr),
          method<&Loop::run_once_by_user>("_run_once", nullptr),
          method<&Loop::wait_for_selector>("_wait_for_selector", nullptr),
          method<&Loop::watched_events>("_watched_events", nullptr),
          method<&Loop::set_waits_by_selector>("_wait_by_selector", nullptr),
          method<&Loop::close_io>("_close_io", nullptr),
          method<&Loop::after_fork_in_child>("_after_fork_in_child", nullptr),
          method<&Loop::statistics>("_statistics", nullptr),
          method<&Loop::name_changed>("_name_changed", nullptr),
          method<&Loop::connections>("_connections", nullptr),
      });
  return all;
}

std::vector<PyGetSetDef> Loop::attributes() {
  using binding::attribute;
  return {
      attribute<&Loop::backend>("backend", "'io_uring' or 'epoll'."),
      attribute<&Loop::backend_reason>("backend_reason", "Why this backend, in words."),
      attribute<&Loop::is_closed>("_closed", nullptr),
      attribute<&Loop::is_forked>("_forked", nullptr),
      attribute<&Loop::in_turn>("_in_turn", nullptr),
      attribute<&Loop::ready_handles>("_ready", nullptr),
      attribute<&Loop::scheduled_handles>("_scheduled", nullptr),
      attribute<&Loop::selector>("_selector", nullptr),
      attribute<&Loop::debug, &Loop::set_debug>("_debug", nullptr),
      attribute<&Loop::stopping, &Loop::set_stopping>("_stopping", nullptr),
      binding::resettable<&Loop::task_factory, &Loop::set_task_factory>("_task_factory", nullptr),
      attribute<&Loop::current_handle, &Loop::set_current_handle>("_current_handle", nullptr),
      attribute<&Loop::slow_callback_duration, &Loop::set_slow_callback_duration>(
          "slow_callback_duration",
          "Callbacks that take longer, in seconds, are logged: all of them in debug mode, else "
          "those\nthat come while callbacks are timed, after a turn that took longer."),
  };
}

void define_loop(PyObject* module) {
  LoopOverrides::define();  // the methods' signatures follow asyncio's
  LoopType::define(module, nullptr);
  define_literal_answers();
  GilShare::define();
  SockRequestType::define(module, nullptr);
  ServerListenerType::define(module, nullptr);
  ConnectionContextsType::define(module, nullptr);
}

}  // namespace rloop::native
