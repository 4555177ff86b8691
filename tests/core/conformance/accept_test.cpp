// Listeners on every engine: bursts, stopping, running out of descriptors; and connecting.
//
// A connection is accepted once and has one owner; what comes while nobody is about to serve it
// stays in the backlog, for others who hold the socket; a listener that stopped and was closed
// refuses connections. A connect is a poll for writing followed by SO_ERROR.
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "conformance/engines.hpp"
#include "conformance/owners.hpp"
#include "conformance/sockets.hpp"
#include "net/listener.hpp"

namespace rloop::test {
namespace {

class ListenerOwner final : public net::ListenerEvents {
 public:
  ListenerOwner(net::Context& context, TestListener& socket)
      : listener(context, *this, socket.fd.get()), socket_(socket) {}

  void on_accepted(base::UniqueFd connection, const base::Address& peer) override {
    connections.push_back(std::move(connection));
    peers.push_back(peer);
    if (upcall) upcall();
  }
  void on_exhausted(int error_number) override { exhausted.push_back(error_number); }
  void on_accept_error(int error_number) override { errors.push_back(error_number); }
  void on_stopped() override {
    ++stopped_count;
    socket_.fd.reset();
  }

  std::vector<base::UniqueFd> connections;
  std::vector<base::Address> peers;
  std::vector<int> exhausted;
  std::vector<int> errors;
  int stopped_count = 0;
  std::function<void()> upcall;
  net::Listener listener;

 private:
  TestListener& socket_;
};

class AcceptTest : public EngineTest {
 protected:
  void SetUp() override {
    EngineTest::SetUp();
    if (IsSkipped()) return;
    socket_ = listen_on_loopback();
    owner_ = std::make_unique<ListenerOwner>(context_, socket_);
  }
  void TearDown() override {
    if (owner_ && owner_->stopped_count == 0) {
      owner_->listener.stop();
      EXPECT_TRUE(run_until([&] { return owner_->stopped_count > 0; }));
    }
    owner_.reset();
    EngineTest::TearDown();
  }

