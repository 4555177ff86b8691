// What threads keep, and the patience with the kernel; see ring_supply.hpp.
#include "reactor/uring/ring_supply.hpp"

#include <pthread.h>
#include <time.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <utility>

#include "base/clock.hpp"
#include "base/intrusive_list.hpp"

namespace rloop::reactor {
namespace {

// Memory of a ring that was closed longer ago is not on its way back any more.
std::atomic<int64_t> patience_ns = 100'000'000;

struct KeptListTag;
// The ring that a thread keeps; listed while there is one.
struct Kept : base::ListNode<KeptListTag> {
  ~Kept();
  Ring ring;
};

// Its mutex is held across a fork, or the child could find it locked by a thread that it lacks.
struct Supply {
  std::mutex mutex;
  base::IntrusiveList<Kept, KeptListTag> kept;
  bool scarce = false;  // there was no memory for a ring before
};

Supply& supply() {
  // Never destroyed: threads may end after the statics have.
  static Supply& only = *[] {
    auto* made = new Supply;
    ::pthread_atfork([] { supply().mutex.lock(); }, [] { supply().mutex.unlock(); },
                     [] {
                       while (!supply().kept.empty())
                         supply().kept.pop_front().ring.abandon();
                       supply().mutex.unlock();
                     });
    return made;
  }();
  return only;
}

Kept::~Kept() {
  std::scoped_lock lock(supply().mutex);
  if (!linked()) return;
  unlink();
  ring.close();
}

Kept& kept_by_this_thread() {
  thread_local Kept kept;
  return kept;
}

bool take_kept(Ring& ring, unsigned sq_entries, unsigned cq_entries,
               const Capabilities& capabilities) {
  Kept& kept = kept_by_this_thread();
  std::scoped_lock lock(supply().mutex);
  if (!kept.linked() || !kept.ring.was_asked_for(sq_entries, cq_entries)) return false;
  kept.unlink();
  ring = std::move(kept.ring);
  ring.allow(capabilities);
  return true;
}

// Halves what can be halved; false when both are at the least that makes sense.
bool shrink(unsigned& sq_entries, unsigned& cq_entries) {
  constexpr unsigned kLeastSq = 64, kLeastCq = 1024;
  if (cq_entries > kLeastCq) {
    cq_entries /= 2;
  } else if (sq_entries > kLeastSq) {
    sq_entries /= 2;
  } else {
    return false;
  }
  return true;
}

}  // namespace

void set_ring_patience(int64_t ns) {
  patience_ns = ns;
}

bool ring_memory_may_come_back() {
  {
    std::scoped_lock lock(supply().mutex);
    supply().scarce = true;
    while (!supply().kept.empty())
      supply().kept.pop_front().ring.close();
  }
  if (base::now_ns() - Ring::last_close_ns() >= patience_ns) return false;
  timespec nap{.tv_sec = 0, .tv_nsec = 1'000'000};
  ::nanosleep(&nap, nullptr);
  return true;
}

base::Result supply_ring(Ring& ring, unsigned sq_entries, unsigned cq_entries,
                         const Capabilities& capabilities) {
  if (take_kept(ring, sq_entries, cq_entries, capabilities)) return base::Result(0);
  unsigned sq_now = sq_entries, cq_now = cq_entries;
  base::Result result(0);
  do {
    result = ring.open(sq_now, cq_now, capabilities);
  } while (result.is(ENOMEM) && (ring_memory_may_come_back() || shrink(sq_now, cq_now)));
  // The next loop asks for the same and is served with what there was memory for.
  if (result.ok()) ring.note_asked_for(sq_entries, cq_entries);
  return result;
}

void keep_ring(Ring ring) {
  if (!ring.is_open()) return;
  Kept& kept = kept_by_this_thread();
  std::scoped_lock lock(supply().mutex);
  if (!supply().scarce || kept.linked() || !ring.is_clean()) return ring.close();
  kept.ring = std::move(ring);
  supply().kept.push_back(kept);
}

}  // namespace rloop::reactor
