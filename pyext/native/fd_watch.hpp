// What add_reader and add_writer were given for one descriptor.
//
// A watcher per direction queues its handle with every wait while the descriptor is ready, as
// asyncio's selector loop does; a cancelled handle is not queued. Owned by the loop's table. Needs
// the GIL.
#pragma once

#include "native/loop.hpp"

namespace rloop::native {

class HandleWatcher final : public reactor::Watcher {
 public:
  explicit HandleWatcher(Loop& loop) : loop_(loop) {}

  void on_ready() override {
    if (handle && !handle_of(handle.get()).cancelled()) loop_.push_watched(handle.copy());
  }

  Ref handle;

 private:
  Loop& loop_;
};

class FdWatch {
 public:
  explicit FdWatch(Loop& loop) : sides_{HandleWatcher(loop), HandleWatcher(loop)} {}
  HandleWatcher& side(op::Direction direction) { return sides_[static_cast<int>(direction)]; }
  Ref file_object;  // what add_reader was given when it was no number
  bool empty() const { return !sides_[0].handle && !sides_[1].handle; }

 private:
  HandleWatcher sides_[2];
};

}  // namespace rloop::native
