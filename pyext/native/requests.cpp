// Waiting for sockets, and the system calls of sock_*; see requests.hpp.
#include "native/requests.hpp"

#include <fcntl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <new>

#include "binding/buffer.hpp"
#include "native/names.hpp"
#include "native/upcall.hpp"

namespace rloop::native {
namespace {

// From here on the copy out of the scratch costs more than the call.
constexpr size_t kBulk_bytes = 32 * 1024;

// False: the call would block. Errors are raised as socket methods do.
bool finished(ssize_t returned) {
  if (returned >= 0) return true;
  if (errno == EAGAIN || errno == EINTR) return false;
  binding::set_os_error(errno);
  throw binding::PythonError{};
}

// What try_recv and try_recv_into answer then.
Ref would_block() {
  return Ref::borrow(Py_None);
}

size_t size_argument(PyObject* value) {
  Ref number = Ref::checked(PyNumber_Index(value));
  Py_ssize_t size = PyLong_AsSsize_t(number.get());
  if (size == -1 && PyErr_Occurred()) throw binding::PythonError{};
  if (size < 0) binding::raise(PyExc_ValueError, "negative buffersize in recv");
  return static_cast<size_t>(size);
}

// Whether the methods of the object are the system calls below.
bool is_plain_socket(PyObject* socket) {
  static PyObject* plain = names::report("plain_socket_class").release();
  return Py_IS_TYPE(socket, reinterpret_cast<PyTypeObject*>(plain));
}

// socket.name(*arguments), or null: it would block.
template <class... Arguments>
Ref call_unless_blocked(PyObject* socket, binding::Name& name, Arguments... arguments) {
  Ref result = binding::try_call_method(socket, name, arguments...);
  if (result) return result;
  bool is_blocked = PyErr_ExceptionMatches(PyExc_BlockingIOError) ||
                    PyErr_ExceptionMatches(PyExc_InterruptedError);
  if (!is_blocked) throw binding::PythonError{};
  PyErr_Clear();
  return nullptr;
}

Ref send_by_method(PyObject* socket, PyObject* data, size_t sent) {
  Ref rest = Ref::borrow(data);
  if (sent > 0) {
    Ref view = Ref::checked(PyMemoryView_FromObject(data));
    rest = Ref::checked(
        PySequence_GetSlice(view.get(), static_cast<Py_ssize_t>(sent), PY_SSIZE_T_MAX));
  }
  Ref step = call_unless_blocked(socket, names::send, rest.get());
  Py_ssize_t length = PyObject_Length(rest.get());
  binding::check(length < 0 ? -1 : 0);
  size_t taken = step ? size_argument(step.get()) : 0;
  if (taken >= static_cast<size_t>(length)) return Ref::borrow(Py_None);
  return Ref::checked(PyLong_FromSize_t(sent + taken));
}

}  // namespace

// --- waiting -----------------------------------------------------------------------------------

SockRequest::SockRequest(Loop& loop, PyObject* socket, int fd, op::Direction direction)
    : loop_(loop),
      loop_object_(Ref::borrow(loop.object())),
      socket_(Ref::borrow(socket)),
      descriptor_(fd, /*is_owned=*/false),
      poll_(*this, descriptor_, direction) {}

Ref SockRequest::wait_ready(Loop& loop, PyObject* socket, op::Direction direction) {
  loop.check_closed();
  int fd = socket_number(socket);
  // The number of an object that says it would block may be anything.
  if (!is_plain_socket(socket) && ::fcntl(fd, F_GETFD) < 0) {
    binding::set_os_error(errno);
    throw binding::PythonError{};
  }
  Ref future = loop.new_future();
  loop.check_closed();  // while Python code ran
  Ref request = SockRequestType::create(loop, socket, fd, direction);
  SockRequest& value = SockRequestType::value(request.get());
  value.future_ = std::move(future);
  value.wait();
  return request;
}

void SockRequest::wait() {
  SockRequest*& place = loop_.request_place(descriptor_.fd, direction());
  kept_by_loop_ = Ref::borrow(SockRequestType::object(this));  // after what may throw
  if (SockRequest* former = std::exchange(place, this)) former->cancel();
  loop_.requests().push_back(*this);
  try {
    loop_.reactor().submit(poll_);
  } catch (const std::bad_alloc&) {  // it is idle still, and nobody would bring us home
    finish();
    throw;
  }
}

void SockRequest::on_ready(const op::Completion& completion) {
  Ref self = Ref::borrow(SockRequestType::object(this));
  finish();
  if (completion.result.is(ECANCELED)) return;
  // An error of the poll is no result: the system call that follows meets it too, and reports it.
  wake();
}

void SockRequest::wake() {
  contained(loop_, [this] {
    Ref done = binding::call_method(future_.get(), names::done);
    if (!done.is(Py_True)) binding::call_method(future_.get(), names::set_result, Py_None);
  });
}

void SockRequest::cancel() {
  if (!poll_.idle()) loop_.reactor().cancel(poll_);
}

void SockRequest::finish() {
  if (linked()) unlink();
  SockRequest*& place = loop_.request_place(descriptor_.fd, direction());
  if (place == this) place = nullptr;
  Ref self = std::move(kept_by_loop_);
}

std::vector<PyMethodDef> SockRequest::methods() {
  return {binding::method<&SockRequest::cancel>(
      "cancel", "cancel($self)\n--\n\nStop waiting; does nothing once the socket was ready.")};
}

std::vector<PyGetSetDef> SockRequest::attributes() {
  return {binding::attribute<&SockRequest::future>("future", "Done when the socket is ready.")};
}

// --- the system calls --------------------------------------------------------------------------

Ref check_socket(Loop& loop, PyObject* socket) {
  if (is_plain_socket(socket) && !loop.debug()) [[likely]]
    return Ref::borrow(Py_None);
  return names::report("check_socket", loop.object(), socket);
}

// Receives go through the loop's scratch and become exact bytes: allocating the size that was
// asked for first costs asyncio 7 or 29 us per message (KERNEL.md 0b). Not so when the bytes are
// many and the last receive got all it had asked for: then it only saves the copy.
Ref try_recv(Loop& loop, PyObject* socket, PyObject* size) {
  if (!is_plain_socket(socket)) {
    Ref bytes = call_unless_blocked(socket, names::recv, size);
    return bytes ? std::move(bytes) : would_block();
  }
  size_t most = size_argument(size);
  int fd = socket_number(socket);
  loop.check_closed();  // after what may run Python code
  if (most == 0) return Ref::checked(PyBytes_FromStringAndSize(nullptr, 0));  // as socket.recv
  std::span<std::byte> scratch = loop.reactor().large_scratch();
  ++loop.reactor().statistics().syscalls;
  bool is_bulk = most >= kBulk_bytes && loop.last_receive_was_full();
  if (most <= scratch.size() && !is_bulk) {
    ssize_t received = ::recv(fd, scratch.data(), most, MSG_DONTWAIT);
    if (!finished(received)) return would_block();
    loop.note_received(static_cast<size_t>(received), most);
    auto* data = reinterpret_cast<char*>(scratch.data());
    return Ref::checked(PyBytes_FromStringAndSize(data, received));
  }
  Ref guard = Ref::checked(PyBytes_FromStringAndSize(nullptr, static_cast<Py_ssize_t>(most)));
  ssize_t received = ::recv(fd, PyBytes_AS_STRING(guard.get()), most, MSG_DONTWAIT);
  if (!finished(received)) return would_block();
  loop.note_received(static_cast<size_t>(received), most);
  PyObject* bytes = guard.release();
  binding::check(_PyBytes_Resize(&bytes, received));
  return Ref::steal(bytes);
}

Ref try_recv_into(Loop& loop, PyObject* socket, PyObject* buffer) {
  if (!is_plain_socket(socket)) {
    Ref count = call_unless_blocked(socket, names::recv_into, buffer);
    return count ? std::move(count) : would_block();
  }
  binding::BufferView view;
  view.acquire_writable(buffer, "recv_into");
  int fd = socket_number(socket);
  loop.check_closed();
  std::span<std::byte> memory = view.bytes();
  if (memory.empty()) return Ref::checked(PyLong_FromLong(0));  // as socket.recv_into
  ++loop.reactor().statistics().syscalls;
  ssize_t received = ::recv(fd, memory.data(), memory.size(), MSG_DONTWAIT);
  if (!finished(received)) return would_block();
  loop.reactor().note_received(static_cast<size_t>(received));
  return Ref::checked(PyLong_FromSsize_t(received));
}

Ref try_send(Loop& loop, PyObject* socket, PyObject* data, PyObject* sent_before) {
  size_t sent = size_argument(sent_before);
  if (!is_plain_socket(socket)) return send_by_method(socket, data, sent);
  int fd = socket_number(socket);
  binding::BufferView view;
  view.acquire(data, PyBUF_SIMPLE);
  loop.check_closed();
  std::span<const std::byte> rest = view.bytes().subspan(std::min(sent, view.bytes().size()));
  while (!rest.empty()) {
    ++loop.reactor().statistics().syscalls;
    ssize_t step = ::send(fd, rest.data(), rest.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (!finished(step)) return Ref::checked(PyLong_FromSize_t(sent));
    sent += static_cast<size_t>(step);
    rest = rest.subspan(static_cast<size_t>(step));
  }
  return Ref::borrow(Py_None);
}

}  // namespace rloop::native
