// A WatchSet and an epoll set in memory; see watch_steps.hpp for what can happen.
//
// The oracle: after each report every watcher whose file is ready was told, and so was every
// one-shot wait, once; nobody was told who had been taken out; a failed call changed nothing. Where
// the user closed the number of a watcher without a word, nothing is promised until it is watched
// again; one that lives on in a child may be heard under a number that is somebody else's now.
#include <sys/epoll.h>

#include <algorithm>
#include <array>
#include <memory>

#include "hunt/watch_kernel.hpp"
#include "hunt/watch_steps.hpp"
#include "hunt/world.hpp"
#include "op/poll.hpp"
#include "reactor/watch_set.hpp"

namespace rloop::hunt {
namespace {

using op::Direction;
constexpr size_t kNumbers = WatchKernel::kNumberCount;
constexpr uint32_t kMask[2] = {EPOLLIN, EPOLLOUT};

class WatchWorld;

class Told final : public reactor::Watcher {
 public:
  Told(WatchWorld& owner, size_t index) : world(owner), number(index) {}
  void on_ready() override;
  WatchWorld& world;
  size_t number;
  bool told = false;
};

// A one-shot wait. The set links it, and hands it over when it is ready.
class Wait {
 public:
  Wait(int fd, Direction direction)
      : descriptor(fd, false), operation(*this, descriptor, direction) {}
  void on_completion(const op::Completion&) {}

  op::Descriptor descriptor;
  op::Completes<op::Poll, &Wait::on_completion> operation;
  uint32_t file = 0;  // that it waits for; 0: it does not wait
};

class WatchWorld final : public World {
 public:
  WatchWorld() : installed_(kernel_) {
    for (size_t number = 0; number < kNumbers; ++number) {
      for (size_t i = 0; i < 4; ++i)
        told_.push_back(std::make_unique<Told>(*this, number));
      for (size_t i = 0; i < 4; ++i) {
        waits_.push_back(std::make_unique<Wait>(kFirstNumber + static_cast<int>(number),
                                                static_cast<Direction>(i % 2)));
      }
    }
  }

  void take(const Step& step) override {
    size_t number = step.who % kNumbers;
    switch (step.kind) {
      case watch::react:
        reactions_[number] = step.size;
        return;
      case watch::close:
        return kernel_.close_number(number, false);
      case watch::close_kept:
        return kernel_.close_number(number, true);
      case watch::reopen:
        return kernel_.reopen(number, step.size % 8 == 7);
      case watch::readiness:
        if (kernel_.file[number] != 0) {
          static constexpr uint32_t kStates[] = {0,        EPOLLIN,  EPOLLOUT, EPOLLIN | EPOLLOUT,
                                                 EPOLLHUP, EPOLLERR, EPOLLIN,  0};
          kernel_.ready[kernel_.file[number]] = kStates[step.size % std::size(kStates)];
        }
        return;
      case watch::refuse:
        kernel_.refuse = step.size % 2 == 0 ? ENOMEM : ENOSPC;
        return;
      case watch::report:
        return report();
      case watch::fork:
        return fork();
      default:
        return call(step.kind, number, step.size);
    }
  }

  void finish() override {
    reactions_.fill(-1);
    kernel_.refuse = 0;
    report();
    report();
    for (size_t number = 0; number < kNumbers; ++number) {
      for (unsigned direction : {0U, 1U})
        call(watch::unwatch, number, direction);
    }
    set_.take_waiting([](op::Operation&) {});
    for (auto& wait : waits_) {
      expect(!wait->operation.linked(), "a wait was left in the set");
      wait->file = 0;
    }
    for (size_t number = 0; number < kNumbers; ++number)
      set_.forget(kFirstNumber + static_cast<int>(number));
    for (const WatchKernel::Registration& one : kernel_.registrations) {
      auto number = static_cast<size_t>(one.fd - kFirstNumber);
      expect(one.file != kernel_.file[number], "a registration was left in the set");
    }
  }

