// Operations carried out by a script; see script_reactor.hpp.
#include "hunt/script_reactor.hpp"

#include <liburing.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "hunt/system_calls.hpp"

namespace rloop::hunt {
namespace {

reactor::Config small() {
  reactor::Config config;
  config.buffer_size = 64;
  config.scratch_size = 256;
  config.large_scratch_size = 512;
  config.much = 120;
  config.most_in_a_row = 1000;
  return config;
}

ssize_t result_of(ssize_t returned) {
  return returned < 0 ? -errno : returned;
}

}  // namespace

ScriptReactor::ScriptReactor(reactor::Statistics& statistics,
                             const reactor::Capabilities& capabilities)
    : Reactor(small(), statistics) {
  capabilities_ = capabilities;
}

ScriptReactor::~ScriptReactor() = default;

void ScriptReactor::submit(op::Operation& operation) {
  if (dead_) return;
  expect(operation.idle(), "an operation was submitted while in flight");
  expect_arrival();
  if (is_ring() && !operation.waits_in_epoll_set()) {
    operation.set_state(op::State::queued);
    queued_.push_back(&operation);
  } else {
    start(operation);
  }
}

void ScriptReactor::cancel(op::Operation& operation) {
  if (operation.state() == op::State::queued) {
    std::erase(queued_, &operation);
    arrive_at(operation, -ECANCELED);
  } else if (operation.state() == op::State::in_flight) {
    bool at_once = !is_ring() || operation.waits_in_epoll_set();
    if (!at_once) return operation.set_cancel_requested(true);
    remove(operation);
    arrive_at(operation, -ECANCELED);
  }
}

// The owner is about to close it.
void ScriptReactor::forget(op::Descriptor& descriptor) {
  for (const Pending& pending : pending_)
    expect(&pending.operation->descriptor() != &descriptor, "closed with an operation in flight");
  for (op::Operation* queued : queued_)
    expect(&queued->descriptor() != &descriptor, "closed with an operation queued");
}

void ScriptReactor::start(op::Operation& operation) {
  io_uring_sqe sqe;
  std::memset(&sqe, 0, sizeof(sqe));
  operation.prepare(sqe);
  operation.set_state(op::State::in_flight);
  for (const Pending& other : pending_) {
    expect(&other.operation->descriptor() != &operation.descriptor() ||
               other.operation->direction() != operation.direction(),
           "two operations of one direction on one socket");
  }
  pending_.push_back({&operation, sqe.opcode, sqe.fd, sqe.addr, sqe.len});
}

void ScriptReactor::enter() {
  for (op::Operation* operation : queued_)
    start(*operation);
  queued_.clear();
}

void ScriptReactor::advance(size_t which, bool stops) {
  Pending pending = pending_[which];
  op::Operation& operation = *pending.operation;
  if (!is_ring() && !operation.waits_in_epoll_set()) return attempt(operation);
  ssize_t result = 0;
  switch (pending.opcode) {
    case IORING_OP_RECV:
    case IORING_OP_RECVMSG:
      return receive(pending, stops);
    case IORING_OP_SEND:
      result = SystemCalls::installed->send(
          pending.fd, reinterpret_cast<const void*>(pending.address), pending.length, 0);
      break;
    case IORING_OP_SENDMSG:
      result = SystemCalls::installed->sendmsg(pending.fd,
                                               reinterpret_cast<const msghdr*>(pending.address), 0);
      break;
    default: {
      short events = operation.direction() == op::Direction::read ? POLLIN : POLLOUT;
      pollfd asked{.fd = pending.fd, .events = events, .revents = 0};
      if (pending.fd < 0) {
        errno = EBADF;
        result = -1;
      } else if (SystemCalls::installed->poll(&asked, 1, 0) == 0) {
        return;
      } else {
        result = asked.revents;
      }
    }
  }
  result = result_of(result);
  remove(operation);
  arrive_at(operation, result);
}

// As the epoll reactor's dispatch does.
void ScriptReactor::attempt(op::Operation& operation) {
  if (interrupted_) return;
  bool polls = operation.direction() == op::Direction::read && operation.descriptor().number() >= 0;
  if (polls) {  // nothing is attempted before its descriptor is ready
    pollfd asked{.fd = operation.descriptor().number(), .events = POLLIN, .revents = 0};
    if (SystemCalls::installed->poll(&asked, 1, 0) == 0) return;
  }
  op::Attempt done = operation.attempt(scratch());
  if (done.result.is_again()) return;
  bool more = operation.multishot() && done.result.ok() && !done.ended;
  if (!more) remove(operation);
  bring_home(operation, {.result = done.result, .more = more, .data = done.data});
  std::memset(scratch().data(), 0xee, done.data.size());
}

void ScriptReactor::receive(const Pending& pending, bool stops) {
  op::Operation& operation = *pending.operation;
  pollfd asked{.fd = pending.fd, .events = POLLIN, .revents = 0};
  if (pending.fd >= 0 && SystemCalls::installed->poll(&asked, 1, 0) == 0) return;
  auto free = std::find(lent_.begin(), lent_.end(), false);
  size_t id = static_cast<size_t>(free - lent_.begin());
  ssize_t result = pending.fd < 0       ? -EBADF
                   : id == kBufferCount ? -ENOBUFS
                                        : fill(pending, buffers_[id]);
  if (result == -EAGAIN && operation.multishot()) return;
  bool is_end = result < 0 || (result == 0 && pending.opcode == IORING_OP_RECV);
  bool more = operation.multishot() && !is_end && !stops;
  if (!more) remove(operation);
  uint32_t flags = more ? kMore : 0;
  if (!is_end) {
    lent_[id] = true;
    flags |= static_cast<uint32_t>(id + 1) << 8;
  }
  if (more) {
    expect(make_room_for_batch(), "no memory");
    arrive(operation, base::Result(static_cast<int>(result)), flags, false);
  } else {
    arrive_at(operation, result, flags);
  }
}

ssize_t ScriptReactor::fill(const Pending& pending, std::span<std::byte> buffer) {
  if (pending.opcode == IORING_OP_RECV) {
    return result_of(
        SystemCalls::installed->recv(pending.fd, buffer.data(), config_.buffer_size, MSG_DONTWAIT));
  }
  // As the kernel lays out what a multishot recvmsg brings.
  const auto& wanted = *reinterpret_cast<const msghdr*>(pending.address);
  io_uring_recvmsg_out header{};
  std::span<std::byte> name = buffer.subspan(sizeof(header), wanted.msg_namelen);
  iovec range{.iov_base = name.data() + name.size(),
              .iov_len = buffer.size() - sizeof(header) - name.size()};
  msghdr message{};
  message.msg_name = name.data();
  message.msg_namelen = static_cast<socklen_t>(name.size());
  message.msg_iov = &range;
  message.msg_iovlen = 1;
  ssize_t size = result_of(SystemCalls::installed->recvmsg(pending.fd, &message, MSG_DONTWAIT));
  if (size < 0) return size;
  header.namelen = message.msg_namelen;
  header.payloadlen = static_cast<uint32_t>(size);
  std::memcpy(buffer.data(), &header, sizeof(header));
  return static_cast<ssize_t>(sizeof(header) + name.size()) + size;
}

void ScriptReactor::advance_all() {
  std::vector<op::Operation*> all;
  for (const Pending& pending : pending_)
    all.push_back(pending.operation);
  for (op::Operation* operation : all) {
    // What one brings may end another one, and its owner.
    auto found = std::find_if(pending_.begin(), pending_.end(), [&](const Pending& pending) {
      return pending.operation == operation;
    });
    if (found != pending_.end()) advance(static_cast<size_t>(found - pending_.begin()), false);
  }
}

void ScriptReactor::end(size_t which, int error_number) {
  op::Operation& operation = *pending_[which].operation;
  remove(operation);
  arrive_at(operation, -error_number);
}

void ScriptReactor::run_cancels(unsigned winners) {
  for (size_t i = pending_.size(); i-- > 0;) {
    op::Operation& operation = *pending_[i].operation;
    if (!operation.cancel_requested()) continue;
    if (winners >> (i % 16) & 1) advance(i, true);
    if (operation.state() == op::State::in_flight) {
      remove(operation);
      arrive_at(operation, -ECANCELED);
    }
  }
}

void ScriptReactor::quiesce() {
  if (!is_ring()) return;
  for (size_t i = pending_.size(); i-- > 0;) {
    if (pending_[i].operation->replay() == op::Replay::no) end(i, ECANCELED);
  }
}

void ScriptReactor::take_back() {
  if (!is_ring()) return;
  quiesce();
  std::vector<op::Operation*> again;
  for (size_t i = 0; i < pending_.size();) {
    op::Operation& operation = *pending_[i].operation;
    if (operation.waits_in_epoll_set()) {
      ++i;
      continue;
    }
    remove(operation);
    if (operation.cancel_requested()) {
      arrive_at(operation, -ECANCELED);
    } else {
      operation.set_state(op::State::queued);
      again.push_back(&operation);
    }
  }
  queued_.insert(queued_.begin(), again.begin(), again.end());
}

bool ScriptReactor::sends_from(const std::byte* bytes, size_t size) const {
  auto overlaps = [&](const void* begin, size_t length) {
    auto* other = static_cast<const std::byte*>(begin);
    return other < bytes + size && bytes < other + length;
  };
  for (const Pending& pending : pending_) {
    if (pending.opcode == IORING_OP_SEND &&
        overlaps(reinterpret_cast<const void*>(pending.address), pending.length)) {
      return true;
    }
    if (pending.opcode != IORING_OP_SENDMSG) continue;
    const auto& message = *reinterpret_cast<const msghdr*>(pending.address);
    for (const iovec& range : std::span(message.msg_iov, message.msg_iovlen))
      if (overlaps(range.iov_base, range.iov_len)) return true;
  }
  return false;
}

void ScriptReactor::run_batch() {
  for (Arrival arrival; next_arrival(arrival);) {
    op::Completion completion{.result = arrival.result, .more = (arrival.flags & kMore) != 0};
    size_t lent = arrival.flags >> 8;
    if (lent == 0) {
      bring_home(*arrival.operation, completion);
      continue;
    }
    auto size = static_cast<size_t>(arrival.result.value());
    std::span<std::byte> buffer = std::span(buffers_[lent - 1]).first(size);
    completion.data = buffer;
    bring_home(*arrival.operation, completion);
    std::memset(buffer.data(), 0xee, size);
    lent_[lent - 1] = false;
  }
}

void ScriptReactor::arrive_at(op::Operation& operation, ssize_t result, uint32_t flags) {
  arrive(operation, base::Result(static_cast<int>(result)), flags, true);
}

void ScriptReactor::remove(op::Operation& operation) {
  std::erase_if(pending_, [&](const Pending& one) { return one.operation == &operation; });
}

}  // namespace rloop::hunt
