// Every order in which things can happen to a Stream, three or four steps deep.
//
// A step is a call of the owner (write, pause, close, abort, ...) or something that the kernel
// does (data, end, reset, a short send, no buffers, ...). After the steps the stream is closed or
// aborted and the kernel finishes what is left. In between the owner may act inside an event. The
// invariants hold for all of them: one on_closed, after the last operation came home, and nothing
// after it; what is delivered is what was sent, in order; each segment is released once.
#include <sys/ioctl.h>

#include <functional>

#include "conformance/connection.hpp"
#include "net/fake_reactor.hpp"

namespace rloop::test {
namespace {

enum class Step {
  write,
  pause,
  resume,
  write_eof,
  close,
  abort,  // the owner
  data,
  end,
  reset,
  no_buffers,  // the kernel, reading
  send_all,
  send_short,
  send_fails,
  send_stopped,
  cancels,  // the kernel, the rest
};
constexpr int kStepCount = 15;
const char* const kStepNames[kStepCount] = {
    "write", "pause",      "resume",   "write_eof",  "close",      "abort",        "data",   "end",
    "reset", "no_buffers", "send_all", "send_short", "send_fails", "send_stopped", "cancels"};

struct Mode {
  bool multishot = true;
  bool lends_buffers = true;
  bool own_memory = false;  // the reader has memory of its own
  bool late = false;        // completions are dispatched only after the next step
  bool aborts_on_error = true;
  bool sends_wait = true;  // in the reactor; else the stream waits for room by a poll
  // What the owner does inside which event; Event::closed means nothing.
  Event event = Event::closed;
  Step reaction = Step::write;
};

// One stream on a fake reactor, with a socket whose sending side is full.
class World {
 public:
  explicit World(const Mode& mode)
      : mode_(mode), reactor_(statistics_, mode.multishot, mode.lends_buffers) {
    context_.reactor = &reactor_;
    SocketPair pair = unix_pair();
    minimise_buffers(pair);
    filled_ = fill(pair.near.get());
    reactor_.sends_wait = mode.sends_wait;
    far_ = std::move(pair.far);
    connection_ = std::make_unique<Connection>(context_, std::move(pair.near));
    connection_->aborts_on_error = mode.aborts_on_error;
    connection_->upcall = [this](Event event) { on_event(event); };
    if (mode.own_memory) {
      connection_->own_buffer.resize(2);
      connection_->stream.set_reads_into_buffers(true);
    }
    connection_->stream.start_reading();
  }

  void take(Step step) {
    if (step <= Step::abort) {
      call(step);
    } else {
      happen(step);
    }
    if (mode_.late) {
      if (++late_ % 2 == 0) settle();
    } else {
      settle();
    }
  }

  // Ends the stream and lets the kernel finish; then checks everything.
  void finish(bool gracefully) {
    settle();
    if (gracefully) {
      connection_->stream.resume_reading();
      connection_->stream.close();
      reacts_ = false;
    } else {
      connection_->stream.abort();
    }
    for (int round = 0; round < 50 && !connection_->closed(); ++round) {
      if (gracefully) send(1000);
      reactor_.run_cancels();
      settle();
    }
    EXPECT_EQ(connection_->closed_count, 1);
    settle();
    reactor_.dispatch_all();
    EXPECT_EQ(connection_->closed_count, 1);
    EXPECT_EQ(connection_->held, 0) << "a segment was not released";
    EXPECT_EQ(reactor_.in_flight_count(), 0U);
    const std::string sent = sent_bytes();
    EXPECT_EQ(written_.compare(0, sent.size(), sent), 0) << "sent: order";
    EXPECT_EQ(arrived_.compare(0, connection_->received.size(), connection_->received), 0)
        << "received: order";
    bool broken = reset_ || send_failed_ || aborted_ || connection_->error != 0;
    if (gracefully && !broken) {
      EXPECT_EQ(sent, written_) << "the backlog is delivered";
    }
    EXPECT_LT(reactor_.submit_count, 200U);
  }

