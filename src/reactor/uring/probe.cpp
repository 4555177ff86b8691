// The first look at io_uring in a process; see capabilities.hpp.
//
// Flags and version numbers prove nothing: multishot has no feature bit, and a seccomp profile may
// allow the set-up and refuse the rest. So a small ring is opened as the reactor would, a buffer
// ring registered, and one byte really received through a multishot receive.
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>

#include "base/fd.hpp"
#include "op/recv.hpp"
#include "op/recv_datagram.hpp"
#include "reactor/uring/buffer_ring.hpp"
#include "reactor/uring/ring.hpp"
#include "reactor/uring/ring_supply.hpp"

namespace rloop::reactor {
namespace {

Probe refused(int error_number, const char* step) {
  Probe probe;
  probe.capabilities.ring = false;
  probe.error_number = error_number;
  probe.reason = explain_refusal(error_number, step);
  return probe;
}

// What is tried: a multishot receive of one byte that was sent already.
struct TrialReceive {
  int result = 0;
  bool more = false;
};

// Receives one byte through `ring` from a socket pair of `type` by an operation of class Receive;
// result is its size (with what the operation puts before it), or -errno.
template <class Receive>
TrialReceive try_receive(Ring& ring, BufferRing& buffers, int type) {
  constexpr int64_t kLimit_ns = 1'000'000'000;
  int pair[2];
  if (::socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, pair) < 0) return {.result = -errno};
  base::UniqueFd reader(pair[0]), writer(pair[1]);
  op::Descriptor descriptor(reader.get());
  struct Trial : Receive {
    using Receive::Receive;
    void complete(const op::Completion&) override {}
  } receive(descriptor);
  receive.set_multishot(true);
  receive.prepare(*ring.next_submission());
  if (::write(writer.get(), "x", 1) != 1) return {.result = -errno};
  base::Result entered = ring.enter(kLimit_ns);
  if (!entered.ok()) return {.result = -entered.error_number()};
  TrialReceive trial{.result = -ETIME};
  ring.consume(1, [&](uint64_t, int result, uint32_t flags) {
    trial = {.result = result, .more = (flags & IORING_CQE_F_MORE) != 0};
    if (flags & IORING_CQE_F_BUFFER) {
      buffers.take(static_cast<uint16_t>(flags >> IORING_CQE_BUFFER_SHIFT));
    }
  });
  return trial;
}

bool knows_operations(Ring& ring) {
  io_uring_probe* probe = io_uring_get_probe_ring(&ring.raw());
  if (!probe) return false;
  bool all = true;
  for (int operation : {IORING_OP_RECV, IORING_OP_SEND, IORING_OP_SENDMSG, IORING_OP_POLL_ADD,
                        IORING_OP_ASYNC_CANCEL, IORING_OP_READ}) {
    all = all && io_uring_opcode_supported(probe, operation);
  }
  io_uring_free_probe(probe);
  return all;
}

Probe probe_once() {
  Capabilities all;
  Ring ring;
  base::Result opened = supply_ring(ring, 8, 16, all);
  if (!opened.ok()) return refused(opened.error_number(), "io_uring_setup");
  if (!knows_operations(ring)) return refused(EINVAL, "io_uring_register(PROBE)");
  BufferRing buffers(8, 64, op::kReceiveBufferGroup);
  BufferRing datagram_buffers(8, 64, op::kDatagramBufferGroup);
  base::Result registered = buffers.register_with(ring);
  if (!registered.ok()) {
    return refused(registered.error_number(), "io_uring_register(PBUF_RING)");
  }
  TrialReceive trial = try_receive<op::Recv>(ring, buffers, SOCK_STREAM);
  if (trial.result < 0) return refused(-trial.result, "io_uring_enter");
  TrialReceive datagram;
  if (datagram_buffers.register_with(ring).ok()) {
    datagram = try_receive<op::RecvDatagram>(ring, datagram_buffers, SOCK_DGRAM);
  }
  Probe probe;
  probe.capabilities.multishot_recv = trial.more;
  probe.capabilities.multishot_recvmsg = datagram.more;
  probe.capabilities.no_iowait = ring.has_no_iowait();
  probe.reason = "io_uring works: a multishot receive with a buffer ring was tried";
  return probe;
}

// A lack of descriptors or of memory; what the kernel or a policy refuses stays refused.
bool may_pass(int error_number) {
  return error_number == EMFILE || error_number == ENFILE || error_number == ENOMEM;
}

}  // namespace

const Probe& probe_io_uring() {
  static Probe probe = probe_once();
  if (may_pass(probe.error_number)) probe = probe_once();
  return probe;
}

}  // namespace rloop::reactor
