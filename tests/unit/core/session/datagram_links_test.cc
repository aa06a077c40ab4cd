// Links between datagram sessions of two applications: when there is one, what each end is told of
// it, and that nothing stays of it. The applications read and write the fifos as theirs would.
#include "tests/unit/core/session/datagram_links_bed.h"

namespace loom::test {
namespace {

using session::RuleScope;
using namespace links;

TEST_F(DatagramLinksTest, WhoConnectsToABoundSessionIsLinkedWithIt) {
  Socket s = bind(server, 53), c = connect(client, 53);
  ASSERT_EQ(c.count(svm::kLinkOpen), 1u);
  ASSERT_EQ(s.count(svm::kLinkOpen), 1u);
  // Both were told, and each sees the other by its own address.
  EXPECT_EQ(server.expect<svm::SessionEvent>(svm::ToApp::kRx).handle, s.handle);
  EXPECT_EQ(std::memcmp(&c.slot().local, &c.local, sizeof c.local), 0);
  EXPECT_EQ(std::memcmp(&s.slot().remote, &c.local, sizeof c.local), 0);
  const svm::Endpoint called = at(1, 53);
  EXPECT_EQ(std::memcmp(&s.slot().local, &called, sizeof called), 0);
  EXPECT_EQ(std::memcmp(&c.slot().remote, &called, sizeof called), 0);
  Link from = map(c), to = map(s);
  from.send("question");
  EXPECT_EQ(to.take(), "question");
  to.send("answer");
  EXPECT_EQ(from.take(), "answer");
  // Each rings the worker that owns the other end.
  EXPECT_EQ(from.shared->ends[0].owner.load(), 0u);
  EXPECT_EQ(from.shared->ends[1].owner.load(), 0u);
  EXPECT_TRUE(transport.sent.empty());
}

TEST_F(DatagramLinksTest, TheSessionsKeepTheirTransport) {
  Socket s = bind(server, 53), c = connect(client, 53);
  DatagramHeader h{};
  h.length = 2;
  std::string bytes(reinterpret_cast<const char*>(&h), sizeof h);
  client.write(*c.own, bytes + "hi");
  ASSERT_EQ(transport.sent.size(), 1u);
  EXPECT_EQ(transport.sent[0].payload, "hi");
}

TEST_F(DatagramLinksTest, NobodyIsLinkedWhereStreamsWouldNotBe) {
  Socket s = bind(server, 53);
  TestApp outside(bed, named("outside", svm::kScopeGlobalOnly));
  EXPECT_EQ(connect(outside, 53).table(), nullptr);
  Socket other = bind(outside, 54);
  EXPECT_EQ(connect(client, 54).table(), nullptr);
  EXPECT_EQ(open(client, at(0, 0), at(1, 55)).table(), nullptr);  // nobody there
  svm::Endpoint foreign = at(1, 53);
  foreign.ip[0] = 192;
  EXPECT_EQ(open(client, at(0, 0), foreign).table(), nullptr);
  EXPECT_EQ(s.table(), nullptr);
  EXPECT_TRUE(bed.layer->impl().pairs.empty());
}

TEST_F(DatagramLinksTest, ARuleAgainstTheAnswersKeepsAllOnTheTransport) {
  Socket s = bind(server, 53);
  session::RuleSpec against = rule(RuleScope::kLocal, 53);
  ASSERT_TRUE(filters().add(against));
  Socket c = connect(client, 53);
  EXPECT_EQ(c.count(svm::kLinkOpen), 0u);
  // Against the connect: it is refused.
  std::swap(against.match.local, against.match.remote);
  against.match.local_port = 0;
  ASSERT_TRUE(filters().add(against));
  EXPECT_EQ(static_cast<Status>(ask(client, at(0, 0), at(1, 53)).status), Status::kRefused);
}

TEST_F(DatagramLinksTest, ARuleThatComesLaterEndsTheLinksThatItIsAgainst) {
  Socket s = bind(server, 53), t = bind(server, 54);
  Socket c = connect(client, 53), d = connect(client, 54);
  ASSERT_TRUE(filters().add(rule(RuleScope::kLocal, 53, session::kActionAllow)));
  EXPECT_EQ(c.count(svm::kLinkOpen), 1u);
  ASSERT_TRUE(filters().add(rule(RuleScope::kLocal, 53)));  // instead of the one that allows
  EXPECT_EQ(c.count(svm::kLinkEnded), 1u);
  EXPECT_EQ(s.count(svm::kLinkEnded), 1u);
  EXPECT_EQ(d.count(svm::kLinkOpen), 1u);
  // So does the end of one that has kept another from being against it.
  const session::RuleSpec allow = rule(RuleScope::kLocal, 54, session::kActionAllow);
  ASSERT_TRUE(filters().add(allow));
  ASSERT_TRUE(filters().add(rule(RuleScope::kLocal, 0)));
  EXPECT_EQ(d.count(svm::kLinkOpen), 1u);
  ASSERT_TRUE(filters().del(allow));
  EXPECT_EQ(d.count(svm::kLinkEnded), 1u);
  EXPECT_EQ(t.count(svm::kLinkEnded), 1u);
  // What has no link any more is asked for datagram by datagram.
  DatagramHeader h{};
  h.length = 2;
  const std::string datagram = std::string(reinterpret_cast<const char*>(&h), sizeof h) + "hi";
  client.write(*d.own, datagram);
  EXPECT_EQ(transport.sent.size(), 1u);
  session::RuleSpec against = rule(RuleScope::kLocal, 0);
  std::swap(against.match.local, against.match.remote);
  against.match.remote_port = 54;
  ASSERT_TRUE(filters().add(against));
  client.write(*d.own, datagram);
  EXPECT_EQ(transport.sent.size(), 1u);
  client.write(*c.own, datagram);
  EXPECT_EQ(transport.sent.size(), 2u);
}

// By the transport they are asked for each datagram that comes to a bound session.
TEST_F(DatagramLinksTest, NoLinkIsMadePastRulesOfScopeGlobal) {
  Socket s = bind(server, 53), t = bind(server, 54);
  ASSERT_TRUE(filters().add(rule(RuleScope::kGlobal, 53)));
  Socket c = connect(client, 53);
  EXPECT_EQ(c.count(svm::kLinkOpen), 0u);
  EXPECT_EQ(connect(client, 54).count(svm::kLinkOpen), 1u) << "it is not against this one";
  ASSERT_TRUE(filters().add(rule(RuleScope::kGlobal, 53, session::kActionAllow)));
  ASSERT_EQ(set_peer(c, at(1, 53)), Status::kOk);
  EXPECT_EQ(c.count(svm::kLinkOpen), 1u);
}

TEST_F(DatagramLinksTest, NorPastADenyList) {
  Socket s = bind(server, 53);
  const session::DenyEntry denied{.prefix = *IpPrefix::parse("10.0.0.7/32")};
  ASSERT_TRUE(filters().add_sources(0, {&denied, 1}));
  Socket c = connect(client, 53);  // from 10.0.0.7
  EXPECT_EQ(c.count(svm::kLinkOpen), 0u);
  Socket d = open(client, at(2, 0), at(1, 53));
  EXPECT_EQ(d.count(svm::kLinkOpen), 1u);
}

TEST_F(DatagramLinksTest, RulesOfScopeGlobalThatComeLaterEndLinksToo) {
  Socket s = bind(server, 53), t = bind(server, 54);
  Socket c = connect(client, 53), d = connect(client, 54);
  const session::RuleSpec allow = rule(RuleScope::kGlobal, 54, session::kActionAllow);
  ASSERT_TRUE(filters().add(allow));
  ASSERT_TRUE(filters().add(rule(RuleScope::kGlobal, 53)));
  EXPECT_EQ(c.count(svm::kLinkEnded), 1u);
  EXPECT_EQ(s.count(svm::kLinkEnded), 1u);
  ASSERT_TRUE(filters().add(rule(RuleScope::kGlobal, 0)));
  EXPECT_EQ(d.count(svm::kLinkOpen), 1u);
  ASSERT_TRUE(filters().del(allow));
  EXPECT_EQ(d.count(svm::kLinkEnded), 1u);
  // The other direction counts as well: of what the server sends.
  ASSERT_TRUE(filters().del(rule(RuleScope::kGlobal, 0)));
  Socket e = connect(client, 54);
  ASSERT_EQ(e.count(svm::kLinkOpen), 1u);
  session::RuleSpec answers = rule(RuleScope::kGlobal, 0);
  std::swap(answers.match.local, answers.match.remote);
  answers.match.remote_port = 54;
  ASSERT_TRUE(filters().add(answers));
  EXPECT_EQ(e.count(svm::kLinkEnded), 1u);
}

TEST_F(DatagramLinksTest, SoDoSourcesThatAreDeniedLater) {
  Socket s = bind(server, 53);
  Socket c = connect(client, 53), d = open(client, at(2, 0), at(1, 53));
  const session::DenyEntry all{.prefix = *IpPrefix::parse("10.0.0.0/24")};
  session::DenyEntry but_c{.prefix = *IpPrefix::parse("10.0.0.7/32")};
  session::DenyEntry but_s{.prefix = *IpPrefix::parse("10.0.0.1/32")};
  but_c.action = but_s.action = session::kActionAllow;
  const session::DenyEntry entries[] = {but_c, but_s, all};
  ASSERT_TRUE(filters().add_sources(0, entries));
  EXPECT_EQ(c.count(svm::kLinkOpen), 1u);
  EXPECT_EQ(d.count(svm::kLinkEnded), 1u);
  // One that has let pass what another denies goes.
  ASSERT_TRUE(filters().del_sources(0, {&but_c.prefix, 1}));
  EXPECT_EQ(c.count(svm::kLinkEnded), 1u);
}

TEST_F(DatagramLinksTest, ARuleIsAskedAboutTheLinksOfItsNamespaceAlone) {
  auto& layer = bed.layer->impl();
  session::Namespace& blue = **session::add_namespace(layer, {.id = "blue"});
  svm::AttachRequest r = named("blue server");
  std::strcpy(r.namespace_id, "blue");
  TestApp blue_server(bed, r), blue_client(bed, r);
  Socket s = bind(server, 53), t = bind(blue_server, 54);
  Socket c = connect(client, 53), d = connect(client, 53), e = connect(blue_client, 54);
  ASSERT_EQ(s.count(svm::kLinkOpen), 2u);
  ASSERT_EQ(t.count(svm::kLinkOpen), 1u);
  session::RuleSpec rule;
  rule.transport = bed.transports.find_proto(Transport::kProto);
  rule.action = session::kActionDrop;
  rule.scope = RuleScope::kLocal;
  rule.match.local = rule.match.remote = *IpPrefix::parse("0.0.0.0/0");
  const auto looks = [&] { return std::exchange(layer.workers[0]->open_links.looks, 0); };
  rule.appns = 0;
  rule.match.remote_port = 99;
  ASSERT_TRUE(layer.filters->add(rule));
  EXPECT_EQ(looks(), 2u);
  rule.appns = blue.index;
  rule.match.remote_port = 54;
  ASSERT_TRUE(layer.filters->add(rule));
  EXPECT_EQ(looks(), 1u);
  EXPECT_EQ(t.count(svm::kLinkEnded), 1u);
  EXPECT_EQ(s.count(svm::kLinkOpen), 2u);
  ASSERT_TRUE(layer.filters->del(rule));
  EXPECT_EQ(looks(), 0u);
  // The older of two ends, then the other one, while new ones come.
  client.close(*c.own);
  rule.appns = 0;
  rule.match.remote_port = 98;
  ASSERT_TRUE(layer.filters->add(rule));
  EXPECT_EQ(looks(), 1u);
  Socket f = connect(client, 53);
  client.close(*d.own);
  rule.match.remote_port = 53;
  ASSERT_TRUE(layer.filters->add(rule));
  EXPECT_EQ(looks(), 1u);
  EXPECT_EQ(f.count(svm::kLinkEnded), 1u);
}

TEST_F(DatagramLinksTest, AServerHasALinkWithEachOfItsClientsUpToABound) {
  Socket s = bind(server, 53);
  std::vector<Socket> clients;
  for (uint32_t i = 0; i < svm::kMaxDatagramLinks + 3; ++i) {
    clients.push_back(connect(client, 53));
    forget_events(client);
  }
  EXPECT_EQ(s.count(svm::kLinkOpen), svm::kMaxDatagramLinks);
  EXPECT_EQ(clients[svm::kMaxDatagramLinks - 1].count(svm::kLinkOpen), 1u);
  EXPECT_EQ(clients[svm::kMaxDatagramLinks].count(svm::kLinkOpen), 0u);
  // A place that has become free is used again, under another serial.
  const uint32_t before = s.slot(7).word.load();
  client.close(*clients[7].own);
  EXPECT_EQ(svm::link_state(s.slot(7).word.load()), svm::kLinkEnded);
  done(s, 7);
  EXPECT_EQ(svm::link_state(s.slot(7).word.load()), svm::kLinkFree);
  forget_events(client);
  EXPECT_EQ(connect(client, 53).count(svm::kLinkOpen), 1u);
  EXPECT_EQ(svm::link_state(s.slot(7).word.load()), svm::kLinkOpen);
  EXPECT_NE(s.slot(7).word.load(), before);
}

TEST_F(DatagramLinksTest, WhatWasSentBeforeACloseIsStillRead) {
  Socket s = bind(server, 53), c = connect(client, 53);
  Link from = map(c), to = map(s);
  from.send("last words");
  client.close(*c.own);
  EXPECT_EQ(s.count(svm::kLinkEnded), 1u);
  EXPECT_EQ(to.take(), "last words");
  EXPECT_EQ(links(), 1u);
  done(s);
  EXPECT_EQ(s.count(svm::kLinkFree), svm::kMaxDatagramLinks);
  server.close(*s.own);
  expect_nothing_left();
}

TEST_F(DatagramLinksTest, AnotherPeerEndsTheLinkAndTheSameOneDoesNot) {
  Socket s = bind(server, 53), t = bind(server, 54), c = connect(client, 53);
  ASSERT_EQ(set_peer(c, at(1, 53)), Status::kOk);
  EXPECT_EQ(c.count(svm::kLinkOpen), 1u);
  EXPECT_EQ(c.count(svm::kLinkEnded), 0u);
  ASSERT_EQ(set_peer(c, at(1, 54)), Status::kOk);
  EXPECT_EQ(c.count(svm::kLinkOpen), 1u);
  EXPECT_EQ(c.count(svm::kLinkEnded), 1u);
  EXPECT_EQ(s.count(svm::kLinkEnded), 1u);
  EXPECT_EQ(t.count(svm::kLinkOpen), 1u);
  // A server that takes one of its clients as its peer keeps the link with that one.
  Socket d = connect(client, 54);
  ASSERT_EQ(t.count(svm::kLinkOpen), 2u);
  svm::Endpoint chosen = d.local;
  ASSERT_EQ(set_peer(t, chosen), Status::kOk);
  EXPECT_EQ(d.count(svm::kLinkOpen), 1u);
  EXPECT_EQ(c.count(svm::kLinkOpen), 0u);
  ASSERT_EQ(set_peer(c, at(0, 0)), Status::kOk);
  EXPECT_EQ(c.count(svm::kLinkOpen), 0u);
}

// By the same address other machines are meant on other links (RFC 4007).
TEST_F(DatagramLinksTest, WhoHasOneInterfaceAloneIsLinkedWithNobody) {
  NetOps net = kDatagramNet;
  net.route_group = [](Worker&, const GroupDestination&, RouteInfo*) noexcept {
    return Status::kOk;
  };
  bed.engine->worker(0).net = &net;
  Socket s = bind(server, 53);
  svm::ConnectEvent e = datagram_request(at(0, 0), at(1, 53));
  e.options.interface = 4 + 1;
  client.push(svm::ToDaemon::kConnect, e);
  const auto opened = answer(client);
  ASSERT_EQ(opened.status, 0);
  EXPECT_TRUE(bed.layer->impl().pairs.empty()) << "nor is anything made for it";
  Socket c{&client, opened.handle, opened.local, client.connection(opened.handle, opened.session)};
  EXPECT_EQ(c.table(), nullptr);
  ASSERT_EQ(set_peer(c, at(1, 53)), Status::kOk);
  EXPECT_EQ(c.table(), nullptr);
  Socket d = bind(client, 60, 2);
  set_interface(d, 4);
  ASSERT_EQ(set_peer(d, at(1, 53)), Status::kOk);
  EXPECT_EQ(d.table(), nullptr);
  // It is the same where the other end has one.
  set_interface(s, 4);
  Socket other = connect(client, 53);
  EXPECT_EQ(other.table(), nullptr);
  set_interface(s, kNoIndex);
  set_interface(d, kNoIndex);
  ASSERT_EQ(set_peer(d, at(1, 53)), Status::kOk);
  EXPECT_EQ(d.count(svm::kLinkOpen), 1u);
  bed.engine->worker(0).net = &kDatagramNet;
}

TEST_F(DatagramLinksTest, AnInterfaceEndsTheLinksThatThereAre) {
  Socket s = bind(server, 53), c = connect(client, 53), d = connect(client, 53);
  ASSERT_EQ(s.count(svm::kLinkOpen), 2u);
  Link from = map(c), to = map(s);
  from.send("before");
  set_interface(c, 4);
  EXPECT_EQ(c.count(svm::kLinkEnded), 1u);
  EXPECT_EQ(s.count(svm::kLinkEnded), 1u);
  EXPECT_EQ(d.count(svm::kLinkOpen), 1u);
  for (const auto& end : from.shared->ends) EXPECT_EQ(end.stopped.load(), 0u) << "both say so";
  EXPECT_EQ(to.take(), "before");
  set_interface(s, 4);
  EXPECT_EQ(d.count(svm::kLinkEnded), 1u);
}

TEST_F(DatagramLinksTest, ABoundSessionThatConnectsIsLinkedToo) {
  Socket s = bind(server, 53), c = bind(client, 60, 2);
  ASSERT_EQ(set_peer(c, at(1, 53)), Status::kOk);
  EXPECT_EQ(c.count(svm::kLinkOpen), 1u);
  EXPECT_EQ(s.count(svm::kLinkOpen), 1u);
}

// Its peer has it as its own, from before it was there: no more than that was known of it.
TEST_F(DatagramLinksTest, WhoTakesAsItsPeerOneWhosePeerItIsIsLinked) {
  Socket s = open(server, at(1, 53), at(2, 60));
  EXPECT_EQ(s.table(), nullptr);
  Socket c = bind(client, 60, 2);
  ASSERT_EQ(set_peer(c, at(1, 53)), Status::kOk);
  EXPECT_EQ(c.count(svm::kLinkOpen), 1u);
  EXPECT_EQ(s.count(svm::kLinkOpen), 1u);
}

TEST_F(DatagramLinksTest, OneOfSeveralProcessesDoesNotTakeALinkFromTheOthers) {
  Socket s = bind(server, 53), c = connect(client, 53);
  TestApp child(bed, server);
  s.own->shared->holders.store(1ull << server.reply.worker_index | 1ull
                                                                       << child.reply.worker_index);
  Link from = map(c), to = map(s);
  from.send("for the child");
  const svm::LinkEvent open{s.handle, 0, s.slot().word.load()};
  server.push(svm::ToDaemon::kLinkDone, open);
  EXPECT_EQ(s.count(svm::kLinkEnded), 1u);
  EXPECT_EQ(c.count(svm::kLinkEnded), 1u);
  // Another one had not seen the end either when it said the same.
  child.push(svm::ToDaemon::kLinkDone, open);
  EXPECT_EQ(s.count(svm::kLinkEnded), 1u);
  done(c);
  EXPECT_EQ(links(), 1u);
  EXPECT_EQ(to.take(), "for the child");
  // Who has seen it lets go of it for all.
  done(s);
  EXPECT_EQ(s.count(svm::kLinkFree), svm::kMaxDatagramLinks);
  EXPECT_EQ(links(), 0u);
}

TEST_F(DatagramLinksTest, TheDeathOfAServerIsTold) {
  Socket s = bind(server, 53), c = connect(client, 53);
  Link from = map(c);
  ASSERT_TRUE(c.own->rx.arm());
  forget_events(client);
  server.die();
  bed.pump();
  EXPECT_EQ(client.expect<svm::SessionEvent>(svm::ToApp::kRx).handle, c.handle);
  EXPECT_EQ(c.count(svm::kLinkEnded), 1u);
  DatagramHeader h;
  ASSERT_EQ(c.own->rx.refresh(), sizeof h);
  c.own->rx.dequeue(std::as_writable_bytes(std::span(&h, 1)));
  EXPECT_EQ(h.flags, svm::kDatagramError);
  EXPECT_EQ(h.error, ECONNREFUSED);
  client.close(*c.own);
  expect_nothing_left();
}

TEST_F(DatagramLinksTest, TheLastAnswerOfAServerThatEndsComesFirst) {
  Socket s = bind(server, 53), c = connect(client, 53);
  Link from = map(c), to = map(s);
  from.send("question");
  EXPECT_EQ(to.take(), "question");
  to.send("answer");
  server.die();  // as a program does that has no more to say
  bed.pump();
  EXPECT_EQ(c.own->rx.refresh(), 0u);
  EXPECT_EQ(from.take(), "answer");
  client.close(*c.own);
  expect_nothing_left();
}

TEST_F(DatagramLinksTest, TheDeathOfAClientLeavesWhatItHasSent) {
  Socket s = bind(server, 53), c = connect(client, 53);
  Link from = map(c), to = map(s);
  from.send("still there");
  client.die();
  bed.pump();
  EXPECT_EQ(to.take(), "still there");
  EXPECT_EQ(s.own->rx.refresh(), 0u) << "who has no peer waits for nobody";
  done(s);
  EXPECT_EQ(links(), 0u);
  server.die();
  bed.pump();
  EXPECT_EQ(bed.layer->stats().applications, 0u);
  EXPECT_EQ(bed.layer->stats().segment_bytes, 0u);
}

TEST_F(DatagramLinksTest, AnApplicationTalksToItself) {
  Socket s = bind(server, 53), c = connect(server, 53);
  ASSERT_EQ(c.count(svm::kLinkOpen), 1u);
  EXPECT_NE(c.slot().end, s.slot().end);
  Link from = map(c), to = map(s);
  from.send("to myself");
  EXPECT_EQ(to.take(), "to myself");
  server.die();
  bed.pump();
  expect_nothing_left();
}

TEST_F(DatagramLinksTest, RequestsAboutLinksThatAreNotThereDoNothing) {
  Socket s = bind(server, 53), c = connect(client, 53);
  const uint32_t word = s.slot().word.load(),
                 another = svm::link_word(svm::link_serial(word) + 1, svm::kLinkOpen);
  for (const auto type : {svm::ToDaemon::kLinkDone, svm::ToDaemon::kLinkRing})
    for (const svm::LinkEvent e :
         {svm::LinkEvent{s.handle, 1, word}, svm::LinkEvent{s.handle, ~0u, word},
          svm::LinkEvent{s.handle, 0, another}, svm::LinkEvent{c.handle, 0, word},
          svm::LinkEvent{0, 0, 0}})
      server.push(type, e);
  EXPECT_EQ(s.count(svm::kLinkOpen), 1u);
  EXPECT_EQ(links(), 1u);
  // What it writes into its own table is never read back.
  s.slot().block = ~0ull;
  s.slot().word.store(~0u);
  s.table()->capacity = ~0u;
  s.table()->version.store(0);
  server.die();
  bed.pump();
  client.close(*c.own);
  expect_nothing_left();
}

TEST_F(DatagramLinksTest, WhoCannotRingHasTheDaemonTell) {
  Socket s = bind(server, 53), c = connect(client, 53);
  forget_events(server);
  ASSERT_TRUE(s.own->rx.arm());
  const svm::LinkEvent e{c.handle, 0, c.slot().word.load()};
  for (int i = 0; i < 3; ++i) client.push(svm::ToDaemon::kLinkRing, e);
  EXPECT_EQ(server.expect<svm::SessionEvent>(svm::ToApp::kRx).handle, s.handle);
  EXPECT_TRUE(server.no_event()) << "one is enough until it sleeps again";
}

TEST_F(DatagramLinksTest, AnOperatorsResetEndsThem) {
  Socket s = bind(server, 53), c = connect(client, 53);
  bed.engine->worker(0).sessions->reset(bed.engine->worker(0), session::handle_index(s.handle),
                                        ResetReason::kAborted);
  bed.pump();
  EXPECT_EQ(c.count(svm::kLinkEnded), 1u);
  server.close(*s.own);
  client.close(*c.own);
  expect_nothing_left();
}

TEST(DatagramLinksOfWorkers, AConnectWithoutAPortIsHandledWhereItsPeerLives) {
  Transport transport;
  SessionBed bed({}, SessionBed::Network::kNone, 2,
                 [&](SessionBed& b) { EXPECT_TRUE(b.transports.add(transport.ops())); });
  for (uint32_t i = 0; i < 2; ++i) bed.engine->worker(i).net = &kDatagramNet;
  TestApp server(bed, named("server")), client(bed, named("client"));
  const auto ask = [&](TestApp& a, uint32_t worker, svm::Endpoint local, svm::Endpoint remote) {
    svm::ConnectEvent e{};
    e.proto = Transport::kProto;
    e.local = local;
    e.remote = remote;
    a.ask_worker(worker, svm::ToDaemon::kConnect, e);
    bed.pump();
    const auto c = DatagramLinksTest::answer(a);
    EXPECT_EQ(c.status, 0);
    return std::pair(session::handle_worker(c.handle), a.connection(c.handle, c.session));
  };
  ask(server, 1, at(0, 53), at(0, 0));
  const auto [worker, c] = ask(client, 0, at(0, 0), at(1, 53));
  EXPECT_EQ(worker, 1);
  EXPECT_NE(c->shared->block, 0u);
  EXPECT_EQ(bed.counter("passed-on"), 1u);
  // With one it stays where it was asked for, in turn with what else is asked about that port.
  DatagramLinksTest::forget_events(client);
  const auto [here, d] = ask(client, 0, at(0, 60), at(1, 53));
  EXPECT_EQ(here, 0);
  EXPECT_EQ(d->shared->block, 0u);
}

}  // namespace
}  // namespace loom::test
