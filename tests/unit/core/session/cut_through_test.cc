// Sessions between two applications: opened and ended by the daemon, which is on the way of no
// byte.
#include <fcntl.h>

#include <random>

#include "session/control.h"
#include "tests/unit/core/session/cut_through_bed.h"

namespace loom::test {
namespace {

TEST_F(CutThroughTest, BytesPassWithoutTransportOrDaemon) {
  Two t = both();
  EXPECT_TRUE(bed.pipe.ends.empty()) << "a transport was asked";
  std::string big(150'000, 0);
  for (std::size_t i = 0; i < big.size(); ++i) big[i] = static_cast<char>(i * 7 + i / 251);
  for (auto [from, to] :
       {std::pair{t.client.get(), t.server.get()}, {t.server.get(), t.client.get()}}) {
    std::string got;
    std::size_t sent = 0;
    while (got.size() < big.size()) {  // the daemon is not stepped
      sent += from->write(std::string_view(big).substr(sent));
      const std::string more = to->read();
      ASSERT_FALSE(more.empty()) << "stuck after " << got.size();
      got += more;
    }
    EXPECT_EQ(got, big);
  }
  EXPECT_TRUE(server.no_event());
  EXPECT_TRUE(client.no_event());
}

TEST_F(CutThroughTest, ASleeperIsRungAndABusyEndIsNot) {
  Two t = both();
  t.client->write("one");
  EXPECT_TRUE(t.server->rung().empty()) << "nobody was armed";
  EXPECT_EQ(t.server->read(), "one");
  ASSERT_TRUE(t.server->rx.arm());
  t.client->write("two");
  t.client->write("three");
  EXPECT_EQ(t.server->rung(), std::vector<uint32_t>{t.server->line().bell_bit});
  EXPECT_EQ(t.server->read(), "twothree");
}

TEST_F(CutThroughTest, EndpointsAreThoseOfAConnectionAndTheirPortIsTaken) {
  ASSERT_EQ(server.listen(80).status, 0);
  client.start_connect(80);
  const auto c = client.expect<svm::ConnectedEvent>(svm::ToApp::kConnected);
  EXPECT_EQ(c.remote.port, Be16(80).raw());
  EXPECT_EQ(c.local.ip[0], 10);  // as the remote address, as Linux chooses
  EXPECT_NE(c.local.port, 0);
  EXPECT_EQ(bed.layer->stats().established, 1u);
  svm::AcceptedSession a;
  svm::AcceptConsumer queue(*server.listener, server.listener->capacity);
  ASSERT_TRUE(queue.pop(a));
  EXPECT_EQ(a.remote_port, c.local.port);
  EXPECT_EQ(a.local_port, c.remote.port);
  // The same addresses again.
  svm::ConnectEvent e{};
  e.context = 9;
  e.remote = TestApp::end(80);
  e.local = c.local;
  client.push(svm::ToDaemon::kConnect, e);
  EXPECT_EQ(client.expect<svm::ConnectedEvent>(svm::ToApp::kConnected).status,
            static_cast<int32_t>(Status::kInUse));
}

TEST_F(CutThroughTest, AnOrderlyCloseLeavesWhatWasWritten) {
  Two t = both();
  t.client->write("last words");
  t.client->close();
  EXPECT_EQ(server.expect<svm::SessionEvent>(svm::ToApp::kRx).handle, t.server->handle);
  EXPECT_EQ(t.server->line().peer_end.load(), svm::kPeerClosed);
  EXPECT_EQ(t.server->read(), "last words");
  t.server->close();
  EXPECT_EQ(sessions(), 0u);
  EXPECT_EQ(bed.layer->stats().established, 0u);
}

TEST_F(CutThroughTest, UnreadBytesMakeAResetOfAClose) {  // RFC 2525 section 2.17
  Two t = both();
  t.client->write("never read");
  t.server->close();
  EXPECT_EQ(client.expect<svm::SessionEvent>(svm::ToApp::kRx).handle, t.client->handle);
  EXPECT_EQ(t.client->line().peer_end.load(), svm::kPeerReset | ECONNRESET);
  t.client->close();
  EXPECT_EQ(sessions(), 0u);
}

TEST_F(CutThroughTest, AnAbortIsAReset) {
  Two t = both();
  t.client->app->push(svm::ToDaemon::kReset, t.client->handle);
  EXPECT_EQ(t.server->line().peer_end.load(), svm::kPeerReset | ECONNRESET);
  t.server->close();
  EXPECT_EQ(sessions(), 0u);
}

TEST_F(CutThroughTest, AnOperatorsResetReachesBothEnds) {
  Two t = both();
  EXPECT_EQ(session::reset_session(bed.layer->impl(), t.client->handle), Status::kOk);
  bed.pump();
  EXPECT_EQ(t.client->line().peer_end.load(), svm::kPeerReset | ECONNABORTED);
  EXPECT_EQ(t.server->line().peer_end.load(), svm::kPeerReset | ECONNRESET);
  EXPECT_EQ(client.expect<svm::SessionEvent>(svm::ToApp::kRx).handle, t.client->handle);
  EXPECT_EQ(server.expect<svm::SessionEvent>(svm::ToApp::kRx).handle, t.server->handle);
  EXPECT_EQ(session::reset_session(bed.layer->impl(), t.client->handle), Status::kNotConnected);
  t.client->close();
  t.server->close();
  EXPECT_EQ(sessions(), 0u);
}

TEST_F(CutThroughTest, TheDeathOfAnEndTellsTheOtherAndFreesAll) {
  Two t = both();
  t.client->write("still there");
  client.die();
  bed.pump();
  EXPECT_EQ(server.expect<svm::SessionEvent>(svm::ToApp::kRx).handle, t.server->handle);
  EXPECT_EQ(t.server->read(), "still there");
  EXPECT_EQ(sessions(), 1u);
  t.server->close();
  EXPECT_EQ(sessions(), 0u);
  server.die();
  bed.pump();
  EXPECT_EQ(bed.layer->stats().applications, 0u);
  EXPECT_EQ(bed.layer->stats().segment_bytes, 0u);
}

TEST_F(CutThroughTest, OneThatIsKilledBeforeItIsAcceptedIsStillAccepted) {
  ASSERT_EQ(server.listen(80).status, 0);
  auto c = connect(client);
  c->write("hello");
  client.die();
  bed.pump();
  auto s = accept(server);  // maps the memory of a pair whose other end has gone
  ASSERT_TRUE(s);
  EXPECT_EQ(s->read(), "hello");
  EXPECT_EQ(s->line().peer_end.load(), svm::kPeerClosed);
  s->close();
  EXPECT_EQ(sessions(), 0u);
}

TEST_F(CutThroughTest, AFullBacklogMakesConnectWait) {
  ASSERT_EQ(server.listen(80, 2).status, 0);
  connect(client);
  connect(client);
  client.start_connect(80, 5);
  EXPECT_TRUE(client.no_event());
  ASSERT_TRUE(accept(server));
  bed.pump(10 * kMillisecond);
  EXPECT_EQ(client.expect<svm::ConnectedEvent>(svm::ToApp::kConnected).context, 5u);
  // And ends some day.
  client.start_connect(80, 6);
  EXPECT_TRUE(client.no_event());
  for (int i = 0; i < 3; ++i) bed.pump(60 * kSecond);
  const auto late = client.expect<svm::ConnectedEvent>(svm::ToApp::kConnected);
  EXPECT_EQ(late.context, 6u);
  EXPECT_EQ(late.status, static_cast<int32_t>(Status::kTimedOut));
  // One that dies while it waits.
  client.start_connect(80, 7);
  client.die();
  bed.pump(10 * kMillisecond);
}

TEST_F(CutThroughTest, ClosingTheListenerResetsWhatNobodyTook) {
  const auto bound = server.listen(80);
  auto c = connect(client);
  server.listener->holders.store(0);
  server.push(svm::ToDaemon::kUnlisten, bound.handle);
  EXPECT_EQ(c->line().peer_end.load(), svm::kPeerReset | ECONNRESET);
  EXPECT_EQ(client.expect<svm::SessionEvent>(svm::ToApp::kRx).handle, c->handle);
  c->close();
  EXPECT_EQ(sessions(), 0u);
  client.start_connect(80, 3);  // nobody listens: the transport is asked, and refuses
  EXPECT_EQ(client.expect<svm::ConnectedEvent>(svm::ToApp::kConnected).status,
            static_cast<int32_t>(Status::kRefused));
  EXPECT_FALSE(bed.pipe.ends.empty());
}

TEST_F(CutThroughTest, AnApplicationConnectsToItself) {
  ASSERT_EQ(server.listen(80).status, 0);
  auto c = connect(server);
  auto s = accept(server);
  ASSERT_TRUE(c && s);
  EXPECT_NE(c->end, s->end);
  c->write("to myself");
  EXPECT_EQ(s->read(), "to myself");
  s->write("and back");
  EXPECT_EQ(c->read(), "and back");
  server.die();
  bed.pump();
  EXPECT_EQ(sessions(), 0u);
}

TEST_F(CutThroughTest, AThirdApplicationReachesNoneOfIt) {
  Two t = both();
  TestApp third(bed);
  svm::AttachRequest r{};
  r.version = svm::kProtocolVersion;
  r.pair = r.segment_id = t.client->pair_segment();
  for (const auto op :
       {svm::AttachOp::kGetSegment, svm::AttachOp::kAddAppArena, svm::AttachOp::kGetDoorbell}) {
    r.op = op;
    EXPECT_EQ(third.ask(r).status, static_cast<int32_t>(Status::kNotFound));
    EXPECT_TRUE(third.fds.empty());
  }
  r.op = svm::AttachOp::kGetDoorbell;
  r.end = 2;
  EXPECT_EQ(client.ask(r).status, static_cast<int32_t>(Status::kInvalid));
  r.end = 1;
  r.worker = svm::kMaxAppWorkers;
  EXPECT_EQ(client.ask(r).status, static_cast<int32_t>(Status::kInvalid));
  third.push(svm::ToDaemon::kClose, t.client->handle);
  EXPECT_EQ(sessions(), 2u);
}

TEST_F(CutThroughTest, ADoorbellIsTheSameForBothSides) {
  Two t = both();
  svm::AttachRequest r{};
  r.version = svm::kProtocolVersion;
  r.op = svm::AttachOp::kGetDoorbell;
  r.pair = t.client->pair_segment();
  r.end = static_cast<uint16_t>(t.server->end);
  EXPECT_EQ(client.ask(r).status, static_cast<int32_t>(Status::kInvalid));  // not to be read there
  ASSERT_EQ(server.ask(r).status, 0);
  ASSERT_EQ(server.fds.size(), 1u);
  const int heard = server.fds[0];
  r.flags = svm::kToRing;
  EXPECT_EQ(server.ask(r).status, static_cast<int32_t>(Status::kInvalid));
  ASSERT_EQ(client.ask(r).status, 0);
  ASSERT_EQ(client.fds.size(), 1u);
  char rings[8];
  EXPECT_EQ(::read(heard, rings, sizeof rings), -1);
  EXPECT_EQ(::write(client.fds[0], "", 1), 1);
  EXPECT_EQ(::read(heard, rings, sizeof rings), 1);
  for (const int fd : client.fds) ::close(fd);
  ::close(heard);
}

// Who cannot ring the other end has the daemon do it. That fills no queue, however often he asks,
// nor does it end somebody who has been stopped.
TEST_F(CutThroughTest, WhoRingsByTheDaemonPutsOneEventIntoTheOthersQueue) {
  Two t = both();
  const svm::SessionEvent mine{t.client->handle, 0};
  for (int read = 0; read < 3; ++read) {
    for (int i = 0; i < 100; ++i) {
      ASSERT_EQ(client.requests.push(svm::ToDaemon::kTx, mine), svm::MqProducer::Push::kOk);
      bed.engine->step();
    }
    EXPECT_EQ(server.expect<svm::SessionEvent>(svm::ToApp::kRx).handle, t.server->handle);
    EXPECT_TRUE(server.no_event());
  }
  // What it is told besides does not get lost.
  client.push(svm::ToDaemon::kTx, mine);
  t.client->close();
  EXPECT_EQ(server.expect<svm::SessionEvent>(svm::ToApp::kRx).handle, t.server->handle);
  EXPECT_EQ(server.expect<svm::SessionEvent>(svm::ToApp::kRx).handle, t.server->handle);
  EXPECT_TRUE(server.no_event());
}

TEST_F(CutThroughTest, AStoppedApplicationIsNotEndedByItsPeer) {
  Two t = both();
  for (uint32_t i = 0; i < session::App::kMaxOverflow + 200; ++i) {
    ASSERT_EQ(client.requests.push(svm::ToDaemon::kTx, svm::SessionEvent{t.client->handle, 0}),
              svm::MqProducer::Push::kOk);
    bed.engine->step();
  }
  bed.pump();
  EXPECT_EQ(bed.counter("app-violation"), 0u);
  EXPECT_EQ(bed.layer->stats().applications, 2u);
  t.client->write("for later");
  EXPECT_EQ(t.server->read(), "for later");
}

// Whether a write may wait is a property of the open file: the two sides must not share one.
TEST_F(CutThroughTest, WhoIsWokenCannotMakeTheOtherWait) {
  Two t = both();
  svm::AttachRequest r{};
  r.version = svm::kProtocolVersion;
  r.op = svm::AttachOp::kGetDoorbell;
  r.pair = t.client->pair_segment();
  r.end = static_cast<uint16_t>(t.server->end);
  ASSERT_EQ(server.ask(r).status, 0);
  const int heard = server.fds.at(0);
  r.flags = svm::kToRing;
  ASSERT_EQ(client.ask(r).status, 0);
  ASSERT_EQ(client.fds.size(), 1u);
  const int rung = client.fds[0];
  EXPECT_TRUE(::fcntl(rung, F_GETFL) & O_NONBLOCK);
  ASSERT_EQ(::fcntl(heard, F_SETFL, 0), 0);
  EXPECT_TRUE(::fcntl(rung, F_GETFL) & O_NONBLOCK);
  EXPECT_EQ(::send(heard, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL), -1);  // nor send anything back
  ::shutdown(heard, SHUT_RDWR);
  EXPECT_EQ(::write(rung, "", 1), -1);  // no SIGPIPE
  ::close(heard);
  server.die();
  bed.pump();
  EXPECT_EQ(::write(rung, "", 1), -1);
  ::close(rung);
}

TEST_F(CutThroughTest, MemoryOfAQuietPairGoesBack) {
  const uint64_t before = bed.layer->stats().segment_bytes;
  Two t = both();
  t.client->write(std::string(60'000, 'x'));
  EXPECT_GT(bed.layer->stats().segment_bytes, before);
  t.client->close();
  t.server->close();
  for (int i = 0; i < 3; ++i) bed.pump(6 * kSecond);
  EXPECT_EQ(bed.layer->stats().segment_bytes, before);
  Two again = both();  // in a new one
  EXPECT_NE(again.client->pair_segment(), t.client->pair_segment());
  again.client->write("fresh");
  EXPECT_EQ(again.server->read(), "fresh");
}

TEST_F(CutThroughTest, ManySessionsShareAPairAndHaveBitsOfTheirOwn) {
  ASSERT_EQ(server.listen(80, 4096).status, 0);
  std::map<std::pair<svm::Ref, uint32_t>, uint64_t> bits;
  std::vector<std::pair<uint64_t, svm::Ref>> opened;
  std::unique_ptr<End> first;
  for (uint32_t i = 0; i < svm::kBellSessions + 10; ++i) {
    client.start_connect(80, i + 1);
    const auto c = client.expect<svm::ConnectedEvent>(svm::ToApp::kConnected);
    ASSERT_EQ(c.status, 0) << i;
    if (!first) first = open(client, c.handle, c.session, c.cut_through);
    const auto* own = client.table.resolve_as<svm::SessionLine>(c.session);
    ASSERT_TRUE(own);
    const svm::SessionLine& line = *own;
    EXPECT_LT(line.bell_bit, svm::kBellSessions);
    EXPECT_TRUE(bits.emplace(std::pair{line.bell, line.bell_bit}, c.handle).second);
  }
  client.die();
  server.die();
  bed.pump();
  EXPECT_EQ(sessions(), 0u);
}

TEST(CutThroughScope, GlobalOnlyAsksTheTransportAndLocalOnlyNever) {
  for (const uint32_t scope : {svm::kScopeGlobalOnly, svm::kScopeLocalOnly}) {
    SessionBed bed;
    bed.engine->worker(0).net = &kOwnNet;
    svm::AttachRequest r{};
    r.flags = scope;
    TestApp server(bed, r), client(bed, r);
    ASSERT_EQ(server.listen(80).status, 0);
    client.start_connect(80);
    const auto c = client.expect<svm::ConnectedEvent>(svm::ToApp::kConnected);
    EXPECT_EQ(c.status, 0);
    const bool by_transport = scope == svm::kScopeGlobalOnly;
    EXPECT_EQ(c.cut_through == svm::CutThrough::kNo, by_transport);
    EXPECT_EQ(bed.pipe.ends.empty(), !by_transport);
    client.start_connect(81, 2);  // where nobody listens
    EXPECT_EQ(client.expect<svm::ConnectedEvent>(svm::ToApp::kConnected).status,
              static_cast<int32_t>(by_transport ? Status::kRefused : Status::kUnreachable));
  }
}

// Whatever the two write into their memory, the daemon and a third application go on.
TEST_F(CutThroughTest, ScribblingEndsNothingElse) {
  std::mt19937_64 random(7);
  TestApp third(bed);
  ASSERT_EQ(third.listen(90).status, 0);
  for (int round = 0; round < 40; ++round) {
    Two t = both();
    t.client->write(std::string(50'000, 'x'));
    t.server->write("y");
    auto* words = reinterpret_cast<uint64_t*>(t.client->shared);
    const std::size_t n = sizeof(svm::CutThroughShared) / 8;
    for (int i = 0; i < 60; ++i) {
      uint64_t& word = words[random() % n];
      switch (random() % 3) {
        case 0:
          word = random();
          break;
        case 1:
          word ^= 1ull << random() % 64;
          break;
        default:
          word = svm::make_ref(t.client->segments[random() % 2]->id(),
                               (random() % (1 << 20)) & ~63ull);
      }
    }
    if (random() % 2) {
      client.push(svm::ToDaemon::kClose, t.client->handle);
      server.push(svm::ToDaemon::kReset, t.server->handle);
    } else {
      client.push(svm::ToDaemon::kTx, t.client->handle);
      client.push(svm::ToDaemon::kReset, t.client->handle);
      server.push(svm::ToDaemon::kShutdown, t.server->handle);
      server.push(svm::ToDaemon::kReset, t.server->handle);
    }
    for (svm::MqEvent e; client.events.pop(e) || server.events.pop(e);) {}
  }
  auto c = connect(third, 90);
  auto s = accept(third);
  c->write("unharmed");
  EXPECT_EQ(s->read(), "unharmed");
}

}  // namespace
}  // namespace loom::test
