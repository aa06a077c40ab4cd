// Sessions that move, on three workers that the test steps by hand in one thread: each order in
// which news, requests, segments and the ends of processes can overtake each other (migrate.h) is
// one test, and the same one every time. workers_test.cc has the same with threads.
#include "session/migrate.h"

#include "session/control.h"
#include "tests/unit/core/session/test_app.h"
#include "tests/unit/core/session/wire_transport.h"

namespace loom::test {
namespace {

using session::AppWorker;
using session::handle_of;
using session::Session;
using session::SessionWorker;
using session::State;
using svm::ToDaemon;

svm::AttachRequest named(const char* name) {
  svm::AttachRequest r{};
  std::strcpy(r.app_name, name);
  r.flags = svm::kScopeGlobalOnly;  // its connections are the transport's
  return r;
}

// A client's connection that was opened on worker 0, to a server whose end is on worker 2.
class MigrateTest : public testing::Test {
 protected:
  static constexpr uint32_t kNowhere = ~0u;
  static constexpr uint16_t kLocalPort = 30000;  // chooses the server's worker (wire_transport.h)

  MigrateTest() {
    EXPECT_EQ(server.listen(80).status, 0);
    svm::ConnectEvent e{};
    e.remote = TestApp::end(80);
    e.local.is_ip4 = 1;
    e.local.port = Be16(kLocalPort).raw();
    client.push(ToDaemon::kConnect, e);
    const auto done = client.expect<svm::ConnectedEvent>(svm::ToApp::kConnected);
    EXPECT_EQ(done.status, 0);
    handle = done.handle;
    near = client.connection(done.handle, done.session);
    far = server.accept();
    EXPECT_TRUE(far);
    EXPECT_EQ(where(), 0u);
    EXPECT_NE(find(2, far->handle), nullptr);
    while (!client.no_event()) {}
    while (!server.no_event()) {}
    for (uint32_t i = 0; i < 3; ++i) passed_before[i] = passed_on(i);
  }
  // Whatever has happened, nothing of it is left when both have gone.
  void TearDown() override {
    client.die();
    if (child) child->die();
    server.die();
    for (int i = 0; i < 3; ++i) bed.pump();
    for (uint32_t i = 0; i < 3; ++i) {
      EXPECT_EQ(on(i).pool.in_use(), 0u) << "worker " << i;
      EXPECT_EQ(on(i).migrated, 0u) << "worker " << i;
      EXPECT_TRUE(on(i).guests.empty()) << "worker " << i;
    }
    EXPECT_EQ(bed.layer->stats().applications, 0u);
    EXPECT_EQ(bed.layer->stats().established, 0u);
  }

  SessionWorker& on(uint32_t worker) { return *bed.layer->impl().workers[worker]; }
  void step(uint32_t worker) { (void)bed.engine->step(worker); }
  // The session if it lives there.
  Session* find(uint32_t worker, SessionHandle h) {
    SessionWorker& sw = on(worker);
    const SessionId id = session::local_id(sw, h);
    if (!sw.pool.contains(id)) return nullptr;
    Session& s = sw.pool.at(id);
    const bool is_here = s.state != State::kFree && s.state != State::kMigrated;
    return is_here && handle_of(sw, s) == h ? &s : nullptr;
  }
  uint32_t where() {
    uint32_t found = kNowhere;
    for (uint32_t i = 0; i < 3; ++i) {
      if (!find(i, handle)) continue;
      EXPECT_EQ(found, kNowhere) << "it lives twice";
      found = i;
    }
    return found;
  }
  void send(uint32_t from, uint32_t to) {
    Session* s = find(from, handle);
    ASSERT_NE(s, nullptr);
    ASSERT_EQ(session::migrate(on(from), *s, to), Status::kOk);
  }
  void ask(uint32_t worker, ToDaemon what) {
    client.ask_worker(worker, what, svm::SessionEvent{handle, 0});
  }
  bool is_shut_down(uint32_t worker) {
    const Session* s = find(worker, handle);
    return s && (s->flags & session::kAppShutdown);
  }
  // What has been counted and what is to be, since the connection is there.
  uint64_t counted(uint32_t worker, const char* name, session::QueueCounter c) {
    return bed.counter(name, worker) + on(worker).counters[c];
  }
  uint64_t passed_on(uint32_t worker) {
    return counted(worker, "passed-on", session::kPassedOn) - passed_before[worker];
  }
  uint64_t stale(uint32_t worker) { return counted(worker, "stale-handle", session::kStaleHandle); }
  uint64_t stale() { return stale(0) + stale(1) + stale(2); }
  session::App& app() { return *bed.layer->impl().apps[client.reply.app_index]; }
  AppWorker& process() { return *app().workers[0]; }
  // Both directions carry bytes.
  void expect_that_it_works() {
    bed.pump();
    near->tx.enqueue(svm::bytes_of("there", 5));
    client.ask_worker(near->shared->worker.load(), ToDaemon::kTx, svm::SessionEvent{handle, 0});
    bed.pump();
    EXPECT_EQ(take(*far), "there");
    far->tx.enqueue(svm::bytes_of("back", 4));
    server.ask_worker(2, ToDaemon::kTx, svm::SessionEvent{far->handle, 0});
    bed.pump();
    EXPECT_EQ(take(*near), "back");
  }
  static std::string take(TestApp::Connection& c) {
    std::string text(c.rx.refresh(), 0);
    text.resize(c.rx.dequeue(std::as_writable_bytes(std::span(text))));
    return text;
  }
  // As soon as fn() is true, and its worker is visited then, the session leaves for `to`: it is in
  // no list of any worker while the control thread goes from one to the next.
  template <class Fn>
  void leave_when(uint32_t worker, uint32_t to, Fn fn) {
    bed.engine->post(worker, [this, worker, to, fn](Worker&) {
      if (fn())
        send(worker, to);
      else
        leave_when(worker, to, fn);
    });
  }

