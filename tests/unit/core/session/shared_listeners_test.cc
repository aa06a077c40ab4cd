// Listeners that share a port by SO_REUSEPORT: which of them gets a flow.
#include <algorithm>
#include <array>
#include <memory>
#include <set>

#include "session/control.h"
#include "tests/unit/core/session/cut_through_bed.h"
#include "tests/unit/core/session/datagram_bed.h"

namespace loom::test {
namespace {

using session::FlowTables;
using session::PortShare;

constexpr uint16_t kFlows = 4000;
constexpr PortShare kMine{.reuseport = true, .reuseaddr = false, .uid = 7};

FlowKey4 flow(uint16_t remote_port, uint8_t protocol, uint16_t local_port = 80) {
  FlowKey4 k{};
  k.local = Ip4Address{{10, 0, 0, 0}};
  k.remote = Ip4Address{{10, 0, 0, 9}};
  k.local_port = local_port;
  k.remote_port = remote_port;
  k.protocol = protocol;
  return k;
}
Endpoints place(uint16_t port = 80) {
  Endpoints e;
  e.local = e.remote = IpAddress(Ip4Address{});
  e.local_port = port;
  return e;
}

// The listener of each of the flows; kNoConn: there is none.
std::vector<ConnId> takers(const FlowTables& t, uint8_t protocol = kProtoTcp) {
  std::vector<ConnId> all;
  for (uint16_t remote = 1; remote <= kFlows; ++remote) {
    const FlowKey4 k = flow(remote, protocol);
    FlowMatch m;
    t.lookup(std::span(&k, 1), &m);
    EXPECT_TRUE(m.kind == FlowKind::kListener || m.kind == FlowKind::kNone);
    all.push_back(m.conn);
  }
  return all;
}

TEST(SharedListeners, FlowsAreSpreadEvenlyStayWhereTheyAreAndOfOneThatGoesGoToTheOthers) {
  const auto t = std::move(FlowTables::create({})).value();
  const auto add = [&](uint32_t listener) {
    return t->add_shared_listener(place(), kProtoTcp, false, listener, kMine, false);
  };
  for (uint32_t l = 1; l <= 4; ++l) ASSERT_EQ(add(l), Status::kOk);
  const auto before = takers(*t);
  EXPECT_EQ(takers(*t), before);
  for (ConnId l = 1; l <= 4; ++l)  // 1000 each; 6 standard deviations are 165
    EXPECT_NEAR(std::ranges::count(before, l), 1000, 250) << l;
  t->del_shared_listener(place(), kProtoTcp, false, 2);
  const auto after = takers(*t);
  std::set<ConnId> heirs;
  for (std::size_t i = 0; i < before.size(); ++i)
    if (before[i] == 2)
      heirs.insert(after[i]);
    else
      EXPECT_EQ(after[i], before[i]);
  EXPECT_EQ(heirs, (std::set<ConnId>{1, 3, 4}));
  for (const uint32_t l : {1, 3, 4}) t->del_shared_listener(place(), kProtoTcp, false, l);
  EXPECT_EQ(takers(*t), std::vector<ConnId>(kFlows, kNoConn));
  Endpoints alone = place();
  EXPECT_EQ(t->add_listener(alone, kProtoTcp, false, 5), Status::kOk);
}

TEST(SharedListeners, AllHaveToAgreeAndToBeOfOneUser) {
  const auto t = std::move(FlowTables::create({})).value();
  PortShare strangers = kMine;
  strangers.uid = 8;
  Endpoints at = place();
  ASSERT_EQ(t->add_shared_listener(at, kProtoTcp, false, 1, kMine, false), Status::kOk);
  EXPECT_EQ(t->add_shared_listener(at, kProtoTcp, false, 2, strangers, false), Status::kInUse);
  EXPECT_EQ(t->add_shared_listener(at, kProtoTcp, false, 2, kMine, true), Status::kInUse);
  EXPECT_EQ(t->add_listener(at, kProtoTcp, false, 3), Status::kInUse);
  at = place(81);
  ASSERT_EQ(t->add_listener(at, kProtoTcp, false, 4), Status::kOk);
  EXPECT_EQ(t->add_shared_listener(at, kProtoTcp, false, 5, kMine, false), Status::kInUse);
}

TEST(SharedListeners, NobodyOfAnotherNamespaceJoins) {  // which is not even to know of the port's
  const auto t = std::move(FlowTables::create({})).value();
  const session::Namespace red, blue;
  PortShare here{.reuseport = true, .reuseaddr = true, .uid = 7, .ns = &red}, there = here;
  there.ns = &blue;
  ASSERT_EQ(t->add_shared_listener(place(), kProtoTcp, false, 1, here, false), Status::kOk);
  EXPECT_EQ(t->add_shared_listener(place(), kProtoTcp, false, 2, there, false), Status::kInUse);
  EXPECT_EQ(t->add_shared_listener(place(), kProtoTcp, false, 3, here, false), Status::kOk);
  Endpoints e = place();
  ASSERT_EQ(t->bind_shared(e, kProtoUdp, false, 0, 1, here, 0), Status::kOk);
  EXPECT_EQ(t->bind_shared(e, kProtoUdp, false, 0, 2, there, 0), Status::kInUse);
  EXPECT_EQ(t->bind_shared(e, kProtoUdp, false, 0, 3, here, 0), Status::kOk);
}

// Linux asks at bind() alone.
TEST(SharedListeners, OneOfSeveralThatAreBoundMayHaveAPeerOfItsOwn) {
  const auto t = std::move(FlowTables::create({})).value();
  const session::Namespace red, blue;
  Endpoints exact = place();
  exact.local = IpAddress(Ip4Address{{10, 0, 0, 1}});
  const auto bind = [&](Endpoints e, uint16_t port, ConnId conn, const session::Namespace* ns) {
    const PortShare share{.reuseport = false, .reuseaddr = true, .uid = 7, .ns = ns};
    e.local_port = port;
    return t->bind_shared(e, kProtoUdp, false, 0, conn, share, 0);
  };
  uint16_t peer = 1000;
  const auto open = [&](uint16_t port, ConnId conn) {
    Endpoints e = exact;
    e.local_port = port;
    e.remote = IpAddress(Ip4Address{{10, 0, 0, 2}});
    e.remote_port = ++peer;
    uint32_t counter = 0;
    return t->open(e, kProtoUdp, 0, conn, counter, 0);
  };
  ASSERT_EQ(bind(place(), 80, 1, &red), Status::kOk);
  ASSERT_EQ(bind(exact, 80, 2, &red), Status::kOk);
  EXPECT_EQ(open(80, 1), Status::kOk);
  EXPECT_EQ(open(80, 2), Status::kOk);
  EXPECT_EQ(open(80, 3), Status::kInUse) << "of one that is not bound";
  // What another namespace has bound to the address is not to be taken by one of any.
  ASSERT_EQ(bind(place(), 81, 1, &red), Status::kOk);
  ASSERT_EQ(bind(exact, 81, 2, &blue), Status::kOk);
  EXPECT_EQ(open(81, 1), Status::kInUse);
  EXPECT_EQ(open(81, 2), Status::kOk);
  // Nor by one that does not share.
  Endpoints alone = place(82);
  ASSERT_EQ(t->bind(alone, kProtoUdp, false, 0, 4, 0), Status::kOk);
  ASSERT_EQ(bind(exact, 82, 2, &blue), Status::kOk);
  EXPECT_EQ(open(82, 4), Status::kInUse);
  EXPECT_EQ(open(82, 2), Status::kOk);
}

PortShare on_link(IfIndex link, bool reuseport = false) {
  return {.reuseport = reuseport, .reuseaddr = false, .uid = 7, .interface = link};
}

TEST(SharedListeners, ThoseOfDifferentInterfacesNeedNotAgree) {  // as Linux has them
  const auto t = std::move(FlowTables::create({})).value();
  const session::Namespace other;
  const auto add = [&](uint32_t listener, const PortShare& s) {
    return t->add_shared_listener(place(), kProtoTcp, false, listener, s, false);
  };
  PortShare others = on_link(5);
  others.ns = &other;
  EXPECT_EQ(add(1, on_link(3)), Status::kOk);
  EXPECT_EQ(add(2, on_link(4)), Status::kOk);
  EXPECT_EQ(add(3, on_link(3)), Status::kInUse);
  EXPECT_EQ(add(3, on_link(3, true)), Status::kInUse);
  EXPECT_EQ(add(3, on_link(kNoIndex, true)), Status::kInUse);
  EXPECT_EQ(add(3, others), Status::kOk);
  t->del_shared_listener(place(), kProtoTcp, false, 1);
  EXPECT_EQ(add(4, on_link(3, true)), Status::kOk);
  EXPECT_EQ(add(5, on_link(3, true)), Status::kOk);
}

TEST(SharedListeners, WhatSomeDoNotHearIsSharedByThoseThatDo) {
  const auto t = std::move(FlowTables::create({})).value();
  for (uint32_t l = 1; l <= 4; ++l)  // odd ones on one link, even ones on another
    ASSERT_EQ(t->add_shared_listener(place(), kProtoTcp, false, l, on_link(3 + l % 2, true), false),
              Status::kOk);
  Endpoints exact = place();
  exact.local = IpAddress(Ip4Address{{10, 0, 0, 1}});
  ASSERT_EQ(t->add_shared_listener(exact, kProtoTcp, false, 9, on_link(9), false), Status::kOk);
  const auto is_odd = [](const void*, const FlowMatch& m) noexcept { return m.conn % 2 == 1; };
  const auto is_even = [](const void*, const FlowMatch& m) noexcept { return m.conn % 2 == 0; };
  const auto is_low = [](const void* most, const FlowMatch& m) noexcept {
    return m.conn <= *static_cast<const uint32_t*>(most);
  };
  std::array<uint32_t, 10> n{};
  for (uint64_t hash = 0; hash < 1024; ++hash) {
    ++n[t->find_listener(place(), kProtoTcp, hash, is_odd, nullptr).conn];
    // The one by address does not hear it: those on any are asked.
    ++n[t->find_listener(exact, kProtoTcp, hash, is_even, nullptr).conn];
    const uint32_t most = 0;
    EXPECT_EQ(t->find_listener(exact, kProtoTcp, hash, is_low, &most).kind, FlowKind::kNone);
  }
  EXPECT_EQ(t->find_listener(exact, kProtoTcp, 5, is_odd, nullptr).conn, 9u);
  for (uint32_t l = 1; l <= 4; ++l) EXPECT_NEAR(n[l], 512, 60) << l;  // as the slots lie
}

TEST(SharedListeners, OneThatIsBoundAndOneThatListensDoNotShare) {
  const auto t = std::move(FlowTables::create({})).value();
  Endpoints e = place();
  ASSERT_EQ(t->bind_shared(e, kProtoTcp, false, 0, 1, kMine, 0), Status::kOk);
  EXPECT_EQ(t->add_shared_listener(e, kProtoTcp, false, 2, kMine, false), Status::kInUse);
  e = place(81);
  ASSERT_EQ(t->add_shared_listener(e, kProtoTcp, false, 2, kMine, false), Status::kOk);
  EXPECT_EQ(t->bind_shared(e, kProtoTcp, false, 0, 1, kMine, 0), Status::kInUse);
}

TEST(SharedListeners, AConnectMayLeaveFromTheirPort) {  // as it may from a lone listener's
  const auto t = std::move(FlowTables::create({})).value();
  for (uint32_t l = 1; l <= 2; ++l)
    ASSERT_EQ(t->add_shared_listener(place(), kProtoTcp, false, l, kMine, false), Status::kOk);
  Endpoints e;
  e.local = IpAddress(Ip4Address{{10, 0, 0, 1}});
  e.remote = IpAddress(Ip4Address{{10, 0, 0, 2}});
  e.local_port = 80;
  e.remote_port = 1234;
  uint32_t counter = 0;
  EXPECT_EQ(t->open(e, kProtoTcp, 0, 1, counter, 0), Status::kOk);
}

// --- Two workers of one application, each with a listener of its own.

svm::BoundEvent listen(TestApp& app, bool shares, uint16_t port = 80) {
  svm::ListenEvent e{};
  e.context = 7;
  e.local = TestApp::end(port);
  e.backlog = 64;
  e.options.reuseport = shares;
  app.push(svm::ToDaemon::kListen, e);
  const auto bound = app.expect<svm::BoundEvent>(svm::ToApp::kBound);
  if (bound.status == 0) app.listener = app.table.resolve_as<svm::ListenerShared>(bound.listener);
  return bound;
}
ConnId index_of(const svm::BoundEvent& bound) { return session::handle_index(bound.handle); }

struct TwoWorkers : testing::Test {
  TwoWorkers() { bed.engine->worker(0).net = &kOwnNet; }
  SessionLayer::Impl& layer() { return bed.layer->impl(); }
  std::vector<ConnId> takers() { return test::takers(*layer().flows, PipeTransport::kIpProtocol); }
  // How many connections wait for it to take them.
  static uint32_t waiting(TestApp& app) {
    svm::AcceptConsumer queue(*app.listener, app.listener->capacity);
    svm::AcceptedSession a;
    uint32_t n = 0;
    while (queue.pop(a)) ++n;
    return n;
  }