  // While nothing stops the reader, it has everything that arrived.
  void expect_everything_received() {
    settle();
    if (!connection_->stream.open() || connection_->stream.reading_paused()) return;
    for (int round = 0; round < 20; ++round) {
      reactor_.receive();
      settle();
    }
    if (!connection_->stream.open() || connection_->stream.reading_paused()) return;
    EXPECT_EQ(connection_->received, arrived_);
    EXPECT_EQ(connection_->eof, ended_ && !read_failed_);
  }

 private:
  void call(Step step) {
    net::Stream& stream = connection_->stream;
    switch (step) {
      case Step::write:
        return write();
      case Step::pause:
        return stream.pause_reading();
      case Step::resume:
        return stream.resume_reading();
      case Step::write_eof:
        eof_written_ = true;
        stream.write_eof();
        return;
      case Step::close:
        return stream.close();
      default:
        aborted_ = true;
        return stream.abort();
    }
  }

  void write() {
    if (eof_written_) return;  // an error of the caller
    std::string piece = "<" + std::to_string(written_.size()) + ">";
    size_t backlog = connection_->stream.backlog_bytes();
    connection_->write(piece);
    if (connection_->stream.backlog_bytes() > backlog) written_ += piece;
  }

  void happen(Step step) {
    switch (step) {
      case Step::data:
        if (ended_ || reset_ || connection_->closed()) return;
        arrived_ += "(" + std::to_string(arrived_.size()) + ")";
        write_all(far_.get(), arrived_.substr(arrived_.rfind('(')));
        return reactor_.receive();
      case Step::end:
        if (reset_) return;
        ended_ = true;
        ::shutdown(far_.get(), SHUT_WR);
        return reactor_.receive();
      case Step::reset:
        reset_ = true;  // unread bytes make the close a reset, else it is an end
        ended_ = ended_ || unread_bytes() == 0;
        far_.reset();
        if (!mode_.sends_wait) reactor_.make_room(POLLOUT | POLLHUP);  // the first to be told
        return reactor_.receive();
      case Step::no_buffers:
        return reactor_.fail_receive(mode_.lends_buffers ? ENOBUFS : ECANCELED);
      case Step::send_all:
        return send(1000);
      case Step::send_short:
        return send(1);
      case Step::send_fails:
        send_failed_ = send_failed_ || reactor_.sending();
        return reactor_.fail_send(EPIPE);
      case Step::send_stopped:
        return reactor_.fail_send(ECANCELED);
      default:
        return reactor_.run_cancels();
    }
  }

  // A socket that failed once fails again.
  void send(size_t limit) {
    if (!mode_.sends_wait) {
      if (limit > 1) drain();  // else a hang-up that looks like room
      reactor_.make_room(reset_ ? POLLOUT | POLLHUP : POLLOUT);
    }
    if (send_failed_) return reactor_.fail_send(EPIPE);
    reactor_.send(limit);
  }

  int unread_bytes() const {
    int count = 0;
    ::ioctl(far_.get(), FIONREAD, &count);
    return count;
  }
  void drain() {
    if (far_.valid()) drained_ += read_available(far_.get());
  }
  std::string sent_bytes() {
    if (mode_.sends_wait) return reactor_.wire;
    drain();
    return drained_.size() < filled_ ? "" : drained_.substr(filled_);
  }

  void on_event(Event event) {
    EXPECT_FALSE(over_) << "an event after on_closed";
    if (event == Event::closed) {
      over_ = true;
      EXPECT_EQ(reactor_.in_flight_count(), 0U) << "closed with operations in flight";
      return;
    }
    read_failed_ = read_failed_ || event == Event::read_error;
    if (reacts_ && event == mode_.event && reaction_count_++ < 3) call(mode_.reaction);
  }

  void settle() {
    context_.flush_dirty();
    reactor_.dispatch_all();
    context_.flush_dirty();
  }