  std::unique_ptr<WireTransport> wire;
  SessionBed bed{{}, SessionBed::Network::kNone, 3, [this](SessionBed& b) {
                   wire = std::make_unique<WireTransport>(*b.engine);
                   wire->id = b.transports.add(wire->ops()).value();
                 }};
  TestApp client{bed, named("client")}, server{bed, named("server")};
  std::unique_ptr<TestApp> child;
  SessionHandle handle = 0;
  uint64_t passed_before[3] = {};
  std::unique_ptr<TestApp::Connection> near, far;
};

// --- Requests that come where it is no more

TEST_F(MigrateTest, ARequestFollowsItFromAWorkerThatStillKnows) {
  send(0, 1);
  bed.pump();
  ASSERT_EQ(where(), 1u);
  send(1, 2);
  ask(1, ToDaemon::kShutdown);
  step(1);  // which has not heard yet that it has arrived
  EXPECT_EQ(passed_on(1), 1u);
  EXPECT_EQ(process().passed_on, 1u);
  step(2);  // it arrives, and the request behind it
  EXPECT_TRUE(is_shut_down(2));
  EXPECT_EQ(passed_on(0), 0u) << "no way by its home";
  EXPECT_EQ(process().passed_on, 0u);
  EXPECT_EQ(stale(), 0u);
}

TEST_F(MigrateTest, ARequestToAWorkerThatHasForgottenItGoesByItsHome) {
  send(0, 1);
  bed.pump();
  send(1, 2);
  step(2);
  step(1);
  EXPECT_TRUE(on(1).guests.empty());
  ask(1, ToDaemon::kShutdown);
  step(1);
  EXPECT_EQ(passed_on(1), 1u);
  EXPECT_FALSE(is_shut_down(2));
  step(0);  // hears where it lives, then of the request
  EXPECT_EQ(passed_on(0), 1u);
  step(2);
  EXPECT_TRUE(is_shut_down(2));
  EXPECT_EQ(process().passed_on, 0u);
  EXPECT_EQ(stale(), 0u);
}

TEST_F(MigrateTest, OptionsThatWereOvertakenOnTheWayArePassedOver) {
  using Set = std::vector<std::pair<uint32_t, uint32_t>>;  // worker, TOS
  const auto set = [&](uint32_t worker, uint8_t tos) {
    svm::OptionEvent e{};
    e.handle = handle;
    e.options.dscp_tos = tos;
    e.number = ++near->shared->n_options;
    client.ask_worker(worker, ToDaemon::kSetOption, e);
  };
  set(0, 4);
  step(0);
  set(0, 8);  // while it is here, and heard when it is no more
  send(0, 1);
  step(1);     // which it has come to
  set(1, 12);  // by who has seen that
  step(1);
  EXPECT_EQ(wire->options_set, (Set{{0, 4}, {1, 12}}));
  bed.pump();
  EXPECT_EQ(passed_on(0), 1u);
  EXPECT_EQ(wire->options_set, (Set{{0, 4}, {1, 12}})) << "the last ones have gone";
  // Those that nothing overtakes arrive once each, and in their order, as it moves on and comes
  // back.
  wire->options_set.clear();
  set(0, 16);
  set(0, 20);
  bed.pump();
  send(1, 0);
  set(1, 24);
  step(0);
  step(1);
  bed.pump();
  set(0, 28);
  bed.pump();
  EXPECT_EQ(wire->options_set, (Set{{1, 16}, {1, 20}, {0, 24}, {0, 28}}));
  EXPECT_EQ(stale(), 0u);
  // Numbers wrap.
  near->shared->n_options = ~0u - 1;
  find(0, handle)->n_options = ~0u - 1;
  wire->options_set.clear();
  for (const uint8_t tos : {32, 36, 40}) set(0, tos);
  bed.pump();
  EXPECT_EQ(wire->options_set, (Set{{0, 32}, {0, 36}, {0, 40}}));
}

TEST_F(MigrateTest, AMoveBeforeTheNewsOfTheLastIsFound) {
  send(0, 1);
  step(1);
  send(1, 2);  // home has not heard of the first one
  step(2);
  ask(0, ToDaemon::kShutdown);
  send(2, 0);  // and back, ahead of all that home is told
  step(0);     // looks at requests first, and passes it on to where the first move led
  EXPECT_EQ(passed_on(0), 1u);
  EXPECT_EQ(where(), 0u);
  EXPECT_FALSE(is_shut_down(0));
  step(1);  // it has left long ago
  EXPECT_EQ(passed_on(1), 1u);
  step(0);
  EXPECT_TRUE(is_shut_down(0));
  EXPECT_EQ(near->shared->worker.load(), 0u);
  EXPECT_EQ(stale(), 0u);
  step(2);
  for (uint32_t i = 0; i < 3; ++i) EXPECT_EQ(on(i).migrated, 0u) << i;
}

TEST_F(MigrateTest, AnotherMoveWhileHomeKnowsOnlyTheFirst) {
  send(0, 1);
  step(1);
  send(1, 2);
  step(2);
  step(1);  // has forgotten it
  ask(0, ToDaemon::kShutdown);
  step(0);  // to worker 1, for home reads its news after the request
  step(1);  // back home, which has read them
  step(0);
  EXPECT_FALSE(is_shut_down(2));
  step(2);
  EXPECT_TRUE(is_shut_down(2));
  EXPECT_EQ(passed_on(0), 2u);
  EXPECT_EQ(passed_on(1), 1u);
  EXPECT_EQ(stale(), 0u);
  EXPECT_EQ(near->shared->worker.load(), 2u);
}

TEST_F(MigrateTest, ARequestThatNeverCatchesUpEndsAfterEightHops) {
  constexpr uint32_t kMoves = 12;
  // Each worker gets the session, sends it on, and then gets the request.
  uint32_t moves = 0;
  std::function<void(uint32_t)> flee = [&](uint32_t from) {
    bed.engine->post(from, [&, from](Worker&) {
      if (++moves > kMoves) return;
      send(from, (from + 1) % 3);
      flee((from + 1) % 3);
    });
  };
  send(0, 1);
  flee(1);
  ask(0, ToDaemon::kShutdown);
  step(0);
  EXPECT_EQ(passed_on(0), 1u);
  for (uint32_t i = 1; i < 8; ++i) step(i % 3);
  EXPECT_EQ(passed_on(0) + passed_on(1) + passed_on(2), 8u);
  EXPECT_EQ(process().passed_on, 1u);
  EXPECT_EQ(stale(), 0u);
  step(8 % 3);
  EXPECT_EQ(passed_on(0) + passed_on(1) + passed_on(2), 8u);
  EXPECT_EQ(process().passed_on, 0u);
  EXPECT_EQ(stale(8 % 3), 1u);
  bed.pump();
  ASSERT_EQ(where(), (1 + kMoves) % 3);
  EXPECT_FALSE(is_shut_down(where()));
  expect_that_it_works();
}

TEST_F(MigrateTest, OneThatIsNotAdoptedGoesOnWhereItWas) {
  wire->refuse_every = 1;
  send(0, 1);
  ask(1, ToDaemon::kShutdown);
  step(1);  // does not know it, and refuses it in the same round
  EXPECT_EQ(passed_on(1), 1u);
  EXPECT_EQ(where(), kNowhere);
  EXPECT_EQ(session::n_sessions(on(0)), 0u);
  step(0);  // looks at the request, then takes it back
  EXPECT_EQ(passed_on(0), 1u);
  EXPECT_EQ(where(), 0u);
  EXPECT_FALSE(is_shut_down(0));
  step(1);
  step(0);
  EXPECT_TRUE(is_shut_down(0));
  EXPECT_EQ(on(0).migrated, 0u);
  EXPECT_EQ(counted(1, "migrated", session::kMigratedHere), 0u);
  EXPECT_EQ(near->shared->worker.load(), 0u);
}

TEST_F(MigrateTest, ARequestOfAProcessThatHasGoneMeanwhileIsDropped) {
  send(0, 1);
  step(1);
  ask(0, ToDaemon::kReset);
  step(0);  // on its way
  EXPECT_EQ(process().passed_on, 1u);
  std::erase_if(on(1).ports, [&](auto* p) { return p->app_worker->app == &app(); });
  step(1);
  EXPECT_EQ(where(), 1u);
  EXPECT_EQ(process().passed_on, 1u) << "nobody is there to be told";
}

// --- Its process ends while it is in nobody's list

TEST_F(MigrateTest, TheEndOfItsProcessIsNoticedWhenItArrives) {
  send(0, 2);
  bed.pump();
  ASSERT_EQ(where(), 2u);
  // Worker 0 has been visited when it leaves for it.
  leave_when(2, 0, [this] { return app().live_mask() == 0; });
  client.die();
  EXPECT_TRUE(bed.control());
  EXPECT_EQ(where(), kNowhere);
  EXPECT_TRUE(app().detached);
  EXPECT_EQ(app().n_moving, 1u);
  step(0);
  EXPECT_EQ(app().n_moving, 0u);
  // Closed as the kernel would: the server reads the end.
  ASSERT_EQ(where(), 0u);
  EXPECT_EQ(find(0, handle)->state, State::kClosing);
  bed.pump();
  EXPECT_TRUE(far->rx.eof());
}

TEST_F(MigrateTest, TheEndOfItsProcessIsNoticedWhenItComesBackRefused) {
  send(0, 2);
  bed.pump();
  wire->refuse_every = 1;
  leave_when(2, 0, [this] { return app().live_mask() == 0; });
  client.die();
  EXPECT_TRUE(bed.control());
  step(0);
  EXPECT_EQ(where(), kNowhere);
  step(2);
  ASSERT_EQ(where(), 2u);
  EXPECT_EQ(find(2, handle)->state, State::kClosing);
  bed.pump();
  EXPECT_TRUE(far->rx.eof());
}

TEST_F(MigrateTest, ItsOtherProcessGetsWhatTheOneThatEndedOwned) {
  child = std::make_unique<TestApp>(bed, client);
  ASSERT_EQ(child->reply.worker_index, 1u);
  near->shared->holders.store(0b11);
  ASSERT_EQ(near->shared->owner.load(), 0u);
  send(0, 2);
  bed.pump();
  while (!child->no_event()) {}
  leave_when(2, 0, [this] { return !(app().live_mask() & 1); });
  client.die();
  EXPECT_TRUE(bed.control());
  ASSERT_EQ(where(), kNowhere);
  EXPECT_EQ(near->shared->owner.load(), 0u) << "nobody has noticed";
  step(0);
  ASSERT_EQ(where(), 0u);
  EXPECT_EQ(find(0, handle)->state, State::kOpen);
  EXPECT_EQ(near->shared->owner.load(), 1u);
  EXPECT_EQ(near->shared->holders.load(), 0b10u);
  step(0);
  svm::MqEvent told;
  ASSERT_TRUE(child->events.pop(told)) << "it is told to look";
  EXPECT_EQ(told.as<svm::SessionEvent>().handle, handle);
}

TEST_F(MigrateTest, AProcessThatIsThereKeepsIt) {
  send(0, 1);
  bed.pump();
  EXPECT_EQ(near->shared->owner.load(), 0u);
  EXPECT_EQ(near->shared->holders.load(), 0b1u);
  EXPECT_EQ(find(1, handle)->state, State::kOpen);
  expect_that_it_works();
}

TEST_F(MigrateTest, AGuestThatIsClosedFreesItsPlaceAtHome) {
  send(0, 1);
  bed.pump();
  EXPECT_EQ(on(0).pool.in_use(), 1u);
  client.ask_worker(1, ToDaemon::kReset, svm::SessionEvent{handle, 0});
  step(1);
  EXPECT_EQ(where(), kNowhere);
  EXPECT_TRUE(on(1).guests.empty());
  EXPECT_EQ(on(0).pool.in_use(), 1u);
  step(0);
  EXPECT_EQ(on(0).pool.in_use(), 0u);
  // Whoever names it now names nothing.
  ask(0, ToDaemon::kShutdown);
  step(0);
  EXPECT_EQ(stale(), 1u);
}

// --- Segments

TEST_F(MigrateTest, SegmentsGoBackAndForthUntilItIsAdopted) {
  far->tx.enqueue(svm::bytes_of("first", 5));
  server.ask_worker(2, ToDaemon::kTx, svm::SessionEvent{far->handle, 0});
  step(2);  // on its way to worker 0
  const uint64_t before = wire->count("handed-off");
  send(0, 1);
  step(0);  // stands still: to worker 1
  EXPECT_EQ(wire->count("handed-off"), before + 1);
  EXPECT_EQ(where(), kNowhere);
  step(1);  // segments are looked at before it arrives: back to worker 0
  EXPECT_EQ(wire->count("handed-off"), before + 2);
  ASSERT_EQ(where(), 1u);
  EXPECT_EQ(near->rx.refresh(), 0u);
  step(0);  // the flow is worker 1's now
  EXPECT_EQ(wire->count("handed-off"), before + 3);
  step(1);
  EXPECT_EQ(take(*near), "first");
  expect_that_it_works();
}

TEST_F(MigrateTest, WhatIsWrittenWhileItMovesIsSentWhereItLives) {
  send(0, 1);
  near->tx.enqueue(svm::bytes_of("early", 5));
  ask(0, ToDaemon::kTx);
  step(1);  // it arrives, and is to look at what is there
  step(1);
  step(2);
  EXPECT_EQ(take(*far), "early") << "worker 0 has not heard of it yet";
  bed.pump();
  EXPECT_EQ(stale(), 0u);
}

// --- Sessions that follow their packets

TEST_F(MigrateTest, ItFollowsOneOfManyStraysAndStaysForASecond) {
  const auto strays = [&](uint32_t seen_on) {
    const uint32_t at = where();
    const FlowMatch m{find(at, handle)->conn, static_cast<uint8_t>(at), FlowKind::kEstablished};
    for (uint32_t i = 0; i < session::kStraysPerRequest - 1; ++i)
      session::note_stray(on(seen_on), WireTransport::kIpProtocol, m);
    bed.pump(0);
    EXPECT_EQ(where(), at);
    session::note_stray(on(seen_on), WireTransport::kIpProtocol, m);
    bed.pump(0);
  };
  strays(1);
  EXPECT_EQ(where(), 1u);
  strays(2);
  EXPECT_EQ(where(), 1u) << "it has only just come";
  bed.now += session::kLeastStay - kMillisecond;
  strays(2);
  EXPECT_EQ(where(), 1u);
  bed.now += kMillisecond;
  strays(2);
  EXPECT_EQ(where(), 2u);
}

TEST_F(MigrateTest, AStrayOfAConnectionThatHasLeftMovesNothing) {
  const FlowMatch m{find(0, handle)->conn, 0, FlowKind::kEstablished};
  send(0, 1);
  for (uint32_t i = 0; i < session::kStraysPerRequest; ++i)
    session::note_stray(on(2), WireTransport::kIpProtocol, m);
  step(0);  // on its way
  bed.pump();
  EXPECT_EQ(where(), 1u);
  for (uint32_t i = 0; i < session::kStraysPerRequest; ++i)
    session::note_stray(on(2), WireTransport::kIpProtocol, m);
  bed.pump();
  EXPECT_EQ(where(), 1u) << "nor when it has forgotten it";
}

}  // namespace
}  // namespace loom::test
