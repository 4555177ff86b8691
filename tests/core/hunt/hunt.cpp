// Children, the shared page, and the search; see hunt.hpp.
#include "hunt/hunt.hpp"

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <memory>

#include "hunt/failure.hpp"
#include "hunt/world.hpp"

namespace rloop::hunt {
namespace {

// A sequence that takes so long has no end. (A thousand of them share one alarm.)
constexpr unsigned kPatience_s = 60;

std::unique_ptr<World> make_world(const Case& sequence) {
  switch (sequence.world) {
    case WorldKind::stream:
      return make_stream_world(sequence.mode);
    case WorldKind::datagram:
      return make_datagram_world(sequence.mode);
    case WorldKind::listener:
      return make_listener_world(sequence.mode);
    case WorldKind::watch:
      return make_watch_world(sequence.mode);
    default:
      return make_real_world(sequence.mode, sequence.world == WorldKind::real_uring);
  }
}

class SharedReport {
 public:
  SharedReport()
      : memory_(static_cast<Report*>(::mmap(nullptr, sizeof(Report), PROT_READ | PROT_WRITE,
                                            MAP_SHARED | MAP_ANONYMOUS, -1, 0))) {}
  ~SharedReport() { ::munmap(memory_, sizeof(Report)); }
  SharedReport(const SharedReport&) = delete;
  SharedReport& operator=(const SharedReport&) = delete;
  Report* operator->() { return memory_; }
  Report* get() { return memory_; }

 private:
  Report* memory_;
};

// Runs `body` in a child; what ended it if it did not end well.
template <class Body>
std::string in_child(SharedReport& shared, bool quiet, Body body) {
  std::fflush(stdout);
  pid_t child = ::fork();
  if (child == 0) {
    report = shared.get();
    if (quiet) (void)!std::freopen("/dev/null", "w", stderr);
    ::alarm(kPatience_s);
    body();
    std::fflush(stdout);
    ::_exit(0);
  }
  if (child < 0) return "fork failed";
  int status = 0;
  ::waitpid(child, &status, 0);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return "";
  if (shared->failure[0] != '\0') return shared->failure;
  if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM) return "it has no end";
  if (WIFSIGNALED(status)) return std::string("ended by ") + ::strsignal(WTERMSIG(status));
  return "exit code " + std::to_string(WEXITSTATUS(status));
}

double now_s() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

class Progress {
 public:
  Progress(const Report& report, bool shown) : report_(report), shown_(shown) {}
  double elapsed() const { return now_s() - begun_; }
  void show_if_due() {
    if (!shown_ || elapsed() < next_) return;
    next_ = elapsed() + kInterval_s;
    double processor_s = static_cast<double>(std::clock()) / CLOCKS_PER_SEC;
    std::printf("%llu sequences, %llu steps, %.0f steps per second of a core\n",
                static_cast<unsigned long long>(report_.sequences),
                static_cast<unsigned long long>(report_.steps),
                static_cast<double>(report_.steps) / processor_s);
    std::fflush(stdout);
  }

 private:
  static constexpr double kInterval_s = 5;
  const Report& report_;
  bool shown_;
  double begun_ = now_s(), next_ = kInterval_s;
};

}  // namespace

void run_here(const Case& sequence) {
  std::unique_ptr<World> world = make_world(sequence);
  for (const Step& step : sequence.steps)
    world->take(step);
  world->finish();
}

std::string failure_of(const Case& sequence, const Run& run) {
  SharedReport shared;
  return in_child(shared, true, [&] { run(sequence); });
}

Outcome hunt(std::span<const WorldKind> worlds, const Limits& limits, const Run& run) {
  SharedReport shared;
  auto world_of = [&](uint64_t seed) { return worlds[seed % worlds.size()]; };
  Outcome outcome;
  outcome.failure = in_child(shared, false, [&] {
    Progress progress(*shared.get(), limits.progress);
    Case sequence;
    for (uint64_t seed = limits.first_seed; shared->steps < limits.steps; ++seed) {
      if (seed % 64 == 0) {
        ::alarm(kPatience_s);
        progress.show_if_due();
        if (progress.elapsed() >= limits.seconds) return;
      }
      shared->seed = seed;
      decode_seed(world_of(seed), seed, sequence);
      run(sequence);
      ++shared->sequences;
      shared->steps += sequence.steps.size();
    }
  });
  outcome.sequences = shared->sequences;
  outcome.steps = shared->steps;
  outcome.seed = shared->seed;
  outcome.world = world_of(shared->seed);
  return outcome;
}

Case shrink(Case sequence, const Run& run, int tries) {
  const std::string failure = failure_of(sequence, run);
  auto still_fails = [&](const Case& smaller) {
    return tries-- > 0 && failure_of(smaller, run) == failure;
  };
  bool smaller = true;
  while (smaller && tries > 0) {
    smaller = false;
    for (size_t chunk = std::max<size_t>(sequence.steps.size() / 2, 1); chunk > 0; chunk /= 2) {
      for (size_t at = 0; at < sequence.steps.size() && tries > 0;) {
        Case without = sequence;
        auto begin = without.steps.begin() + static_cast<ptrdiff_t>(at);
        without.steps.erase(
            begin, begin + static_cast<ptrdiff_t>(std::min(chunk, sequence.steps.size() - at)));
        if (still_fails(without)) {
          sequence = std::move(without);
          smaller = true;
        } else {
          at += chunk;
        }
      }
    }
  }
  for (int bit = 31; bit >= 0; --bit) {
    Case plainer = sequence;
    plainer.mode &= ~(1U << bit);
    if (plainer.mode != sequence.mode && still_fails(plainer)) sequence = plainer;
  }
  for (size_t i = 0; i < sequence.steps.size(); ++i) {
    for (unsigned size : {0U, 1U, sequence.steps[i].size / 2U}) {
      Case plainer = sequence;
      plainer.steps[i].size = static_cast<uint16_t>(size);
      if (size < sequence.steps[i].size && still_fails(plainer)) sequence = plainer;
    }
    Case plainer = sequence;
    plainer.steps[i].who = 0;
    if (sequence.steps[i].who != 0 && still_fails(plainer)) sequence = plainer;
  }
  return sequence;
}

}  // namespace rloop::hunt
