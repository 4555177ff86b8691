// Owners of operations, as tests need them: they note what came home.
//
// Owner<Op> holds one operation and records its completions; Owner<Op>::upcall is run last in each
// completion, which is where user code would be. A Descriptor is made by the test, because the
// operations of one socket have to share it.
#pragma once

#include <fcntl.h>

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "base/fd.hpp"
#include "op/notice.hpp"
#include "op/poll.hpp"
#include "op/recv.hpp"
#include "op/send.hpp"
#include "reactor/reactor.hpp"

namespace rloop::test {

template <class Op>
class Owner {
 public:
  template <class... Arguments>
  explicit Owner(op::Descriptor& descriptor, Arguments&&... arguments)
      : operation(*this, descriptor, std::forward<Arguments>(arguments)...) {}

  void on_completion(const op::Completion& completion) {
    results.push_back(completion.result);
    bytes.append(reinterpret_cast<const char*>(completion.data.data()), completion.data.size());
    if (!completion.more) ++final_count;
    if (upcall) upcall(completion);
  }

  bool ended() const { return final_count > 0; }
  // The errno of the last completion, 0 when it was a success.
  int last_error() const { return results.empty() ? 0 : results.back().error_number(); }

  std::vector<base::Result> results;
  std::string bytes;
  int final_count = 0;
  std::function<void(const op::Completion&)> upcall;
  op::Completes<Op, &Owner::on_completion> operation;
};

using Receiver = Owner<op::Recv>;
using Sender = Owner<op::Send>;
using Poller = Owner<op::Poll>;
using Note = Owner<op::Notice>;

// Describes one range to a send; the bytes must outlive it.
inline void load(Sender& sender, const std::string& bytes) {
  sender.operation.ranges()[0] = {const_cast<char*>(bytes.data()), bytes.size()};
  sender.operation.set_range_count(1);
}

// A watcher that counts how often it was told.
class Watching final : public reactor::Watcher {
 public:
  void on_ready() override {
    ++count;
    if (upcall) upcall();
  }
  int count = 0;
  std::function<void()> upcall;
};

}  // namespace rloop::test
