// Wrappers of liburing's functions, where the module links the library dynamically.
//
// They answer -errno. An entry fails by becoming a NOP that completes with a result of our choice
// (IORING_NOP_INJECT_RESULT, Linux 6.11): what it asked for never happens, so that the completion
// tells the truth and no kernel writes into memory that its owner has given up.
#include <dlfcn.h>
#include <liburing.h>

#include <array>

#include "strike.hpp"

namespace fail_once {
namespace {

constexpr uint32_t kInjectResult = 1;

// A signal mask, or anything: liburing has changed its mind.
template <class R, class A, class B, class C, class D, class Argument>
Argument argument_of_enter(R (*)(A, B, C, D, Argument, size_t));
using EnterArgument = decltype(argument_of_enter(&io_uring_enter2));

// Where each ring's entries are, by its descriptor.
std::array<io_uring_sq, 1024> queues;

const char* name_of(uint8_t opcode) {
  switch (opcode) {
    case IORING_OP_SEND:
      return "SEND";
    case IORING_OP_SENDMSG:
      return "SENDMSG";
    case IORING_OP_RECV:
      return "RECV";
    case IORING_OP_RECVMSG:
      return "RECVMSG";
    case IORING_OP_READ:
      return "READ";
    case IORING_OP_POLL_ADD:
      return "POLL_ADD";
    default:
      return nullptr;  // a cancel that fails means that its target is done
  }
}

void look_at_entries(const io_uring_sq& queue) {
  unsigned mask = *queue.kring_mask;
  for (unsigned i = *queue.khead; i != *queue.ktail; ++i) {
    io_uring_sqe& entry = queue.sqes[i & mask];
    const char* name = name_of(entry.opcode);
    if (!name || !strikes(Kind::submission, name)) continue;
    uint64_t user_data = entry.user_data;
    entry = {};
    entry.opcode = IORING_OP_NOP;
    entry.user_data = user_data;
    entry.rw_flags = kInjectResult;
    entry.len = static_cast<uint32_t>(-planned_error());
  }
}

// The module's liburing is not among the global libraries, which RTLD_NEXT looks through.
template <class Function>
Function* next(const char* name) {
  static void* library = ::dlopen("liburing.so.2", RTLD_LAZY | RTLD_NOLOAD);
  return reinterpret_cast<Function*>(::dlsym(library, name));
}

}  // namespace
}  // namespace fail_once

using fail_once::Kind;
using fail_once::planned_error;
using fail_once::strikes;

extern "C" {

[[gnu::visibility("default")]] int io_uring_queue_init_params(unsigned entries, io_uring* ring,
                                                              io_uring_params* params) {
  static auto* real = fail_once::next<int(unsigned, io_uring*, io_uring_params*)>(__func__);
  if (strikes(Kind::native, "io_uring_setup")) return -planned_error();
  int answer = real(entries, ring, params);
  auto place = static_cast<size_t>(ring->ring_fd);
  if (answer >= 0 && place < fail_once::queues.size()) fail_once::queues[place] = ring->sq;
  return answer;
}

[[gnu::visibility("default")]] int io_uring_enter2(unsigned fd, unsigned to_submit,
                                                   unsigned min_complete, unsigned flags,
                                                   fail_once::EnterArgument argument, size_t size) {
  static auto* real = fail_once::next<decltype(io_uring_enter2)>(__func__);
  if (strikes(Kind::native, "io_uring_enter")) return -planned_error();
  if (fail_once::armed(Kind::submission) && fd < fail_once::queues.size() &&
      fail_once::queues[fd].khead) {
    fail_once::look_at_entries(fail_once::queues[fd]);
  }
  return real(fd, to_submit, min_complete, flags, argument, size);
}

[[gnu::visibility("default")]] int io_uring_register_buf_ring(io_uring* ring,
                                                              io_uring_buf_reg* registration,
                                                              unsigned flags) {
  static auto* real = fail_once::next<int(io_uring*, io_uring_buf_reg*, unsigned)>(__func__);
  if (strikes(Kind::native, "io_uring_register_buf_ring")) return -planned_error();
  return real(ring, registration, flags);
}

[[gnu::visibility("default")]] int io_uring_unregister_buf_ring(io_uring* ring, int group) {
  static auto* real = fail_once::next<int(io_uring*, int)>(__func__);
  if (strikes(Kind::native, "io_uring_unregister_buf_ring")) return -planned_error();
  return real(ring, group);
}

[[gnu::visibility("default")]] io_uring_probe* io_uring_get_probe_ring(io_uring* ring) {
  static auto* real = fail_once::next<io_uring_probe*(io_uring*)>(__func__);
  if (strikes(Kind::native, "io_uring_get_probe")) return nullptr;
  return real(ring);
}
}