  Mode mode_;
  reactor::Statistics statistics_;
  FakeReactor reactor_;
  net::Context context_;
  base::UniqueFd far_;
  std::unique_ptr<Connection> connection_;
  std::string written_, arrived_, drained_;
  size_t filled_ = 0;
  bool eof_written_ = false, aborted_ = false, ended_ = false, reset_ = false;
  bool send_failed_ = false, read_failed_ = false, over_ = false, reacts_ = true;
  int late_ = 0, reaction_count_ = 0;
};

// Runs every sequence of `depth` steps; stops at the first that fails, and names it.
void run_every_order(const Mode& mode, int depth) {
  long total = 1;
  for (int i = 0; i < depth; ++i)
    total *= kStepCount;
  for (long number = 0; number < total; ++number) {
    std::string names;
    for (bool gracefully : {true, false}) {
      World world(mode);
      long rest = number;
      names.clear();
      for (int i = 0; i < depth; ++i, rest /= kStepCount) {
        names += std::string(kStepNames[rest % kStepCount]) + " ";
        world.take(static_cast<Step>(rest % kStepCount));
      }
      if (gracefully) world.expect_everything_received();
      world.finish(gracefully);
      ASSERT_FALSE(testing::Test::HasFailure())
          << "after: " << names << (gracefully ? "and a close" : "and an abort");
    }
  }
}

TEST(StreamOrdersTest, FourStepsWithAMultishotReceive) {
  run_every_order({}, 4);
}

TEST(StreamOrdersTest, ThreeStepsInEveryWayOfReading) {
  for (bool late : {false, true}) {
    for (bool own_memory : {false, true}) {
      run_every_order({.own_memory = own_memory, .late = late}, 3);
      run_every_order({.multishot = false, .own_memory = own_memory, .late = late}, 3);
      run_every_order({.lends_buffers = false, .own_memory = own_memory, .late = late}, 3);
    }
  }
}

TEST(StreamOrdersTest, FourStepsWhereAStreamWaitsForRoomByAPoll) {
  run_every_order({.sends_wait = false}, 4);
  run_every_order({.late = true, .sends_wait = false}, 3);
}

// Sanitized it takes ten times as long, and the steps are taken without that too.
#ifdef __SANITIZE_ADDRESS__
constexpr int kReactionSteps = 2;
#else
constexpr int kReactionSteps = 3;
#endif

// The owner does `reaction` inside each event; and it may be one that does not abort on errors.
void react_in_every_event(Step reaction) {
  for (Event event : {Event::data, Event::buffer, Event::eof, Event::sent, Event::read_error,
                      Event::write_error}) {
    bool is_error = event == Event::read_error || event == Event::write_error;
    for (bool aborts : {true, false}) {
      if (!aborts && !is_error) continue;
      Mode mode{.own_memory = event == Event::buffer,
                .aborts_on_error = aborts,
                .event = event,
                .reaction = reaction};
      run_every_order(mode, kReactionSteps);
      mode.sends_wait = false;
      run_every_order(mode, kReactionSteps);
      ASSERT_FALSE(testing::Test::HasFailure())
          << "with " << kStepNames[static_cast<int>(reaction)] << " inside event "
          << static_cast<int>(event) << (aborts ? "" : ", errors ignored");
    }
  }
}

TEST(StreamOrdersTest, AnOwnerThatWritesInsideEvents) {
  react_in_every_event(Step::write);
}
TEST(StreamOrdersTest, AnOwnerThatPausesInsideEvents) {
  react_in_every_event(Step::pause);
}
TEST(StreamOrdersTest, AnOwnerThatResumesInsideEvents) {
  react_in_every_event(Step::resume);
}
TEST(StreamOrdersTest, AnOwnerThatEndsWritingInsideEvents) {
  react_in_every_event(Step::write_eof);
}
TEST(StreamOrdersTest, AnOwnerThatClosesInsideEvents) {
  react_in_every_event(Step::close);
}
TEST(StreamOrdersTest, AnOwnerThatAbortsInsideEvents) {
  react_in_every_event(Step::abort);
}

}  // namespace
}  // namespace rloop::test