  TestListener socket_;
  std::unique_ptr<ListenerOwner> owner_;
};
INSTANTIATE_TEST_SUITE_P(Engines, AcceptTest, every_engine(), engine_name);

TEST_P(AcceptTest, ABurstOfConnectionsIsAcceptedCompletely) {
  owner_->listener.start();
  turns(2);
  std::vector<base::UniqueFd> clients;
  for (int i = 0; i < 300; ++i)
    clients.push_back(connect_to(socket_));
  ASSERT_TRUE(run_until([&] { return owner_->connections.size() == clients.size(); }));
  for (size_t i = 0; i < clients.size(); ++i)
    write_all(clients[i].get(), std::to_string(i));
  size_t answering = 0;
  for (base::UniqueFd& connection : owner_->connections) {
    answering += !read_available(connection.get()).empty();
  }
  EXPECT_EQ(answering, clients.size());
}

TEST_P(AcceptTest, AcceptedDescriptorsAreNonBlockingAndClosedOnExec) {
  owner_->listener.start();
  base::UniqueFd client = connect_to(socket_);
  ASSERT_TRUE(run_until([&] { return owner_->connections.size() == 1; }));
  int fd = owner_->connections[0].get();
  EXPECT_TRUE(::fcntl(fd, F_GETFL) & O_NONBLOCK);
  EXPECT_TRUE(::fcntl(fd, F_GETFD) & FD_CLOEXEC);
}

TEST_P(AcceptTest, AListenerStoppedWhileArmedRefusesConnections) {
  owner_->listener.start();
  turns(3);
  owner_->listener.stop();
  EXPECT_EQ(owner_->stopped_count, 0) << "never inside stop()";
  ASSERT_TRUE(run_until([&] { return owner_->stopped_count == 1; }));
  EXPECT_TRUE(connection_is_refused(socket_));
  turns(3);
  EXPECT_EQ(owner_->stopped_count, 1);
}

TEST_P(AcceptTest, AConnectionThatComesWithAStopIsLeftToOthers) {
  owner_->listener.start();
  turns(3);
  base::UniqueFd others(::fcntl(socket_.fd.get(), F_DUPFD_CLOEXEC, 0));
  base::UniqueFd client = connect_to(socket_);
  owner_->listener.stop();
  ASSERT_TRUE(run_until([&] { return owner_->stopped_count == 1; }));
  EXPECT_TRUE(owner_->connections.empty());
  base::UniqueFd taken(::accept4(others.get(), nullptr, nullptr, SOCK_CLOEXEC));
  EXPECT_TRUE(taken.valid()) << "whoever else holds the socket serves it";
}

TEST_P(AcceptTest, NothingIsTakenWhileTheLoopDoesNotTurn) {
  owner_->listener.start();
  turns(3);
  base::UniqueFd client = connect_to(socket_);
  base::UniqueFd taken(::accept4(socket_.fd.get(), nullptr, nullptr, SOCK_CLOEXEC));
  EXPECT_TRUE(taken.valid()) << "a busy loop leaves it in the backlog";
  turns(3);
  EXPECT_TRUE(owner_->connections.empty());
  EXPECT_TRUE(owner_->errors.empty());
}

TEST_P(AcceptTest, TheNextRoundBeginsWhenTheLastOnesHadTheirTurns) {
  owner_->listener.start();
  turns(3);
  base::UniqueFd first = connect_to(socket_);
  ASSERT_TRUE(run_until([&] { return owner_->connections.size() == 1; }));
  base::UniqueFd second = connect_to(socket_);
  turns(2);
  EXPECT_EQ(owner_->connections.size(), 1U) << "what the first means as work is not known yet";
  ASSERT_TRUE(run_until([&] { return owner_->connections.size() == 2; }));
}

TEST_P(AcceptTest, AStopBetweenTwoRoundsEnds) {
  owner_->listener.start();
  turns(3);
  base::UniqueFd client = connect_to(socket_);
  ASSERT_TRUE(run_until([&] { return owner_->connections.size() == 1; }));
  owner_->listener.stop();
  ASSERT_TRUE(run_until([&] { return owner_->stopped_count == 1; }));
  turns(5);
  EXPECT_EQ(owner_->stopped_count, 1);
}

TEST_P(AcceptTest, ASocketThatItsHolderClosedIsNotAcceptedFrom) {
  int number = socket_.fd.get();
  owner_->listener.follow(&number);
  owner_->listener.start();
  turns(3);
  base::UniqueFd client = connect_to(socket_);
  number = -1;
  ASSERT_TRUE(run_until([&] { return !owner_->errors.empty(); }));
  EXPECT_EQ(owner_->errors, (std::vector{EBADF}));
  EXPECT_TRUE(owner_->connections.empty());
  owner_->listener.follow(nullptr);
}

TEST_P(AcceptTest, ThePeersAddressComesWithTheConnection) {
  owner_->listener.start();
  base::UniqueFd client = connect_to(socket_);
  ASSERT_TRUE(run_until([&] { return owner_->connections.size() == 1; }));
  base::Address expected;
  ASSERT_TRUE(base::Address::local(client.get(), expected).ok());
  EXPECT_EQ(owner_->peers[0], expected);
}

TEST_P(AcceptTest, AStopFromInsideOnAcceptedIsTheLastConnection) {
  owner_->upcall = [&] { owner_->listener.stop(); };
  owner_->listener.start();
  turns(2);
  std::vector<base::UniqueFd> clients;
  for (int i = 0; i < 20; ++i)
    clients.push_back(connect_to(socket_));
  ASSERT_TRUE(run_until([&] { return owner_->stopped_count == 1; }));
  EXPECT_EQ(owner_->connections.size(), 1U);
}

TEST_P(AcceptTest, AListenerThatNeverStartedStops) {
  owner_->listener.stop();
  owner_->listener.stop();
  ASSERT_TRUE(run_until([&] { return owner_->stopped_count == 1; }));
  owner_->listener.start();
  turns(3);
  EXPECT_TRUE(owner_->listener.stopped());
}

// While it lives the process can open no descriptor.
class NoDescriptorLeft {
 public:
  NoDescriptorLeft() {
    ::getrlimit(RLIMIT_NOFILE, &before_);
    base::UniqueFd next(::dup(0));
    rlimit full{.rlim_cur = static_cast<rlim_t>(next.get()), .rlim_max = before_.rlim_max};
    ::setrlimit(RLIMIT_NOFILE, &full);
  }
  ~NoDescriptorLeft() { ::setrlimit(RLIMIT_NOFILE, &before_); }

