// The life of applications, listeners and sessions, seen from an application's side of the shared
// memory.
#include <fcntl.h>

#include "session/control.h"
#include "tests/unit/core/session/test_app.h"

namespace loom::test {
namespace {

struct Pair {
  std::unique_ptr<TestApp::Connection> client, server;
};

struct SessionTest : testing::Test {
  SessionBed bed;
  TestApp app{bed};

  Pair open(uint16_t port = 80) {
    if (!app.listener) {
      EXPECT_EQ(app.listen(port).status, 0);
    }
    Pair p;
    p.client = app.connect(port);
    p.server = app.accept();
    EXPECT_TRUE(p.client && p.server);
    return p;
  }
};

TEST_F(SessionTest, BytesArriveBothWaysWhateverTheirNumber) {
  Pair p = open();
  std::string big(300'000, 0);
  for (std::size_t i = 0; i < big.size(); ++i) big[i] = static_cast<char>(i * 7 + i / 251);
  for (auto* from : {p.client.get(), p.server.get()}) {
    auto* to = from == p.client.get() ? p.server.get() : p.client.get();
    std::string got;
    std::size_t sent = 0;
    while (got.size() < big.size()) {
      sent += app.write(*from, std::string_view(big).substr(sent));
      const std::string more = app.read(*to);
      ASSERT_FALSE(more.empty()) << "stuck after " << got.size();
      got += more;
    }
    EXPECT_EQ(got, big);
  }
  EXPECT_EQ(bed.buffers_in_use(), 0u);
}

TEST_F(SessionTest, ASleeperIsToldOnceAndABusyReaderNotAtAll) {
  Pair p = open();
  app.write(*p.client, "one");
  EXPECT_TRUE(app.no_event());  // nobody armed
  EXPECT_EQ(app.read(*p.server), "one");
  ASSERT_TRUE(p.server->rx.arm());
  app.write(*p.client, "two");
  app.write(*p.client, "three");
  EXPECT_EQ(app.expect<svm::SessionEvent>(svm::ToApp::kRx).handle, p.server->handle);
  EXPECT_TRUE(app.no_event());
  EXPECT_EQ(app.read(*p.server), "twothree");
}

TEST_F(SessionTest, AFullReceiverStopsTheSenderAndReadingStartsItAgain) {
  Pair p = open();
  const std::string block(64 << 10, 'x');
  uint32_t sent = app.write(*p.client, block);
  sent += app.write(*p.client, block);  // into the space that the transfer left
  EXPECT_EQ(sent, 2u * (64 << 10));
  EXPECT_EQ(app.write(*p.client, block), 0u);  // both fifos are full
  ASSERT_TRUE(p.client->tx.want_space(1000));
  EXPECT_EQ(app.read(*p.server).size(), 64u << 10);
  EXPECT_EQ(app.expect<svm::SessionEvent>(svm::ToApp::kTxSpace).handle, p.client->handle);
  EXPECT_GE(bed.pipe.end(1).rx_drained, 1u);
  EXPECT_EQ(app.read(*p.server).size(), 64u << 10);
}

TEST_F(SessionTest, ATransportAwaitsAsMuchSpaceAsItSaysAndHearsOfItOnce) {
  Pair p = open();
  ASSERT_EQ(app.write(*p.client, std::string(10'000, 'x')), 10'000u);
  Worker& w = bed.engine->worker(0);
  const SessionId id = bed.pipe.end(1).session;
  const uint32_t size = w.sessions->rx_size(w, id);
  EXPECT_FALSE(w.sessions->rx_await(w, id, size - 10'000));  // as much is free
  ASSERT_TRUE(w.sessions->rx_await(w, id, size - 4'000));
  // What comes meanwhile takes of the space, and changes nothing about when it is said.
  ASSERT_EQ(app.write(*p.client, std::string(2'000, 'x')), 2'000u);
  EXPECT_EQ(app.read(*p.server, 5'999).size(), 5'999u);
  EXPECT_EQ(bed.pipe.end(1).rx_drained, 0u);
  EXPECT_EQ(app.read(*p.server, 1).size(), 1u);
  EXPECT_EQ(bed.pipe.end(1).rx_drained, 1u);
  EXPECT_EQ(w.sessions->rx_space(w, id), size - 6'000);
  EXPECT_EQ(app.read(*p.server).size(), 6'000u);
  EXPECT_EQ(bed.pipe.end(1).rx_drained, 1u);
}

TEST(SessionSend, AWriteWhileMuchIsInFlightAnnouncesItself) {
  SessionBed bed;
  bed.pipe.hold_acks = true;
  svm::AttachRequest r{};
  r.rx_fifo_size = r.tx_fifo_size = 1 << 20;
  TestApp app(bed, r);
  ASSERT_EQ(app.listen(80).status, 0);
  auto client = app.connect(80);
  auto server = app.accept();
  const std::string block(200'000, 'b');
  ASSERT_EQ(app.write(*client, block), block.size());
  EXPECT_EQ(app.read(*server), block);  // delivered, and not acknowledged
  ASSERT_EQ(app.write(*client, "one more"), 8u);
  EXPECT_EQ(app.read(*server), "one more");
}

TEST_F(SessionTest, HalfCloseLetsTheOtherDirectionGoOn) {
  Pair p = open();
  app.write(*p.client, "last words");
  app.push(svm::ToDaemon::kShutdown, p.client->handle);
  EXPECT_EQ(app.read(*p.server), "last words");
  EXPECT_TRUE(p.server->rx.eof());
  EXPECT_EQ(app.expect<svm::SessionEvent>(svm::ToApp::kRx).handle,
            p.server->handle);  // the end is always told
  app.write(*p.server, "answer");
  EXPECT_EQ(app.read(*p.client), "answer");
  EXPECT_FALSE(p.client->rx.eof());
  app.close(*p.server);
  EXPECT_TRUE(p.client->rx.eof());
  app.close(*p.client);
  EXPECT_EQ(bed.pipe.aborted, 0u);
}

TEST_F(SessionTest, BytesWrittenBeforeCloseStillArrive) {
  Pair p = open();
  const std::string block(60'000, 'y');
  ASSERT_EQ(p.client->tx.enqueue(svm::bytes_of(block.data(), block.size())), block.size());
  ASSERT_TRUE(p.client->tx.should_notify());
  ASSERT_EQ(app.requests.push(svm::ToDaemon::kTx, svm::SessionEvent{p.client->handle, 0}),
            svm::MqProducer::Push::kOk);
  app.close(*p.client);
  EXPECT_EQ(app.read(*p.server), block);
  EXPECT_TRUE(p.server->rx.eof());
}

TEST_F(SessionTest, ClosingWithUnreadDataResets) {  // RFC 2525 section 2.17
  Pair p = open();
  app.write(*p.client, "never read");
  app.close(*p.server);
  EXPECT_EQ(bed.pipe.closed_unread, 1u);
  EXPECT_TRUE(p.client->rx.reset());
  EXPECT_EQ(p.client->rx.error(), ECONNRESET);
  app.close(*p.client);
}

TEST_F(SessionTest, AStaleHandleIsCountedAndHarmless) {
  Pair p = open();
  const uint64_t old = p.client->handle;
  app.push(svm::ToDaemon::kReset, old);
  EXPECT_TRUE(p.server->rx.reset());
  const uint64_t before = bed.counter("stale-handle");
  app.push(svm::ToDaemon::kTx, old);
  app.push(svm::ToDaemon::kClose, old ^ uint64_t{1} << 41);
  app.push(svm::ToDaemon::kClaim, ~uint64_t{0});
  EXPECT_EQ(bed.counter("stale-handle"), before + 3);
}

// Applications keep 0 for "none": no session may have it.
TEST_F(SessionTest, NoHandleIsZero) {
  Pair p = open();
  EXPECT_NE(p.client->handle, 0u);
  EXPECT_NE(p.server->handle, 0u);
}

TEST_F(SessionTest, FailedConnectsSayWhy) {
  app.start_connect(1, 11);
  auto c = app.expect<svm::ConnectedEvent>(svm::ToApp::kConnected);
  EXPECT_EQ(c.context, 11u);
  EXPECT_EQ(static_cast<Status>(c.status), Status::kUnreachable);
  app.start_connect(9999, 12);
  c = app.expect<svm::ConnectedEvent>(svm::ToApp::kConnected);
  EXPECT_EQ(static_cast<Status>(c.status), Status::kRefused);
  svm::ConnectEvent e{};
  e.proto = 99;
  e.context = 13;
  app.push(svm::ToDaemon::kConnect, e);
  c = app.expect<svm::ConnectedEvent>(svm::ToApp::kConnected);
  EXPECT_EQ(static_cast<Status>(c.status), Status::kUnsupported);
}

TEST_F(SessionTest, BacklogIsRealAndAPortCanBeTakenOnce) {
  ASSERT_EQ(app.listen(80, 4).status, 0);
  svm::ListenEvent again{};
  again.local = TestApp::end(80);
  again.backlog = 4;
  app.push(svm::ToDaemon::kListen, again);
  EXPECT_EQ(static_cast<Status>(app.expect<svm::BoundEvent>(svm::ToApp::kBound).status),
            Status::kInUse);
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(app.connect(80));
  app.start_connect(80);
  EXPECT_NE(app.expect<svm::ConnectedEvent>(svm::ToApp::kConnected).status, 0);
  EXPECT_EQ(bed.counter("accept-overflow"), 1u);
  auto taken = app.accept();
  ASSERT_TRUE(taken);
  EXPECT_TRUE(app.connect(80));
}

TEST_F(SessionTest, WaitingAcceptorIsWoken) {
  ASSERT_EQ(app.listen(80).status, 0);
  svm::AcceptConsumer queue(*app.listener, app.listener->capacity);
  ASSERT_TRUE(queue.arm(app.reply.worker_index));
  app.start_connect(80);
  // Both sides are this application's: one event each, in either order.
  svm::MqEvent first{}, second{};
  ASSERT_TRUE(app.events.pop(first) && app.events.pop(second));
  EXPECT_EQ(first.type + second.type, static_cast<uint32_t>(svm::ToApp::kConnected) +
                                          static_cast<uint32_t>(svm::ToApp::kAcceptReady));
}

// Two processes of one application that wait for connections, of which one has been chosen.
struct AcceptTest : SessionTest {
  TestApp child{bed, app};
  svm::BoundEvent bound;

  void choose_app() {
    bound = app.listen(80);
    app.listener->holders.fetch_or(1ull << child.reply.worker_index);
    ASSERT_TRUE(queue().arm(app.reply.worker_index));
    ASSERT_TRUE(queue().arm(child.reply.worker_index));
    outsider.start_connect(80);
    EXPECT_EQ(app.expect<svm::SessionEvent>(svm::ToApp::kAcceptReady).handle, bound.handle);
    EXPECT_TRUE(child.no_event());
    EXPECT_EQ(app.listener->interest.load(), 1ull << child.reply.worker_index);
  }
  svm::AcceptConsumer queue() { return {*app.listener, app.listener->capacity}; }
  TestApp outsider{bed};
};

TEST_F(AcceptTest, AConnectionThatIsPassedOnGoesToAnotherWaiter) {
  choose_app();
  app.push(svm::ToDaemon::kAcceptPass, bound.handle);
  EXPECT_EQ(child.expect<svm::SessionEvent>(svm::ToApp::kAcceptReady).handle, bound.handle);
  EXPECT_TRUE(app.no_event());
}

TEST_F(AcceptTest, NothingIsPassedOnFromAnEmptyQueue) {
  choose_app();
  ASSERT_TRUE(app.accept());
  app.push(svm::ToDaemon::kAcceptPass, bound.handle);
  EXPECT_TRUE(child.no_event());
  const uint64_t before = bed.counter("stale-handle");
  outsider.push(svm::ToDaemon::kAcceptPass, bound.handle);  // not its own
  app.push(svm::ToDaemon::kAcceptPass, bound.handle ^ uint64_t{1} << 41);
  EXPECT_EQ(bed.counter("stale-handle"), before + 2);
}

TEST_F(AcceptTest, WhenTheChosenOneDiesAnotherIsTold) {
  choose_app();
  app.die();
  bed.pump();
  EXPECT_EQ(child.expect<svm::SessionEvent>(svm::ToApp::kAcceptReady).handle, bound.handle);
}

TEST_F(AcceptTest, WhoSleepsComesBeforeWhoIsBusy) {
  ASSERT_TRUE(child.events.prepare_sleep());
  bound = app.listen(80);
  ASSERT_TRUE(queue().arm(app.reply.worker_index));
  ASSERT_TRUE(queue().arm(child.reply.worker_index));
  outsider.start_connect(80);
  EXPECT_EQ(child.expect<svm::SessionEvent>(svm::ToApp::kAcceptReady).handle, bound.handle);
  EXPECT_TRUE(app.no_event());
}

TEST_F(SessionTest, MsgMoreIsToldToTheTransportUntilItIsOver) {
  Pair p = open();
  EXPECT_EQ(app.write(*p.client, "plain"), 5u);
  EXPECT_TRUE(bed.pipe.due.empty());
  p.client->tx.begin_more();
  app.write(*p.client, "more");
  p.client->tx.end_more();
  app.write(*p.client, "end");
  EXPECT_EQ(bed.pipe.due, (std::vector<uint32_t>{0, ~0u}));
  EXPECT_EQ(app.read(*p.server), "plainmoreend");
}

TEST_F(SessionTest, ClosingAListenerResetsWhatNobodyTook) {
  const auto bound = app.listen(80);
  auto client = app.connect(80);
  app.listener->holders.store(0);
  app.push(svm::ToDaemon::kUnlisten, bound.handle);
  EXPECT_TRUE(client->rx.reset());
  EXPECT_EQ(app.expect<svm::SessionEvent>(svm::ToApp::kRx).handle, client->handle);
  app.start_connect(80);
  EXPECT_NE(app.expect<svm::ConnectedEvent>(svm::ToApp::kConnected).status, 0);
  EXPECT_EQ(app.listen(80).status, 0);  // the port is free again
}

// The next listener gets the index of the last one.
TEST_F(SessionTest, ClosingAListenerLeavesAloneWhatAnEarlierOneHadAccepted) {
  const auto first = app.listen(80);
  Pair p = open(80);
  app.push(svm::ToDaemon::kReset, p.client->handle);  // the server's end has lost its transport
  EXPECT_EQ(app.expect<svm::SessionEvent>(svm::ToApp::kRx).handle, p.server->handle);
  app.listener->holders.store(0);
  app.push(svm::ToDaemon::kUnlisten, first.handle);
  const auto second = app.listen(81);
  ASSERT_EQ(static_cast<uint32_t>(second.handle), static_cast<uint32_t>(first.handle));
  app.listener->holders.store(0);
  app.push(svm::ToDaemon::kUnlisten, second.handle);
  const uint64_t stale = bed.counter("stale-handle");
  app.close(*p.server);
  EXPECT_EQ(bed.counter("stale-handle"), stale);
}

TEST_F(SessionTest, DeathOfAProcessClosesWhatItHeldAndGivesAllBack) {
  TestApp victim(bed);
  ASSERT_EQ(app.listen(80).status, 0);
  auto client = victim.connect(80);
  auto server = app.accept();
  victim.write(*client, "before the end");
  victim.die();
  bed.pump();
  EXPECT_EQ(app.read(*server), "before the end");
  EXPECT_TRUE(server->rx.eof());
  app.close(*server);
  bed.pump(6 * kSecond);
  EXPECT_NE(bed.log.find("has gone"), std::string::npos);
  EXPECT_EQ(bed.buffers_in_use(), 0u);
}

TEST_F(SessionTest, ASessionHeldByTwoProcessesOutlivesOne) {
  Pair p = open();
  TestApp child(bed, app);
  ASSERT_EQ(child.reply.status, 0) << child.reply.message;
  EXPECT_EQ(::fcntl(child.socket, F_GETFL) & O_NONBLOCK, 0) << "it could not wait for replies";
  EXPECT_NE(child.reply.worker_index, app.reply.worker_index);
  // What the preload library does before fork().
  p.server->shared->holders.fetch_or(1ull << child.reply.worker_index);
  app.close(*p.server);  // the parent's copy
  app.write(*p.client, "for the child");
  EXPECT_FALSE(p.client->rx.eof());
  auto inherited = child.connection(p.server->handle, app.segments[0]->ref(p.server->shared));
  EXPECT_EQ(child.read(*inherited), "for the child");
  child.die();
  bed.pump();
  EXPECT_TRUE(p.client->rx.eof());
}

// An operator's doing: the process lives, and may be in the middle of a request.
TEST_F(SessionTest, QueuesOfARemovedWorkerAreNotUsedAgain) {
  TestApp child(bed, app);
  ASSERT_EQ(child.reply.status, 0) << child.reply.message;
  EXPECT_EQ(
      session::end_worker(bed.layer->impl(), *bed.layer->impl().apps[0], child.reply.worker_index),
      Status::kOk);
  TestApp next(bed, app);
  ASSERT_EQ(next.reply.status, 0) << next.reply.message;
  EXPECT_EQ(next.reply.worker_index, child.reply.worker_index);
  EXPECT_NE(next.reply.daemon_mq[0], child.reply.daemon_mq[0]);
  EXPECT_NE(next.reply.app_mq, child.reply.app_mq);
  for (uint32_t i = 0; i < 32; ++i)
    (void)child.requests.push(svm::ToDaemon::kClose, svm::SessionEvent{i, 0});
  bed.pump();
  EXPECT_EQ(bed.counter("app-violation"), 0u);
  EXPECT_EQ(next.listen(81).status, 0);
}

// A process may sleep, armed, while another that shares the session is its owner.
TEST_F(SessionTest, ANewOwnerIsToldToLook) {
  Pair p = open();
  TestApp child(bed, app);
  const uint64_t both = 1ull << app.reply.worker_index | 1ull << child.reply.worker_index;
  p.server->shared->holders.store(both);
  p.server->shared->owner.store(child.reply.worker_index);
  app.push(svm::ToDaemon::kClaim, p.server->handle);
  EXPECT_EQ(child.expect<svm::SessionEvent>(svm::ToApp::kRx).handle, p.server->handle);
  EXPECT_TRUE(app.no_event());
  child.die();
  bed.pump();
  EXPECT_EQ(p.server->shared->owner.load(), app.reply.worker_index);
  EXPECT_EQ(app.expect<svm::SessionEvent>(svm::ToApp::kRx).handle, p.server->handle);
}

TEST_F(SessionTest, OptionsAndInfoReachTheTransport) {
  Pair p = open();
  svm::OptionEvent o{};
  o.handle = p.client->handle;
  o.options.nodelay = 1;
  o.options.keepidle_ms = 1500;
  std::memset(o.options.congestion, 'a', sizeof o.options.congestion);  // not terminated
  app.push(svm::ToDaemon::kSetOption, o);
  EXPECT_TRUE(bed.pipe.last_options.nodelay);
  EXPECT_EQ(bed.pipe.last_options.keepidle, 1500 * kMillisecond);
  app.push(svm::ToDaemon::kGetInfo, p.client->handle, 77);
  const auto info = app.expect<svm::InfoEvent>(svm::ToApp::kInfo);
  EXPECT_EQ(info.context, 77u);
  EXPECT_EQ(info.status, 0);
  EXPECT_EQ(info.snd_mss, 1000u);
  EXPECT_EQ(info.snd_cwnd, 10u);  // segments
}

TEST_F(SessionTest, EventsWaitForASlowApplication) {
  // 200 failing connects; the queue holds 64 answers.
  std::vector<uint32_t> contexts;
  for (uint32_t i = 0; i < 200; ++i) {
    svm::ConnectEvent e{};
    e.proto = 99;
    e.context = i;
    while (app.requests.push(svm::ToDaemon::kConnect, e) != svm::MqProducer::Push::kOk) bed.pump();
  }
  bed.pump();
  EXPECT_GT(bed.counter("event-overflow"), 0u);
  svm::MqEvent e{};
  while (contexts.size() < 200) {
    while (app.events.pop(e)) contexts.push_back(e.as<svm::ConnectedEvent>().context);
    bed.pump();
  }
  for (uint32_t i = 0; i < 200; ++i) EXPECT_EQ(contexts[i], i);
}

TEST_F(SessionTest, IdleSessionsGiveTheirReceiveMemoryBack) {
  Pair p = open();
  app.write(*p.client, std::string(50'000, 'z'));
  EXPECT_EQ(app.read(*p.server).size(), 50'000u);
  for (int i = 0; i < 4; ++i) bed.pump(kSecond);
  app.write(*p.client, "again");  // a new chunk, a new base
  EXPECT_EQ(app.read(*p.server), "again");
}

TEST(AttachSocket, RefusesWhatItDoesNotKnowAndLives) {
  SessionBed bed;
  svm::AttachRequest r{};
  std::strcpy(r.namespace_id, "blue");
  TestApp other(bed, r);
  EXPECT_EQ(static_cast<Status>(other.reply.status), Status::kPermission);
  EXPECT_NE(std::string(other.reply.message).find("blue"), std::string::npos);
  TestApp good(bed);
  EXPECT_EQ(good.reply.status, 0);
  r = {};
  r.version = svm::kProtocolVersion;
  r.op = svm::AttachOp::kGetSegment;
  r.segment_id = 99999;
  EXPECT_EQ(static_cast<Status>(good.ask(r).status), Status::kNotFound);
  r.op = svm::AttachOp::kAddAppArena;
  r.pair = good.segments[0]->id();  // its own, and no pair's
  EXPECT_EQ(static_cast<Status>(good.ask(r).status), Status::kNotFound);
  r.op = svm::AttachOp::kGetDoorbell;
  EXPECT_EQ(static_cast<Status>(good.ask(r).status), Status::kNotFound);
  r.op = svm::AttachOp::kGetSegment;
  r.segment_id = good.segments[1]->id();
  EXPECT_EQ(static_cast<Status>(good.ask(r).status), Status::kNotFound);
  r.pair = 0;
  r.op = svm::AttachOp::kAddAppArena;
  const auto more = good.ask(r);
  EXPECT_EQ(more.status, 0);
  ASSERT_EQ(good.fds.size(), 1u);
  ::close(good.fds[0]);
  // A stranger that speaks rubbish loses its connection.
  sockaddr_un a{};
  a.sun_family = AF_UNIX;
  std::strcpy(a.sun_path, bed.layer->default_socket_path().c_str());
  const int s = ::socket(AF_UNIX, SOCK_SEQPACKET, 0);
  ASSERT_EQ(::connect(s, reinterpret_cast<sockaddr*>(&a), sizeof a), 0);
  ASSERT_EQ(::send(s, "rubbish", 7, 0), 7);
  bed.pump();
  char c;
  EXPECT_EQ(::recv(s, &c, 1, MSG_DONTWAIT), 0);
  ::close(s);
}

// However many there are, the worker does not stand still for long.
TEST_F(SessionTest, ManySessionsOfAnApplicationAreVisitedInParts) {
  for (int i = 0; i < 200; ++i) (void)open();
  session::Impl& layer = bed.layer->impl();
  uint32_t all = 0, part = 0, largest = 0;
  const auto visit = [&](session::SessionWorker&, session::Session&) {
    bed.now += 20 * kMicrosecond;
    ++all;
    largest = std::max(largest, ++part);
    bed.engine->post(0, [&](Worker&) { part = 0; });  // run before the next visit to the worker
  };
  session::for_each_session_of(layer, 0, *layer.apps[0], visit);
  EXPECT_EQ(all, 400u);
  EXPECT_LT(largest, 40u);
  app.die();
  bed.pump();
  EXPECT_EQ(bed.layer->stats().per_worker[0], 0u);
  EXPECT_EQ(bed.layer->stats().applications, 0u);
}

}  // namespace
}  // namespace loom::test
