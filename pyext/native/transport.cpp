// Flow control, failures, extra info and the end; see transport.hpp.
#include "native/transport.hpp"

#include <sys/un.h>

#include "base/log.hpp"
#include "binding/buffer.hpp"
#include "binding/socket_number.hpp"
#include "native/names.hpp"
#include "native/upcall.hpp"

namespace rloop::native {
namespace {

// asyncio's LOG_THRESHOLD_FOR_CONNLOST_WRITES.
constexpr int kLostWritesBeforeWarning = 5;

}  // namespace

// --- opening -----------------------------------------------------------------------------------

void Transport::read_addresses(const base::Address* peer) {
  base::Result local = base::Address::local(fd(), local_);
  if (local.is(EBADF)) {
    binding::set_os_error(local.error_number());
    throw binding::PythonError{};
  }
  if (peer && peer->length() > 0) {
    remote_ = *peer;
  } else {
    base::Address::remote(fd(), remote_);
  }
}

void Transport::follow_socket() {
  follow_number(binding::place_of_number(socket_.get(), fd()));
}

// The program may make a copy of it without our knowledge.
Ref Transport::get_socket() {
  share_socket();
  return python_socket();
}

void Transport::share_socket() {
  socket_shared_ = true;
  if (lost_count_ == 0) flush_backlog();
}

void Transport::enter_loop(PyObject* protocol, Ref connection_made, PyObject* waiter,
                           PyObject* context) {
  try {
    loop_.check_closed();  // by the protocol's own code, while its method was looked up
    context_ = Ref::borrow(context);
    if (!context && !shares_current_context()) context_ = Ref::checked(PyContext_CopyCurrent());
    protocol_ = Ref::borrow(protocol);
    Ref start_reading = binding::get_attribute(object(), names::start_reading);
    loop_.transport_opened(*this);
    kept_by_loop_ = Ref::borrow(object());
    loop_.schedule(connection_made.get(), {object()}, context);
    loop_.schedule(start_reading.get(), {}, context);
    if (waiter) names::report("wake_waiter", loop_.object(), waiter, context ? context : Py_None);
  } catch (...) {  // by a call_soon of the program's, or for want of memory
    binding::set_error_from_exception();
    Ref error = binding::take_exception();
    // What was scheduled still knows us, and the server; the number will be somebody else's.
    release();
    binding::restore_exception(std::move(error));
    throw binding::PythonError{};
  }
}

void require_bytes_like(PyObject* data, const char* refusal) {
  if (PyBytes_Check(data) || PyByteArray_Check(data) || PyMemoryView_Check(data)) return;
  names::report(refusal, data);
}

net::Segment segment_of(Ref bytes) {
  std::span<const std::byte> memory = binding::bytes_of(bytes.get());
  net::Keeper keeper(bytes.release(), [](void* object) {
    Ref dropped = Ref::steal(static_cast<PyObject*>(object));
  });
  return {memory.data(), memory.size(), std::move(keeper)};
}

// --- flow control ------------------------------------------------------------------------------

bool Transport::reject_write() {
  if (lost_count_ == 0) return false;
  if (lost_count_ >= kLostWritesBeforeWarning) names::report("write_after_loss");
  ++lost_count_;
  return true;
}

size_t Transport::get_write_buffer_size() {
  // asyncio tries to send inside write(); whoever asks sees what the kernel refused.
  if (lost_count_ == 0) flush_backlog();
  return lost_count_ == 0 ? backlog() : 0;  // what is lost is nobody's backlog
}

void Transport::pause_protocol_if_needed() {
  size_t waiting = backlog();
  if (waiting == 0) return;
  largest_backlog_ = std::max(largest_backlog_, waiting);
  if (waiting <= high_water_ || protocol_paused_ || lost_count_ > 0) return;
  flush_backlog();
  if (backlog() <= high_water_ || protocol_paused_) return;
  protocol_paused_ = true;
  ++pause_count_;
  Ref protocol = protocol_.copy();  // it may be switched by its own call
  try {
    Ref::checked(call_protocol(loop_, protocol.get(), names::pause_writing).release());
  } catch (const binding::PythonError&) {
    flow_control_failed("protocol.pause_writing() failed");
  }
}

void Transport::resume_protocol_if_possible() {
  if (!protocol_paused_ || backlog() > low_water_) return;
  protocol_paused_ = false;
  Ref protocol = protocol_.copy();
  contained(loop_, [&] {
    try {
      Ref::checked(call_protocol(loop_, protocol.get(), names::resume_writing).release());
    } catch (const binding::PythonError&) {
      flow_control_failed("protocol.resume_writing() failed");
    }
  });
}

// For the Python error that is set: exits go on to the caller, the rest is reported.
void Transport::flow_control_failed(const char* message) {
  Ref error = binding::take_exception();
  if (is_exit(error.get())) {
    binding::restore_exception(std::move(error));
    throw binding::PythonError{};
  }
  Ref text = Ref::checked(PyUnicode_FromString(message));
  HandlingScope handling(error.get());
  names::report("protocol_failed", loop_object_.get(), object(), protocol_.get(), error.get(),
                text.get());
}

void Transport::set_write_buffer_limits(const Arguments& arguments) {
  PyObject* given[2];
  arguments.parse({"high", "low"}, 0, given, "set_write_buffer_limits");
  auto or_none = [](PyObject* value) { return value ? value : Py_None; };
  Ref limits = names::report("write_buffer_limits", or_none(given[0]), or_none(given[1]));
  size_t high = PyLong_AsSize_t(PyTuple_GetItem(limits.get(), 0));
  size_t low = PyLong_AsSize_t(PyTuple_GetItem(limits.get(), 1));
  if (PyErr_Occurred()) throw binding::PythonError{};
  high_water_ = high;
  low_water_ = low;
  pause_protocol_if_needed();
}

Ref Transport::get_write_buffer_limits() {
  return Ref::checked(Py_BuildValue("(nn)", static_cast<Py_ssize_t>(low_water_),
                                    static_cast<Py_ssize_t>(high_water_)));
}

// --- extra info --------------------------------------------------------------------------------

Ref address_object(const base::Address& address) {
  switch (address.family()) {
    case AF_INET:
      return Ref::checked(Py_BuildValue("(sH)", address.host().c_str(), address.port()));
    case AF_INET6: {
      auto in6 = address.as<sockaddr_in6>();
      // Without the zone, which the scope says.
      return Ref::checked(Py_BuildValue("(sHII)", address.bare_host().c_str(), address.port(),
                                        ntohl(in6.sin6_flowinfo), in6.sin6_scope_id));
    }
    case AF_UNIX: {
      std::string name = address.unix_name();
      auto size = static_cast<Py_ssize_t>(name.size());
      // As the socket module: abstract names are bytes, others str.
      if (size > 0 && name[0] == '\0') {
        return Ref::checked(PyBytes_FromStringAndSize(name.data(), size));
      }
      return Ref::checked(PyUnicode_DecodeFSDefaultAndSize(name.data(), size));
    }
    default:
      return Ref::borrow(Py_None);
  }
}

// The socket object behind the transport; an accepted connection gets one when first asked for.
Ref Transport::python_socket() {
  if (!socket_ && own_fd_.valid()) make_python_socket();
  return Ref::borrow(socket_ ? socket_.get() : Py_None);
}

// Python code makes it, so another thread may get the GIL: end the connection, or make one as well.
// The number is nobody's to close meanwhile, and one object's to keep.
void Transport::make_python_socket() {
  ++socket_makers_;
  Ref made;
  try {
    made = names::report("socket_of_descriptor", Ref::checked(PyLong_FromLong(fd())).get(),
                         Ref::checked(PyLong_FromLong(local_.family())).get(),
                         Ref::checked(PyLong_FromLong(socket_protocol_)).get());
  } catch (const binding::PythonError&) {
    --socket_makers_;
    close_own_descriptor();
    throw;
  }
  --socket_makers_;
  if (closed_ || socket_) {
    if (!binding::detach(made.get(), fd()))
      Ref::checked(PyObject_CallMethod(made.get(), "detach", nullptr));
    return close_own_descriptor();
  }
  own_fd_.release();
  socket_ = std::move(made);
  if (sockets_made_ < 2) ++sockets_made_;
  follow_socket();
}

// Once the connection is over and no thread makes a Python socket of it.
void Transport::close_own_descriptor() {
  if (closed_ && socket_makers_ == 0) own_fd_.reset();
}

bool Transport::program_has_socket() const {
  if (!socket_) return false;
  Py_ssize_t ours = transport_socket_ ? 2 : 1;
  return socket_shared_ || Py_REFCNT(socket_.get()) > ours ||
         (transport_socket_ && Py_REFCNT(transport_socket_.get()) > 1);
}

// Most programs ask for an accepted connection's socket once, to set an option, and do not keep it.
// The Python socket and what goes with it are 230 bytes; the next one is made anew, which nobody
// can tell from it. Only the first goes: a program that asks again and again keeps what it gets.
void Transport::take_back_unused_socket() {
  if (sockets_made_ != 1 || !socket_ || program_has_socket()) return;
  if (transport_socket_) {  // in which the program may have put another one
    Ref within = Ref::steal(PyObject_GetAttr(transport_socket_.get(), names::socket_within.get()));
    if (!within) PyErr_Clear();
    if (!within.is(socket_.get())) return;
  }
  Ref transport_socket = std::move(transport_socket_);
  transport_socket = Ref();  // its finalizer may be the program's; so may what it refers to
  bool is_held = !socket_ || Py_REFCNT(socket_.get()) > 1;
  if (is_held || binding::is_weakly_referenced(socket_.get())) return;
  if (!binding::detach(socket_.get(), fd())) return;
  own_fd_ = base::UniqueFd(fd());
  follow_number(nullptr);
  Ref socket = std::move(socket_);
}

void Transport::read_unusual_addresses() {
  int family = local_.family();
  if (family == AF_INET || family == AF_INET6 || family == AF_UNIX) return;
  contained(loop_, [this] {
    extra_ = names::report("addresses_of_socket", python_socket().get(), get_extra().get());
  });
}

Ref Transport::get_extra_info(const Arguments& arguments) {
  PyObject* given[2];
  arguments.parse({"name", "default"}, 1, given, "get_extra_info");
  PyObject* fallback = given[1] ? given[1] : Py_None;
  if (extra_) {
    PyObject* value = PyDict_GetItemWithError(extra_.get(), given[0]);
    if (value) return Ref::borrow(value);
    if (PyErr_Occurred()) throw binding::PythonError{};
  }
  if (PyObject_Hash(given[0]) == -1) throw binding::PythonError{};  // what a dict would say
  const char* name = PyUnicode_Check(given[0]) ? PyUnicode_AsUTF8(given[0]) : "";
  if (!name) throw binding::PythonError{};
  std::string_view wanted = name;
  if (wanted == "socket") {
    if (lost_count_ == 0) flush_backlog();  // the program may go on with the socket itself
    if (transport_socket_) return transport_socket_.copy();
    Ref socket = python_socket();
    Ref made = names::report("transport_socket", socket.get(), object());
    // Else another thread was faster, and has had its socket taken back meanwhile.
    if (closed_ || socket_.is(socket.get())) transport_socket_ = made.copy();
    return made;
  }
  // asyncio keeps None for a name that could not be asked for, e.g. of a peer that was gone.
  if (wanted == "sockname") return address_object(local_);
  if (wanted == "peername") return address_object(remote_);
  if (wanted == "statistics") return statistics();
  return Ref::borrow(fallback);
}

Ref Transport::repr() {
  return names::report("transport_repr", object());
}

// The last reference went while the socket was still open: only after the loop was closed, since
// an open transport is kept by its loop.
void Transport::finalize() {
  if (abandoned_ && !binding::is_finalizing()) names::report("unclosed_transport", object());
}

// --- failures and the end ------------------------------------------------------------------------

void Transport::abort() {
  force_close(Py_None);
}

// For the program: in debug mode refused in another thread, before anything has changed.
void Transport::force_close(PyObject* exception) {
  if (lost_count_ == 0) loop_.check_thread();
  lose_connection(exception == Py_None ? Ref() : Ref::borrow(exception));
}

void Transport::lose_connection(Ref error) {
  if (lost_count_ > 0) return;
  ++lost_count_;
  closing_ = true;
  error_ = std::move(error);
  abort_io();
}

void Transport::fatal_error(const Arguments& arguments) {
  PyObject* given[2];
  arguments.parse({"exc", "message"}, 1, given, "_fatal_error");
  const char* message = "Fatal error on transport";
  if (given[1]) message = PyUnicode_AsUTF8(given[1]);
  if (!message) throw binding::PythonError{};
  fail_with(Ref::borrow(given[0]), message);
}

// For the Python error that is set: what the protocol raised.
void Transport::fail(const char* message) {
  Ref error = binding::take_exception();
  if (is_exit(error.get())) return loop_.interrupt(std::move(error));
  fail_with(std::move(error), message);
}

void Transport::fail_with(Ref error, const char* message) {
  contained(loop_, [&] {
    Ref text = Ref::checked(PyUnicode_FromString(message));
    HandlingScope handling(error.get());
    names::report("fatal_error", loop_object_.get(), object(),
                  protocol_ ? protocol_.get() : Py_None, error.get(), text.get());
  });
  lose_connection(std::move(error));
}

void Transport::call_connection_lost() {
  if (!protocol_) return;
  Ref protocol = protocol_.copy();
  // Not kept: its traceback may know us, by the frame of a start_tls that failed.
  Ref error = error_ ? std::move(error_) : Ref::borrow(Py_None);
  Ref result;
  {
    InContext scope(*this);
    result = call_protocol(loop_, protocol.get(), names::connection_lost, error.get());
  }
  if (!result) upcall_failed("connection_lost", {error.get()});
}

// For the Python error that is set, raised by a method of the protocol that asyncio calls from a
// handle: the transport goes on.
void Transport::upcall_failed(const char* method, std::initializer_list<PyObject*> arguments) {
  Ref error = binding::take_exception();
  if (is_exit(error.get())) return loop_.interrupt(std::move(error));
  contained(loop_, [&] {
    Ref name = Ref::checked(PyUnicode_FromString(method));
    Ref tuple = Ref::checked(PyTuple_New(static_cast<Py_ssize_t>(arguments.size())));
    for (size_t i = 0; i < arguments.size(); ++i) {
      PyTuple_SET_ITEM(tuple.get(), static_cast<Py_ssize_t>(i), Py_NewRef(arguments.begin()[i]));
    }
    PyObject* context = own_context();
    HandlingScope handling(error.get());
    names::report("protocol_callback_failed", loop_object_.get(),
                  protocol_ ? protocol_.get() : Py_None, error.get(), name.get(), tuple.get(),
                  context ? context : Py_None);
  });
}

// Closes the descriptor and lets go of everything; the last reference may be the loop's.
void Transport::release() {
  if (closed_) return;
  closed_ = closing_ = true;
  if (lost_count_ == 0) lost_count_ = 1;
  Ref self = std::move(kept_by_loop_);
  loop_.transport_closed(*this);
  follow_number(nullptr);
  Ref socket = std::move(socket_);
  Ref protocol = std::move(protocol_);
  close_own_descriptor();
  base::log(base::LogLevel::debug, "transport", "transport closed [fd=", fd(), "]");
  if (socket) contained(loop_, [&] { binding::call_method(socket.get(), names::close); });
  let_go();
}

}  // namespace rloop::native