  void happen(size_t number) {
    if (reactions_[number] < 0) return;
    disturbed_ = true;
    auto choice = static_cast<unsigned>(std::exchange(reactions_[number], -1));
    call(choice % 5, (number + choice / 5 % 2) % kNumbers, choice / 10);
  }

  void on_told(Told& told) {
    expect(std::find(now_[told.number].begin(), now_[told.number].end(), &told) !=
               now_[told.number].end(),
           "a watcher was told that had been taken out");
    told.told = true;
    happen(told.number);
  }

 private:
  void call(unsigned kind, size_t number, unsigned choice) {
    int fd = kFirstNumber + static_cast<int>(number);
    unsigned direction = choice % 2;
    switch (kind) {
      case watch::watch: {
        Told& watcher = *told_[number * 4 + choice / 2 % 4];
        int refused = kernel_.refuse;
        base::Result result = set_.watch(fd, static_cast<Direction>(direction), watcher);
        bool works =
            kernel_.file[number] != 0 && !kernel_.regular[kernel_.file[number]] && refused == 0;
        expect(result.ok() == works, works ? "watch failed" : "watch did not fail");
        if (!result.ok()) return;
        now_[number][direction] = &watcher;
        watched_file_[number][direction] = kernel_.file[number];
        // The set was told of the number's present file, for whoever waits there too.
        for (unsigned other : {0U, 1U})
          if (now_[number][other]) watched_file_[number][other] = kernel_.file[number];
        renew_waits(number);
        return;
      }
      case watch::unwatch: {
        bool was = set_.unwatch(fd, static_cast<Direction>(direction));
        expect(was == (now_[number][direction] != nullptr), "unwatch says something else");
        now_[number][direction] = nullptr;
        if (kernel_.refuse == 0) return;
        return forgive(number);
      }
      case watch::wait_once:
        return wait_once(number, *waits_[number * 4 + choice % 4]);
      case watch::remove: {
        Wait& wait = *waits_[number * 4 + choice % 4];
        if (!wait.operation.linked()) return;
        wait.file = 0;
        return set_.remove(wait.operation);
      }
      default:
        return set_.forget(fd);
    }
  }

  void wait_once(size_t number, Wait& wait) {
    if (wait.operation.linked()) return;
    int refused = kernel_.refuse;
    base::Result result = set_.wait_once(wait.operation);
    bool can = kernel_.file[number] != 0 && !kernel_.regular[kernel_.file[number]];
    expect(result.ok() == wait.operation.linked(), "a failed wait is in the set");
    if (!can) expect(!result.ok(), "a wait that cannot be did not fail");
    if (can && refused == 0) expect(result.ok(), "a wait failed");
    if (!result.ok()) return forgive(number);
    wait.file = kernel_.file[number];
    for (unsigned direction : {0U, 1U})
      if (now_[number][direction]) watched_file_[number][direction] = kernel_.file[number];
    renew_waits(number);
  }

  void renew_waits(size_t number) {
    for (size_t i = 0; i < 4; ++i) {
      Wait& wait = *waits_[number * 4 + i];
      if (wait.operation.linked()) wait.file = kernel_.file[number];
    }
  }

  // The kernel refused to change the set back: what it knows of the number is not sure any more.
  void forgive(size_t number) {
    kernel_.refuse = 0;
    watched_file_[number] = {};
    for (size_t i = 0; i < 4; ++i)
      waits_[number * 4 + i]->file = 0;
  }