 private:
  rlimit before_{};
};

TEST_P(AcceptTest, WithoutDescriptorsAcceptingIsSuspendedUntilStartedAgain) {
  base::UniqueFd client = connect_to(socket_);
  turns(2);
  {
    NoDescriptorLeft none;
    owner_->listener.start();
    ASSERT_TRUE(run_until([&] { return !owner_->exhausted.empty(); }));
    EXPECT_EQ(owner_->exhausted.front(), EMFILE);
    turns(5);
    EXPECT_EQ(owner_->exhausted.size(), 1U) << "re-arming at once would spin";
  }
  owner_->listener.start();
  ASSERT_TRUE(run_until([&] { return owner_->connections.size() == 1; }));
  EXPECT_TRUE(owner_->errors.empty());
}

TEST_P(AcceptTest, ASocketThatDoesNotListenIsAnErrorOnce) {
  SocketPair pair = unix_pair();
  write_all(pair.far.get(), "x");  // readable, which is when epoll would accept
  TestListener wrong{.fd = std::move(pair.near)};
  ListenerOwner owner(context_, wrong);
  owner.listener.start();
  ASSERT_TRUE(run_until([&] { return !owner.errors.empty(); }));
  turns(3);
  EXPECT_EQ(owner.errors.size(), 1U);
  owner.listener.stop();
  ASSERT_TRUE(run_until([&] { return owner.stopped_count == 1; }));
}

TEST_P(AcceptTest, AnAbandonedListenerIsSilent) {
  owner_->listener.start();
  base::UniqueFd client = connect_to(socket_);
  owner_->listener.abandon();
  turns(5);
  EXPECT_TRUE(owner_->listener.stopped());
  EXPECT_TRUE(owner_->connections.empty());
  owner_.reset();
}

// --- connecting: a poll for writing, then SO_ERROR ---------------------------------------------

class ConnectTest : public EngineTest {
 protected:
  int connect_error(const TestListener& target, bool owned) {
    base::UniqueFd client = connect_to(target);
    op::Descriptor descriptor(client.get(), owned);
    Poller poller(descriptor, op::Direction::write);
    reactor_->submit(poller.operation);
    EXPECT_TRUE(run_until([&] { return poller.ended(); }));
    reactor_->forget(descriptor);
    int error = -1;
    socklen_t length = sizeof(error);
    ::getsockopt(client.get(), SOL_SOCKET, SO_ERROR, &error, &length);
    return error;
  }
};
INSTANTIATE_TEST_SUITE_P(Engines, ConnectTest, every_engine(), engine_name);

TEST_P(ConnectTest, AConnectIsCompleteWhenTheSocketIsWritable) {
  TestListener listener = listen_on_loopback();
  EXPECT_EQ(connect_error(listener, true), 0);
  EXPECT_EQ(connect_error(listener, false), 0);
}

TEST_P(ConnectTest, ARefusedConnectSaysSo) {
  TestListener listener = listen_on_loopback();
  listener.fd.reset();
  EXPECT_EQ(connect_error(listener, true), ECONNREFUSED);
  EXPECT_EQ(connect_error(listener, false), ECONNREFUSED);
}

TEST_P(ConnectTest, AConnectThatHangsCanBeCancelled) {
  // A full listener answers no further connect on the loopback.
  TestListener listener = listen_on_loopback(0);
  std::vector<base::UniqueFd> clients;
  for (int i = 0; i < 4; ++i)
    clients.push_back(connect_to(listener));
  for (bool owned : {true, false}) {
    op::Descriptor descriptor(clients.back().get(), owned);
    Poller poller(descriptor, op::Direction::write);
    reactor_->submit(poller.operation);
    turns(5);
    EXPECT_FALSE(poller.ended()) << "the socket is not connected";
    reactor_->cancel(poller.operation);
    ASSERT_TRUE(run_until([&] { return poller.ended(); }));
    EXPECT_EQ(poller.last_error(), ECANCELED);
    reactor_->forget(descriptor);
  }
}

}  // namespace
}  // namespace rloop::test
