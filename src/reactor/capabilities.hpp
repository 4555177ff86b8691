// What the kernel under us can do, as values at run time.
//
// A capability is what a probe really saw working, and-ed with what the configuration allows: a
// test masks one to run the path of an older kernel on a new one. Only the reactor that holds them
// knows how they are used; ops and net read the two or three they need. Also the sizes of a
// reactor, and the process-wide probe of io_uring.
#pragma once

#include <array>
#include <cstddef>
#include <string>
#include <string_view>

namespace rloop::reactor {

struct Capabilities {
  bool ring = true;               // completions through io_uring (6.1: DEFER_TASKRUN)
  bool multishot_recv = true;     // 6.0
  bool multishot_recvmsg = true;  // 6.0: datagrams
  bool buffer_ring = true;        // 5.19: receives with kernel-selected buffers
  bool no_iowait = true;          // 6.15: an idle wait is not shown as iowait

  static constexpr std::array kNames = {"ring", "multishot_recv", "multishot_recvmsg",
                                        "buffer_ring", "no_iowait"};

  // The member of that name, or null.
  bool* find(std::string_view name);
  Capabilities masked_by(const Capabilities& allowed) const;
};

struct Config {
  unsigned sq_entries = 256;
  unsigned cq_entries = 2048;        // eight batches of dispatch
  size_t buffer_count = 256;         // a power of two
  size_t buffer_size = 16 * 1024;    // bytes of one kernel-selected buffer
  size_t datagram_count = 64;        // buffers for datagrams, each for the largest one
  size_t scratch_size = 128 * 1024;  // bytes of the loop's one receive buffer
  // Bytes that a sock_recv may take through the scratch and the memory behind it.
  size_t large_scratch_size = 256 * 1024;
  // Into a reader's own memory a stream receives again at once while each receive brings so many
  // bytes: asking the kernel for readiness in between would only cost. In all not more than a
  // reader with one large buffer takes at once, so that others get their turn.
  size_t much = 64 * 1024;
  size_t most_in_a_row = 512 * 1024;
  // So many waits in a row that only watched descriptors have ended, before waits are of these
  // alone.
  int watches_before_direct = 16;
  Capabilities allowed{};
};

// What the first look at io_uring in this process found.
struct Probe {
  Capabilities capabilities;  // .ring is false when the ring cannot be used
  int error_number = 0;       // of the step that failed, 0 when the ring works
  std::string reason;         // a sentence for the operator: what works, or what to change
};

// Sets up a small ring and really receives a byte through a multishot receive with a buffer ring
// (57 us); flags and version numbers prove nothing. Once per process, cached, any thread.
const Probe& probe_io_uring();

// What the memory-lock limit is, and what to make of it.
std::string explain_memory_limit();
// Why io_uring cannot be had, for an errno of `step`: names the sysctl, limit or kernel.
std::string explain_refusal(int error_number, const char* step);

}  // namespace rloop::reactor