  void report() {
    for (auto& told : told_)
      told->told = false;
    int refused = kernel_.refuse;
    disturbed_ = false;
    // Who must be told: whoever is there before and after, with a file that is ready.
    auto before = now_;
    auto files = watched_file_;
    auto state = kernel_.file;
    std::array<uint32_t, kNumbers * 4> waiting{};
    for (size_t i = 0; i < waits_.size(); ++i)
      waiting[i] = waits_[i]->operation.linked() ? waits_[i]->file : 0;
    for (const epoll_event& event : kernel_.collect()) {
      set_.report(event, [&](op::Operation& operation, base::Result) { came_home(operation); });
    }
    if (kernel_.refuse != refused) {  // what the set tells the kernel after a report was refused
      for (size_t number = 0; number < kNumbers; ++number)
        forgive(number);
      return;
    }
    for (size_t number = 0; number < kNumbers; ++number) {
      for (size_t direction : {size_t{0}, size_t{1}}) {
        Told* watcher = before[number][direction];
        bool ready = state[number] != 0 && files[number][direction] == state[number] &&
                     (kernel_.ready[state[number]] & (kMask[direction] | EPOLLHUP | EPOLLERR));
        if (!watcher || watcher != now_[number][direction] || !ready || disturbed_) continue;
        expect(watcher->told, "a watcher was not told");
      }
      for (size_t i = 0; i < 4; ++i) {
        uint32_t file = waiting[number * 4 + i];
        bool ready = file != 0 && file == state[number] &&
                     (kernel_.ready[file] & (kMask[i % 2] | EPOLLHUP | EPOLLERR));
        if (ready && !disturbed_) {
          expect(
              !waits_[number * 4 + i]->operation.linked() || waits_[number * 4 + i]->file != file,
              "a wait did not come home");
        }
      }
    }
  }

  void came_home(op::Operation& operation) {
    for (size_t i = 0; i < waits_.size(); ++i) {
      Wait& wait = *waits_[i];
      if (&wait.operation != &operation) continue;
      expect(!operation.linked(), "ready and still in the set");
      size_t number = i / 4;
      uint32_t events = wait.file == 0 ? UINT32_MAX : kernel_.ready[wait.file];
      expect(kernel_.haunted(number) || wait.file != kernel_.file[number] ||
                 (events & (kMask[i % 2] | EPOLLHUP | EPOLLERR)),
             "a wait came home that is not ready");
      wait.file = 0;
      return;  // engines run no code of the user here: the arrival waits for dispatch
    }
    fail("an operation that nobody knows");
  }

  // The child goes on with a set of its own.
  void fork() {
    kernel_.refuse = 0;
    set_.forget_set();
    kernel_.registrations.clear();
    ++kernel_.set;
    set_.adopt_set(kernel_.set);
    set_.complete([&](op::Operation& operation, base::Result) {
      for (auto& wait : waits_)
        if (&wait->operation == &operation) wait->file = 0;
    });
    // What is there is watched under the number's present file.
    for (size_t number = 0; number < kNumbers; ++number) {
      for (size_t direction : {size_t{0}, size_t{1}})
        if (now_[number][direction]) watched_file_[number][direction] = watchable(number);
      renew_waits(number);
    }
  }
  uint32_t watchable(size_t number) const {
    uint32_t file = kernel_.file[number];
    return kernel_.regular[file] ? 0 : file;
  }

  bool disturbed_ = false;  // somebody changed the set inside this report
  WatchKernel kernel_;
  Installed installed_;
  reactor::Statistics statistics_;
  reactor::WatchSet set_{WatchKernel::kSet, 0, statistics_};
  std::vector<std::unique_ptr<Told>> told_;
  std::vector<std::unique_ptr<Wait>> waits_;
  std::array<std::array<Told*, 2>, kNumbers> now_{};
  std::array<std::array<uint32_t, 2>, kNumbers> watched_file_{};
  std::array<int, kNumbers> reactions_{-1, -1, -1};
};

void Told::on_ready() {
  world.on_told(*this);
}

}  // namespace

std::unique_ptr<World> make_watch_world(uint32_t /*mode*/) {
  return std::make_unique<WatchWorld>();
}

}  // namespace rloop::hunt