  uint32_t changes = 0,
           lost = 0;  // steps in which a listener came or went, flows that found nobody
  SessionBed bed;
  TestApp first{bed}, second{bed, first};
};

TEST_F(TwoWorkers, EachGetsAShareOfTheFlowsAndAllWhenTheOtherHasGone) {
  const auto one = listen(first, true), two = listen(second, true);
  ASSERT_EQ(one.status, 0);
  ASSERT_EQ(two.status, 0);
  const auto before = takers();
  EXPECT_NEAR(std::ranges::count(before, index_of(one)), kFlows / 2, 300);
  EXPECT_EQ(std::ranges::count(before, index_of(one)) + std::ranges::count(before, index_of(two)),
            kFlows);
  second.die();
  bed.pump();
  EXPECT_EQ(takers(), std::vector<ConnId>(kFlows, index_of(one)));
  first.listener->holders.store(0);
  first.push(svm::ToDaemon::kUnlisten, one.handle);
  EXPECT_EQ(takers(), std::vector<ConnId>(kFlows, kNoConn));
  EXPECT_EQ(listen(first, false).status, 0) << "the port is free";
}

// A SYN that meets nobody is answered with RST, though others of the group could have taken it.
TEST_F(TwoWorkers, WhileOneComesOrGoesEachFlowFindsOneThatCanTakeIt) {
  bed.pipe.between = [this](Worker& w) {
    ++changes;
    for (uint16_t remote = 1; remote <= kFlows; ++remote) {
      const FlowKey4 k = flow(remote, PipeTransport::kIpProtocol);
      FlowMatch m;
      w.sessions->lookup4(w, {&k, 1}, &m);
      lost += m.kind != FlowKind::kListener;
    }
  };
  const auto one = listen(first, true);
  lost = 0;  // nobody was there
  ASSERT_EQ(listen(second, true).status, 0);
  EXPECT_EQ(changes, 2u);
  EXPECT_EQ(lost, 0u) << "when it came";
  second.die();
  bed.pump();
  EXPECT_EQ(changes, 3u);
  EXPECT_EQ(lost, 0u) << "when it went";
  EXPECT_EQ(takers(), std::vector<ConnId>(kFlows, index_of(one)));
}

TEST_F(TwoWorkers, OneThatMayNotJoinLeavesNothingBehind) {
  const auto alone = listen(first, false);
  ASSERT_EQ(alone.status, 0);
  const auto before = layer().n_listeners - layer().free_listeners.size();
  EXPECT_EQ(listen(second, true).status, static_cast<int>(Status::kInUse));
  EXPECT_EQ(takers(), std::vector<ConnId>(kFlows, index_of(alone)));
  EXPECT_EQ(layer().n_listeners - layer().free_listeners.size(), before);
}

TEST_F(TwoWorkers, WhoDoesNotAskForItHasThePortAlone) {
  ASSERT_EQ(listen(first, false).status, 0);
  EXPECT_EQ(listen(second, true).status, static_cast<int>(Status::kInUse));
  ASSERT_EQ(listen(first, true, 81).status, 0);
  EXPECT_EQ(listen(second, false, 81).status, static_cast<int>(Status::kInUse));
  // Without a port each gets one that nobody has.
  const auto one = listen(first, true, 0), two = listen(second, true, 0);
  ASSERT_EQ(one.status, 0);
  ASSERT_EQ(two.status, 0);
  EXPECT_NE(one.local.port, two.local.port);
}

TEST_F(TwoWorkers, ConnectsFromTheSameHostAreSpreadToo) {
  ASSERT_EQ(listen(first, true).status, 0);
  ASSERT_EQ(listen(second, true).status, 0);
  TestApp client(bed);
  constexpr uint32_t kConnects = 60;
  for (uint32_t i = 0; i < kConnects; ++i) {
    client.start_connect(80, i + 1);
    svm::MqEvent e{};
    while (client.events.pop(e)) {}
  }
  EXPECT_TRUE(bed.pipe.ends.empty()) << "a transport was asked";
  const uint32_t n = waiting(first);
  // 30 each; 5 standard deviations are 19.4, so one run in two million is outside by chance.
  EXPECT_NEAR(n, kConnects / 2, 20);
  EXPECT_EQ(n + waiting(second), kConnects);
}

TEST_F(TwoWorkers, AnApplicationOfAnotherNamespaceDoesNotJoin) {
  ASSERT_TRUE(session::add_namespace(layer(), {.id = "red"}));
  svm::AttachRequest in_red{};
  std::strcpy(in_red.namespace_id, "red");
  TestApp stranger{bed, in_red}, friendly{bed};
  ASSERT_EQ(stranger.reply.status, 0);
  const auto one = listen(first, true);
  ASSERT_EQ(one.status, 0);
  EXPECT_EQ(listen(stranger, true).status, static_cast<int>(Status::kInUse));
  EXPECT_EQ(takers(), std::vector<ConnId>(kFlows, index_of(one)));
  EXPECT_EQ(listen(friendly, true).status, 0);
}

// The pair is made on the control thread, and the connect goes on after that.
TEST_F(TwoWorkers, OneConnectMakesOnePairWhoeverOfSeveralApplicationsItIsFor) {
  TestApp third{bed}, fourth{bed};
  for (TestApp* app : {&first, &third, &fourth}) ASSERT_EQ(listen(*app, true).status, 0);
  std::vector<std::unique_ptr<TestApp>> clients;
  for (uint32_t i = 1; i <= 8; ++i) {
    clients.push_back(std::make_unique<TestApp>(bed));
    clients.back()->start_connect(80, i);
    EXPECT_EQ(clients.back()->expect<svm::ConnectedEvent>(svm::ToApp::kConnected).status, 0);
    EXPECT_EQ(layer().pairs.size(), i);
  }
}

TEST_F(TwoWorkers, ARedirectToTheApplicationIsSpreadToo) {
  const auto one = listen(first, true), two = listen(second, true);
  session::RuleSpec r;
  r.scope = session::RuleScope::kGlobal;
  r.transport = bed.pipe.id;
  r.match.local = *IpPrefix::parse("0.0.0.0/0");
  r.match.remote = *IpPrefix::parse("10.0.0.9/32");
  r.action = 0;  // to application 0
  ASSERT_TRUE(layer().filters->add(r));
  std::map<ConnId, uint32_t> got;
  for (uint16_t remote = 1; remote <= kFlows; ++remote) {
    const FlowKey4 k = flow(remote, PipeTransport::kIpProtocol);
    FlowMatch m, again;
    layer().filters->filter<FlowKey4>(*layer().workers[0], {&k, 1}, &m);
    layer().filters->filter<FlowKey4>(*layer().workers[0], {&k, 1}, &again);
    EXPECT_EQ(m.conn, again.conn);
    ++got[m.conn];
  }
  EXPECT_NEAR(got[index_of(one)], kFlows / 2, 300);
  EXPECT_EQ(got[index_of(one)] + got[index_of(two)], kFlows);
}

// --- Datagrams

struct SharedPorts : DatagramTest {
  Status bind(TestApp& a) {
    svm::ConnectEvent e = datagram_request(any(53), any(0));
    e.options.reuseport = 1;
    a.push(svm::ToDaemon::kConnect, e);
    return static_cast<Status>(a.expect<svm::ConnectedEvent>(svm::ToApp::kConnected).status);
  }
};

TEST_F(SharedPorts, AreOfOneNamespace) {
  ASSERT_TRUE(session::add_namespace(bed.layer->impl(), {.id = "red"}));
  svm::AttachRequest in_red{};
  std::strcpy(in_red.namespace_id, "red");
  TestApp stranger{bed, in_red}, friendly{bed};
  ASSERT_EQ(stranger.reply.status, 0);
  ASSERT_EQ(bind(app), Status::kOk);
  EXPECT_EQ(bind(stranger), Status::kInUse);
  EXPECT_EQ(bind(friendly), Status::kOk);
}

}  // namespace
}  // namespace loom::test
