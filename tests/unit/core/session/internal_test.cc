// Transports that are applications themselves: what the session layer does for them, shown by one
// that turns every bit.
#include <hostloom/endpoint_settings.h>

#include "tests/unit/core/session/flip_transport.h"

#include "session/control.h"

namespace loom::test {
namespace {

std::string pattern(std::size_t n) {
  std::string s(n, 0);
  for (std::size_t i = 0; i < n; ++i) s[i] = static_cast<char>(i * 7 + i / 251);
  return s;
}

struct Internal : testing::Test {
  SessionBed bed;
  FlipTransport flip{bed};
  TestApp app{bed};

  void TearDown() override {
    app.die();
    bed.pump();
    EXPECT_EQ(session::n_sessions(bed.layer->impl()), 0u);
  }
  int32_t listen(TestApp& a, uint16_t port, uint8_t proto = FlipTransport::kProto) {
    svm::ListenEvent e{};
    e.proto = proto;
    e.local = TestApp::end(port);
    e.backlog = 4;
    e.options.settings = settings;
    e.options.interface = interface;
    a.push(svm::ToDaemon::kListen, e);
    const auto bound = a.expect<svm::BoundEvent>(svm::ToApp::kBound);
    if (bound.status == 0) {
      a.listener = a.table.resolve_as<svm::ListenerShared>(bound.listener);
      listener = bound.handle;
      listening_on = Be16::from_raw(bound.local.port);
    }
    return bound.status;
  }
  svm::ConnectedEvent try_connect(TestApp& a, uint16_t port, uint32_t with_settings = 0) {
    svm::ConnectEvent e{};
    e.options.settings = with_settings;
    e.proto = FlipTransport::kProto;
    e.remote = TestApp::end(port);
    e.local.is_ip4 = 1;
    a.push(svm::ToDaemon::kConnect, e);
    return a.expect<svm::ConnectedEvent>(svm::ToApp::kConnected);
  }
  void open(uint16_t port = 80) {
    ASSERT_EQ(listen(app, port), 0);
    const auto c = try_connect(app, port);
    ASSERT_EQ(c.status, 0);
    EXPECT_EQ(Be16::from_raw(c.remote.port), port);
    near = app.connection(c.handle, c.session);
    far = app.accept();
    ASSERT_TRUE(far);
  }
  uint64_t listener = 0;
  uint32_t settings = 0;
  uint16_t interface = 0;  // and one; 0: none
  uint16_t listening_on = 0;
  std::unique_ptr<TestApp::Connection> near, far;
};

TEST_F(Internal, BytesGoBothWaysAndAreTurnedOnTheWay) {
  open();
  app.write(*near, "hello");
  EXPECT_EQ(app.read(*far), "hello");
  const std::string big = pattern(500'000);
  for (auto* from : {near.get(), far.get()}) {
    auto* to = from == near.get() ? far.get() : near.get();
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
}

TEST_F(Internal, AListenerHasNoInterfaceButItsNamespaces) {
  interface = 4 + 1;
  ASSERT_EQ(listen(app, 80), 0);
  EXPECT_EQ(flip.listener_interface, 4u);
  bed.layer->impl().namespaces.front()->interface.store(7);
  EXPECT_NE(listen(app, 81), 0) << "there is no such interface";
  EXPECT_EQ(flip.listener_interface, 7u);
  interface = 0;
  EXPECT_NE(listen(app, 82), 0) << "there is no such interface";
  EXPECT_EQ(flip.listener_interface, kNoIndex);
  bed.layer->impl().namespaces.front()->interface.store(kNoIndex);
}

TEST_F(Internal, ATransportThatTakesLittleIsOfferedTheRestInTheNextRounds) {
  flip.most_per_call = 1000;
  open();
  flip.offered.clear();
  app.write(*near, pattern(3500));
  EXPECT_EQ(app.read(*far), pattern(3500));
  EXPECT_EQ(flip.offered, (std::vector<uint32_t>{3500, 2500, 1500, 500}));
  app.write(*near, "x");  // it has armed: the next write is announced
  EXPECT_EQ(flip.offered.back(), 1u);
}

TEST_F(Internal, AsMuchWrittenMeanwhileAsWasTakenIsNoReasonToWait) {
  flip.most_per_call = 1000;
  open();
  const std::string text = pattern(3000);
  flip.meanwhile = [&] {  // the daemon is at it: nobody is to be told
    near->tx.enqueue(svm::bytes_of(text.data() + 1000, 2000));
    EXPECT_FALSE(near->tx.should_notify());
  };
  app.write(*near, std::string_view(text).substr(0, 1000));
  EXPECT_EQ(app.read(*far), text);
}

TEST_F(Internal, AReaderThatStopsStopsTheSenderAcrossBothSessions) {
  open();
  const std::string block(64 << 10, 'x');
  uint64_t sent = 0, got = 0;
  while (const uint32_t n = app.write(*near, block)) sent += n;
  EXPECT_LT(sent, 64u << 20);  // the fifos of four sessions
  EXPECT_EQ(app.write(*near, block), 0u);
  while (got < sent) {
    const auto n = app.read(*far).size();
    ASSERT_NE(n, 0u) << "stuck after " << got << " of " << sent;
    got += n;
  }
  EXPECT_GT(app.write(*near, block), 0u);
}

TEST_F(Internal, EndsAreToldAndNothingIsLeft) {
  open();
  app.write(*near, "last words");
  app.push(svm::ToDaemon::kShutdown, near->handle);
  EXPECT_EQ(app.read(*far), "last words");
  EXPECT_TRUE(far->rx.eof());
  app.write(*far, "answer");
  EXPECT_EQ(app.read(*near), "answer");
  app.close(*far);
  EXPECT_TRUE(near->rx.eof());
  app.close(*near);
  bed.pump();
  EXPECT_EQ(session::n_sessions(bed.layer->impl()), 0u);
}

TEST_F(Internal, AnAbortBelowIsAResetAbove) {
  open();
  app.push(svm::ToDaemon::kReset, near->handle);
  EXPECT_TRUE(far->rx.reset());
  app.close(*far);
  bed.pump();
  EXPECT_EQ(session::n_sessions(bed.layer->impl()), 0u);
}

TEST_F(Internal, AListenerIsFoundWhereItsLowerOneIs) {
  ASSERT_EQ(listen(app, 80), 0);
  EXPECT_TRUE(bed.pipe.listeners.contains(80));
  TestApp other(bed);
  EXPECT_EQ(listen(other, 80, PipeTransport::kProto), static_cast<int32_t>(Status::kInUse));
  app.push(svm::ToDaemon::kUnlisten, listener);  // it is held
  EXPECT_TRUE(bed.pipe.listeners.contains(80));
  app.listener->holders.store(0);
  app.push(svm::ToDaemon::kUnlisten, listener);
  EXPECT_FALSE(bed.pipe.listeners.contains(80));
  EXPECT_TRUE(flip.listeners.empty());
  EXPECT_EQ(listen(other, 80, PipeTransport::kProto), 0);
}

TEST_F(Internal, PortZeroIsThePortOfTheLowerListener) {
  ASSERT_EQ(listen(app, 0), 0);
  EXPECT_NE(listening_on, 0);
  EXPECT_TRUE(bed.pipe.listeners.contains(listening_on));
}

TEST_F(Internal, AFailedConnectBelowFailsAbove) {
  EXPECT_EQ(try_connect(app, 81).status, static_cast<int32_t>(Status::kRefused));
  EXPECT_EQ(try_connect(app, 1).status, static_cast<int32_t>(Status::kUnreachable));
  EXPECT_EQ(session::n_sessions(bed.layer->impl()), 0u);
}

TEST_F(Internal, ALocalApplicationIsNotSeenByWayOfALowerListener) {
  svm::AttachRequest r{};
  r.flags = svm::kScopeLocalOnly;
  TestApp local(bed, r);
  ASSERT_EQ(listen(local, 80), 0);
  uint32_t seen = 0;
  for (uint32_t i = 0; i < bed.layer->impl().n_listeners; ++i)
    for (const session::Place& p : bed.layer->impl().listener(i)->places) {
      ++seen;
      EXPECT_EQ(p.at.fib_index, session::local_table(0, 0));
    }
  EXPECT_EQ(seen, 1u);
  EXPECT_NE(try_connect(local, 80).status, 0);  // it has no network to connect by
}

TEST_F(Internal, ASessionOverAnotherCountsOnceAndWhereItsApplicationIs) {
  session::Namespace& blue = **session::add_namespace(bed.layer->impl(), {.id = "blue"});
  session::Namespace& first = *bed.layer->impl().namespaces.front();
  session::set_quota(blue, {.sessions = 1});
  svm::AttachRequest r{};
  std::strcpy(r.namespace_id, "blue");
  {
    TestApp server(bed, r);
    ASSERT_EQ(listen(server, 80), 0);
    ASSERT_EQ(try_connect(app, 80).status, 0);
    EXPECT_EQ(blue.n_sessions, 1u) << "that of the server, and not the one below";
    EXPECT_EQ(first.n_sessions, 1u) << "that of the client";
    EXPECT_EQ(session::n_sessions(bed.layer->impl()), 4u);
    EXPECT_NE(try_connect(app, 80).status, 0);
    EXPECT_EQ(blue.n_sessions, 1u);
    EXPECT_EQ(first.n_sessions, 1u);
    EXPECT_NE(blue.refused_sessions, 0u);
    // The default namespace's quota is its own applications' alone.
    session::set_quota(blue, {});
    session::set_quota(first, {.sessions = 2});
    EXPECT_EQ(try_connect(app, 80).status, 0);
    EXPECT_EQ(blue.n_sessions, 2u);
    EXPECT_EQ(try_connect(app, 80).status, static_cast<int32_t>(Status::kNoMemory));
  }
  bed.pump();
  app.die();
  bed.pump();
  EXPECT_EQ(blue.n_sessions, 0u);
  EXPECT_EQ(first.n_sessions, 0u);
}

TEST_F(Internal, AListenerIsChargedForItsSettingsAndThePairsThatTheyName) {
  constexpr auto charge_of = session::EndpointSettings::charge_of;
  session::Namespace& first = *bed.layer->impl().namespaces.front();
  const uint64_t before = first.memory;
  std::string pair, names;
  add_setting(pair, Setting::kCertificate, std::string(1000, 'c'));
  const auto own = app.give_settings(pair).settings;
  for (int i = 0; i < 2; ++i) add_setting(names, Setting::kPair, own);
  settings = app.give_settings(names, svm::kOnce).settings;
  ASSERT_NE(settings, 0u);
  const uint64_t kept = before + charge_of(pair.size()),
                 used = charge_of(names.size()) + 2 * charge_of(pair.size());
  ASSERT_EQ(listen(app, 80), 0);
  EXPECT_EQ(first.memory, kept + used) << "the settings have gone, the listener has theirs";
  session::set_quota(first, {.memory = first.memory + charge_of(names.size()) + used - 1});
  settings = app.give_settings(names).settings;
  EXPECT_EQ(listen(app, 81), static_cast<int32_t>(Status::kNoMemory));
  EXPECT_EQ(first.refused_settings, 1u);
  EXPECT_EQ(first.memory, kept + used + charge_of(names.size()));
  app.listener->holders.store(0);
  app.push(svm::ToDaemon::kUnlisten, listener);
  EXPECT_EQ(first.memory, kept + charge_of(names.size()));
  EXPECT_EQ(listen(app, 81), 0);
}

TEST_F(Internal, AConnectionIsChargedForItsSettingsAsLongAsThereIsIt) {
  constexpr auto charge_of = session::EndpointSettings::charge_of;
  session::Namespace& first = *bed.layer->impl().namespaces.front();
  ASSERT_EQ(listen(app, 80), 0);
  const uint64_t before = first.memory;
  std::string bytes;
  add_setting(bytes, Setting::kTrust, std::string(1000, 't'));
  const uint64_t charge = charge_of(bytes.size());
  session::set_quota(first, {.memory = before + 2 * charge});
  // For one connect, and for any number of them.
  const uint32_t once = app.give_settings(bytes, svm::kOnce).settings,
                 kept = app.give_settings(bytes).settings;
  const auto one = try_connect(app, 80, once), two = try_connect(app, 80, kept),
             three = try_connect(app, 80, kept);
  ASSERT_EQ(one.status | two.status | three.status, 0);
  EXPECT_EQ(app.remove_settings(once), Status::kNotFound) << "it is used";
  EXPECT_EQ(app.remove_settings(kept), Status::kOk);
  EXPECT_EQ(app.remove_settings(kept), Status::kNotFound);
  EXPECT_EQ(try_connect(app, 80, kept).status, static_cast<int32_t>(Status::kInvalid));
  EXPECT_EQ(first.memory, before + 2 * charge) << "the connections are made of them";
  EXPECT_EQ(static_cast<Status>(app.give_settings(bytes).status), Status::kNoMemory);
  app.push(svm::ToDaemon::kReset, one.handle);
  EXPECT_EQ(first.memory, before + charge);
  app.push(svm::ToDaemon::kReset, two.handle);
  EXPECT_EQ(first.memory, before + charge) << "there is a third";
  app.push(svm::ToDaemon::kReset, three.handle);
  EXPECT_EQ(first.memory, before);

  const uint32_t in_vain = app.give_settings(bytes, svm::kOnce).settings;
  EXPECT_NE(try_connect(app, 1, in_vain).status, 0);
  EXPECT_EQ(first.memory, before) << "no connection has come of it";
  const uint32_t last = app.give_settings(bytes, svm::kOnce).settings;
  ASSERT_EQ(try_connect(app, 80, last).status, 0);
  app.die();
  bed.pump();
  EXPECT_EQ(first.memory, 0u);
}

TEST_F(Internal, APairIsChargedUntilNothingThatNamesItIsLeft) {
  constexpr auto charge_of = session::EndpointSettings::charge_of;
  session::Namespace& first = *bed.layer->impl().namespaces.front();
  ASSERT_EQ(listen(app, 80), 0);
  const uint64_t before = first.memory;
  std::string pair, names;
  add_setting(pair, Setting::kCertificate, std::string(1000, 'c'));
  const auto own = app.give_settings(pair).settings;
  for (const uint32_t number : {own, own, own + 1}) add_setting(names, Setting::kPair, number);
  const uint32_t number = app.give_settings(names, svm::kOnce).settings;
  ASSERT_EQ(number, own + 1) << "it names itself, too";
  const uint64_t both = charge_of(pair.size()) + charge_of(names.size());
  EXPECT_EQ(first.memory, before + both);
  const auto c = try_connect(app, 80, number);
  ASSERT_EQ(c.status, 0);
  EXPECT_EQ(app.remove_settings(own), Status::kOk);
  EXPECT_EQ(first.memory, before + both);
  app.push(svm::ToDaemon::kReset, c.handle);
  EXPECT_EQ(first.memory, before);
}

TEST_F(Internal, AnApplicationThatDiesTakesBothSessionsAlong) {
  open();
  {
    TestApp second(bed);
    ASSERT_EQ(try_connect(second, 80).status, 0);
    EXPECT_EQ(session::n_sessions(bed.layer->impl()), 8u);
  }
  bed.pump();
  const auto orphan = app.accept();
  ASSERT_TRUE(orphan);
  EXPECT_TRUE(orphan->rx.eof() || orphan->rx.reset());
  app.die();
  bed.pump();
  EXPECT_EQ(session::n_sessions(bed.layer->impl()), 0u);
  EXPECT_TRUE(flip.listeners.empty());
}

}  // namespace
}  // namespace loom::test
