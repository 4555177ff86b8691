// Where rings come from, and where they go when their loop ends.
//
// The kernel gives the memory of a closed ring back late (from a worker, up to 40 ms after the
// close; Linux 6.18), and charges it to the user's locked memory until then: of loops made one
// after the other, as in a test suite, some would get no ring. So whoever finds no memory waits
// while some may be on its way back, and only then asks for a smaller ring. From the first time on
// that this happened a thread keeps the ring of its last loop for the next one; a ring is bound to
// its thread, but any thread may close it, and does when it finds no memory. Where memory is
// plenty no descriptor outlives its loop. Charged are 36 KiB for 256 submissions and 1024
// completions, 52 for 2048, 84 for 4096, and 4 for 256 lent buffers. A forked child has none of
// what is kept. Any thread.
#pragma once

#include <cstdint>

#include "base/result.hpp"
#include "reactor/capabilities.hpp"
#include "reactor/uring/ring.hpp"

namespace rloop::reactor {

// Opens `ring` for the calling thread with at most these sizes: the one that the thread keeps, or
// a new one. ENOMEM (the memory-lock limit) halves them down to 1024 completions and 64
// submissions before it is an answer.
base::Result supply_ring(Ring& ring, unsigned sq_entries, unsigned cq_entries,
                         const Capabilities& capabilities);

// How long after a close the closed ring's memory is waited for. More than the kernel needs, but a
// test on a busy machine has to know that it waited long enough.
void set_ring_patience(int64_t ns);

// After ENOMEM of anything that is charged like a ring: true, a moment later, when another try may
// find memory that this one did not. Bounded.
bool ring_memory_may_come_back();

// The end of a ring of the calling thread, in which nothing is in flight: kept for its next loop
// where memory is scarce, else closed.
void keep_ring(Ring ring);

}  // namespace rloop::reactor
