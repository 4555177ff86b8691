// Opening, the calls of the protocol, and the end; see stream_transport.hpp.
#include "native/stream_transport.hpp"

#include <netinet/tcp.h>

#include <cerrno>

#include "base/log.hpp"
#include "native/names.hpp"
#include "native/server_clients.hpp"
#include "native/stream_reader_feed.hpp"
#include "native/upcall.hpp"

namespace rloop::native {

using base::LogLevel;
namespace {

constexpr const char* kArea = "transport";

}  // namespace

// --- opening -----------------------------------------------------------------------------------

StreamTransport::StreamTransport(Loop& loop, int fd, PyObject* socket, PyObject* extra,
                                 PyObject* server)
    : Transport(loop, socket, extra),
      stream_(loop.context(), *this, fd),
      server_(Ref::borrow(server)) {}

Ref StreamTransport::open(Loop& loop, int fd, PyObject* socket, PyObject* protocol,
                          PyObject* waiter, PyObject* extra, PyObject* server, PyObject* context,
                          Accepted* accepted) {
  Ref object = StreamTransportType::create(loop, fd, socket, extra, server);
  StreamTransport& self = StreamTransportType::value(object.get());
  if (accepted) {
    self.own_fd_ = std::move(accepted->descriptor);
    self.contexts_ = std::move(accepted->contexts);
    self.socket_protocol_ = accepted->protocol;
  }
  self.follow_socket();
  self.read_addresses(accepted ? &accepted->peer : nullptr);
  self.stream_.set_family(self.local_.family());
  self.use_protocol(protocol);
  Ref connection_made = binding::get_attribute(protocol, names::connection_made);
  if (self.local_.family() == AF_INET || self.local_.family() == AF_INET6) {
    int on = 1;  // as asyncio: no waiting for more to send
    ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  }
  if (server) ServerClients::attach(server, self);
  self.enter_loop(protocol, std::move(connection_made), waiter, context);
  self.read_unusual_addresses();
  base::log_made(LogLevel::debug, kArea, [&] {
    return base::concatenate("TCP transport opened [fd=", fd, "] local=", self.local_.to_string(),
                             " remote=", self.remote_.to_string());
  });
  return object;
}

void StreamTransport::use_protocol(PyObject* protocol) {
  static PyObject* buffered = binding::import_from("asyncio", "BufferedProtocol").release();
  int is_buffered = PyObject_IsInstance(protocol, buffered);
  binding::check(is_buffered);
  if (is_buffered && !buffer_) buffer_ = std::make_unique<binding::BufferView>();
  is_buffered_ = is_buffered != 0;
  stream_.set_reads_into_buffers(is_buffered_);
  protocol_ = Ref::borrow(protocol);
}

// After connection_made.
void StreamTransport::start_reading() {
  made_ = true;
  if (closed_) return;
  take_back_unused_socket();
  stream_.start_reading();
}

void StreamTransport::set_protocol(const Arguments& arguments) {
  use_protocol(arguments.only("protocol", "set_protocol"));
}

// --- reading -----------------------------------------------------------------------------------

void StreamTransport::pause_reading() {
  if (is_reading()) stream_.pause_reading();
}

void StreamTransport::resume_reading() {
  if (!closing_ && stream_.reading_paused()) stream_.resume_reading();
}

// In asyncio one handle receives, calls the protocol and tells of what it raised: each function
// enters the context for all of that.

void StreamTransport::on_data(std::span<const std::byte> data) {
  Ref reader = StreamReaderFeed::keep(data);
  InContext scope(*this);
  Ref result;
  try {
    Ref protocol = protocol_.copy();  // it may be switched by its own call
    if (reader) return StreamReaderFeed::wake(reader.get());
    if (may_feed_reader(protocol.get()) && StreamReaderFeed::feed(protocol.get(), data)) return;
    Ref bytes = loop_.received_bytes().of(loop_.reactor(), data);
    result = call_protocol(loop_, protocol.get(), names::data_received, bytes.get());
  } catch (const binding::PythonError&) {
    // reported below
  }
  loop_.received_bytes().take_back(loop_.reactor());
  if (!result) [[unlikely]]
    fail("Fatal error: protocol.data_received() call failed.");
}

// Whether data may go past the protocol into a StreamReader. Not where the call is looked at: debug
// mode shows the frames that a wakeup comes from.
bool StreamTransport::may_feed_reader(PyObject* protocol) {
  return StreamReaderFeed::is_for(protocol) && !loop_.debug() && !loop_.times_callbacks();
}

std::span<std::byte> StreamTransport::memory_for_much(size_t most) {
  if (!may_feed_reader(protocol_.get())) return {};
  return StreamReaderFeed::lend(protocol_.get(), most);
}

std::span<std::byte> StreamTransport::next_buffer(size_t hint) {
  InContext scope(*this);
  try {
    Ref size = Ref::checked(PyLong_FromSsize_t(hint == 0 ? -1 : static_cast<Py_ssize_t>(hint)));
    Ref protocol = protocol_.copy();
    Ref buffer =
        Ref::checked(call_protocol(loop_, protocol.get(), names::get_buffer, size.get()).release());
    // asyncio asks len(), and recv_into() does the rest: the errors are theirs.
    Py_ssize_t length = PyObject_Size(buffer.get());
    binding::check(length < 0 ? -1 : 0);
    if (length > 0) return lent_memory(buffer.get());
    binding::raise(PyExc_RuntimeError, "get_buffer() returned an empty buffer");
  } catch (const binding::PythonError&) {
    fail("Fatal error: protocol.get_buffer() call failed.");
    return {};
  }
}

// What get_buffer() returned, as memory; empty after a failure.
std::span<std::byte> StreamTransport::lent_memory(PyObject* buffer) {
  try {
    buffer_->acquire_writable(buffer, "recv_into");
    if (!buffer_->bytes().empty()) return buffer_->bytes();
    buffer_->reset();
    binding::raise(PyExc_RuntimeError, "get_buffer() returned an empty buffer");
  } catch (const binding::PythonError&) {
    fail("Fatal read error on socket transport");
    return {};
  }
}

void StreamTransport::on_buffer_unused() {
  if (buffer_) buffer_->reset();
  StreamReaderFeed::take_back();
}

void StreamTransport::on_buffer_filled(size_t size) {
  // get_buffer() has switched to a protocol without buffers.
  if (!is_buffered_) [[unlikely]] {
    on_data(buffer_->bytes().first(size));
    return on_buffer_unused();
  }
  on_buffer_unused();
  InContext scope(*this);
  Ref result;
  try {
    Ref count = Ref::checked(PyLong_FromSize_t(size));
    Ref protocol = protocol_.copy();
    result = call_protocol(loop_, protocol.get(), names::buffer_updated, count.get());
  } catch (const binding::PythonError&) {
    // reported below
  }
  if (!result) fail("Fatal error: protocol.buffer_updated() call failed.");
}

void StreamTransport::on_eof() {
  base::log(LogLevel::trace, kArea, "TCP connection EOF received [fd=", fd(), "]");
  InContext scope(*this);
  Ref protocol = protocol_.copy();
  Ref keep_open = call_protocol(loop_, protocol.get(), names::eof_received);
  if (!keep_open) return fail("Fatal error: protocol.eof_received() call failed.");
  int keep = PyObject_IsTrue(keep_open.get());
  if (keep < 0) return fail("Fatal error: protocol.eof_received() call failed.");
  if (!keep) close();
}

void StreamTransport::on_sent() {
  if (empty_waiter_ && stream_.backlog_bytes() == 0) {
    finish_empty_waiter(names::set_result, Py_None);
  }
  if (protocol_paused_) {
    InContext scope(*this);
    resume_protocol_if_possible();
  }
}

// --- the end -----------------------------------------------------------------------------------

void StreamTransport::close() {
  if (closing_) return;
  if (stream_.backlog_bytes() == 0) loop_.check_thread();  // else asyncio schedules nothing yet
  closing_ = true;
  stream_.close();
  if (stream_.backlog_bytes() == 0 && lost_count_ == 0) ++lost_count_;
}

void StreamTransport::on_error(net::IoStep step, int error_number) {
  InContext scope(*this);
  binding::set_os_error(error_number);
  fail(step == net::IoStep::read ? "Fatal read error on socket transport"
                                 : "Fatal write error on socket transport");
  // Who waits for the backlog to leave learns why it did not.
  if (step == net::IoStep::write && empty_waiter_ && error_) {
    finish_empty_waiter(names::set_exception, error_.get());
  }
}

// Sendfile's future, unless it is done already.
void StreamTransport::finish_empty_waiter(binding::Name& method, PyObject* outcome) {
  contained(loop_, [&] {
    Ref done = binding::call_method(empty_waiter_.get(), names::done);
    if (!done.is(Py_True)) binding::call_method(empty_waiter_.get(), method, outcome);
  });
}

void StreamTransport::on_closed() {
  if (error_) base::log(LogLevel::debug, kArea, "TCP connection lost by an error [fd=", fd(), "]");
  call_connection_lost();
  if (empty_waiter_) {
    Ref lost = Ref::checked(
        PyObject_CallFunction(PyExc_ConnectionError, "s", "Connection is closed by peer"));
    finish_empty_waiter(names::set_exception, lost.get());
  }
  base::log(LogLevel::debug, kArea, "Called connection_lost on TCP [fd=", fd(), "]");
  release_in_context();
}

void StreamTransport::let_go() {
  Ref waiter = std::move(empty_waiter_);
  on_buffer_unused();
  if (!server_ || abandoned_) return;  // a closed loop tells nobody anything
  Ref server = server_.copy();
  contained(loop_, [&] { ServerClients::detach(server.get(), *this); });
  server_ = Ref();  // which _detach needs
}

}  // namespace rloop::native
