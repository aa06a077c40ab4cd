// Datagram sessions from an application's side of the shared memory, over a transport that keeps
// what it is given.
#include "tests/unit/core/session/datagram_bed.h"

namespace loom::test {
namespace {

using session::RuleScope;

TEST_F(DatagramTest, ABoundSessionOpensAtOnceAndGetsAPort) {
  auto c = open(0);
  EXPECT_NE(bound.port, 0);
  EXPECT_EQ(transport.connections[0].ends.remote_port, 0);
  EXPECT_EQ(lookup({{10, 0, 0, 1}}, Be16::from_raw(bound.port), {{192, 0, 2, 3}}, 7).kind,
            FlowKind::kBound);
}

TEST_F(DatagramTest, TheConnectedComeFirstThenTheAddressThenAnyAddress) {
  svm::Endpoint exact = any(53);
  exact.ip[0] = 10;
  exact.ip[3] = 1;
  svm::Endpoint peer = any(7);
  peer.ip[0] = 192;
  ASSERT_EQ(ask_open(app, exact, peer).status, 0);      // 0
  ASSERT_EQ(ask_open(app, any(53), any(0)).status, 0);  // 1
  ASSERT_EQ(ask_open(app, exact, any(0)).status, 0);    // 2
  EXPECT_EQ(lookup({{10, 0, 0, 1}}, 53, {{192, 0, 0, 0}}, 7).conn, 0u);
  EXPECT_EQ(lookup({{10, 0, 0, 1}}, 53, {{192, 0, 0, 0}}, 8).conn, 2u);
  EXPECT_EQ(lookup({{10, 0, 0, 2}}, 53, {{192, 0, 0, 0}}, 7).conn, 1u);
  EXPECT_EQ(lookup({{10, 0, 0, 2}}, 54, {{192, 0, 0, 0}}, 7).kind, FlowKind::kNone);
}

TEST_F(DatagramTest, APortThatIsTakenAndAnAddressThatIsNobodysAreRefused) {
  auto c = open(53);
  EXPECT_EQ(static_cast<Status>(ask_open(app, any(53), any(0)).status), Status::kInUse);
  svm::Endpoint foreign = any(54);
  foreign.ip[0] = 11;
  EXPECT_EQ(static_cast<Status>(ask_open(app, foreign, any(0)).status), Status::kNotFound);
  svm::Endpoint nonsense = any(55);
  nonsense.is_ip4 = 2;
  EXPECT_EQ(static_cast<Status>(ask_open(app, nonsense, any(0)).status), Status::kInvalid);
  EXPECT_EQ(bed.counter("bad-request"), 1u);
}

TEST_F(DatagramTest, BoundariesAreKeptWhenSending) {
  auto c = open();
  std::vector<std::string> all;
  for (const std::size_t n : {0, 1, 511, 512, 513, 5000, 65'000, 3}) all.push_back(pattern(n));
  for (const std::string& s : all)
    ASSERT_EQ(put(*c, header(static_cast<uint32_t>(s.size())), s),
              s.size() + sizeof(DatagramHeader));
  ASSERT_EQ(transport.sent.size(), all.size());
  for (std::size_t i = 0; i < all.size(); ++i) {
    EXPECT_EQ(transport.sent[i].payload, all[i]) << i;
    EXPECT_EQ(transport.sent[i].d.ends.remote.str(), "192.0.0.9");
    EXPECT_EQ(transport.sent[i].d.ends.remote_port, 9000);
    EXPECT_TRUE(transport.sent[i].d.ends.local.is_zero());
  }
  EXPECT_EQ(c->tx.refresh(), c->tx.size());  // nothing is left in the fifo
  EXPECT_EQ(bed.counter("sent"), all.size());
  EXPECT_EQ(bed.buffers_in_use(), 0u);
}

TEST_F(DatagramTest, BoundariesAreKeptWhenReceiving) {
  auto c = open();
  for (const std::size_t n : {0, 1, 1500, 1501, 60'000}) {
    ASSERT_EQ(receive(pattern(n)), Status::kOk);
    const auto got = take(*c);
    ASSERT_TRUE(got);
    EXPECT_EQ(got->payload, pattern(n));
    EXPECT_EQ(got->h.flags, svm::kDatagramKnownFlags);
    EXPECT_EQ(got->h.is_ip4, 1);
    EXPECT_EQ(got->h.tos, 0xb8);
    EXPECT_EQ(got->h.ttl, 61);
    EXPECT_EQ(got->h.interface, 4u);
    EXPECT_EQ(got->h.local_port, Be16(53).raw());
    EXPECT_EQ(got->h.remote_port, Be16(7).raw());
    EXPECT_EQ(got->h.local_ip[0], 10);
    EXPECT_EQ(got->h.remote_ip[0], 192);
    EXPECT_FALSE(take(*c));
  }
}

TEST_F(DatagramTest, ASleeperIsToldOnce) {
  auto c = open();
  ASSERT_TRUE(c->rx.arm());
  EXPECT_EQ(receive("one"), Status::kOk);
  EXPECT_EQ(receive("two"), Status::kOk);
  EXPECT_EQ(app.expect<svm::SessionEvent>(svm::ToApp::kRx).handle, c->handle);
  EXPECT_TRUE(app.no_event());
}

TEST_F(DatagramTest, WhatDoesNotFitIsDroppedWhole) {
  auto c = open();
  const std::string block = pattern(30'000);
  uint32_t kept = 0;
  while (receive(block) == Status::kOk) ++kept;
  EXPECT_EQ(kept, (256u << 10) / (30'000 + sizeof(DatagramHeader)));
  EXPECT_EQ(receive(block), Status::kAgain);
  EXPECT_EQ(receive("small"), Status::kOk);  // there is room for this one
  for (uint32_t i = 0; i < kept; ++i) EXPECT_EQ(take(*c)->payload, block);
  EXPECT_EQ(take(*c)->payload, "small");
  EXPECT_FALSE(take(*c));
  EXPECT_EQ(receive(block), Status::kOk);
}

TEST_F(DatagramTest, AnErrorKeepsItsPlaceAmongWhatCame) {
  auto c = open();
  EXPECT_EQ(receive("before"), Status::kOk);
  ASSERT_TRUE(c->rx.arm(c->rx.refresh()));
  worker().sessions->soft_error(worker(), transport.connections[0].session, ResetReason::kRefused);
  bed.pump();
  EXPECT_EQ(app.expect<svm::SessionEvent>(svm::ToApp::kRx).handle, c->handle);
  EXPECT_EQ(receive("behind"), Status::kOk);
  EXPECT_EQ(take(*c)->payload, "before");
  const auto error = take(*c);
  EXPECT_EQ(error->h.flags, svm::kDatagramError);
  EXPECT_EQ(error->h.error, ECONNREFUSED);
  EXPECT_EQ(take(*c)->payload, "behind");
}

TEST_F(DatagramTest, ALargeOneIsCutWhereTheApplicationSays) {
  auto c = open();
  DatagramHeader h = header(2500);
  h.gso_size = 1000;
  put(*c, h, pattern(2500));
  ASSERT_EQ(transport.sent.size(), 3u);
  EXPECT_EQ(transport.sent[0].payload + transport.sent[1].payload + transport.sent[2].payload,
            pattern(2500));
  EXPECT_EQ(transport.sent[1].payload.size(), 1000u);
  EXPECT_EQ(transport.sent[2].payload.size(), 500u);
  h = header(128);
  h.gso_size = 1;
  put(*c, h, pattern(128));
  EXPECT_EQ(transport.sent.size(), 3u + 128u);
}

TEST_F(DatagramTest, BytesStayInTheFifoUntilTheyHaveLeft) {
  auto c = open();
  transport.holds = true;
  const std::string big = pattern(10'000);
  put(*c, header(10'000), big);
  put(*c, header(3), "abc");
  ASSERT_EQ(transport.sent.size(), 2u);
  EXPECT_LT(c->tx.refresh(), c->tx.size());
  for (Buffer* b : transport.held) worker().free(b);
  bed.pump();
  EXPECT_EQ(c->tx.refresh(), c->tx.size());
}

TEST_F(DatagramTest, WhatWasWrittenBeforeCloseIsSentAndThenThePortIsFree) {
  auto c = open();
  for (int i = 0; i < 100; ++i) {  // more than one visit sends
    std::string bytes(reinterpret_cast<const char*>(std::array{header(4)}.data()),
                      sizeof(DatagramHeader));
    c->tx.enqueue(svm::bytes_of((bytes + "last").data(), bytes.size() + 4));
  }
  EXPECT_EQ(receive("never read"), Status::kOk);
  app.close(*c);
  EXPECT_EQ(transport.sent.size(), 100u);
  EXPECT_EQ(transport.closed, 1u);
  EXPECT_EQ(transport.aborted, 0u);
  EXPECT_EQ(lookup({{10, 0, 0, 1}}, 53, {{192, 0, 2, 3}}, 7).kind, FlowKind::kNone);
  EXPECT_EQ(bed.layer->stats().per_worker[0], 0u);
  open(53);
}

TEST_F(DatagramTest, AnApplicationThatDiesLeavesNothing) {
  auto c = open();
  EXPECT_EQ(receive("unread"), Status::kOk);
  app.die();
  bed.pump();
  EXPECT_EQ(transport.closed + transport.aborted, 1u);
  EXPECT_EQ(bed.layer->stats().per_worker[0], 0u);
}

TEST_F(DatagramTest, AnOpenSessionChangesItsPeer) {
  auto c = open();
  svm::PeerEvent e{};
  e.handle = c->handle;
  e.context = 9;
  e.remote = any(7);
  e.remote.ip[0] = 192;
  app.push(svm::ToDaemon::kSetPeer, e);
  auto answer = app.expect<svm::ConnectedEvent>(svm::ToApp::kConnected);
  EXPECT_EQ(answer.status, 0);
  EXPECT_EQ(answer.context, 9u);
  EXPECT_EQ(answer.handle, c->handle);
  EXPECT_EQ(answer.remote.port, Be16(7).raw());
  EXPECT_EQ(answer.local.port, Be16(53).raw());
  // Now it need not say where to.
  DatagramHeader h{};
  h.length = 2;
  put(*c, h, "hi");
  ASSERT_EQ(transport.sent.size(), 1u);
  EXPECT_FALSE(transport.sent[0].d.flags & kDatagramRemote);
  for (const auto& [port, handle, status] :
       {std::tuple{uint16_t{9}, c->handle, Status::kUnreachable},
        std::tuple{uint16_t{7}, c->handle + 1, Status::kNotConnected}}) {
    e.remote.port = Be16(port).raw();
    e.handle = handle;
    app.push(svm::ToDaemon::kSetPeer, e);
    answer = app.expect<svm::ConnectedEvent>(svm::ToApp::kConnected);
    EXPECT_EQ(static_cast<Status>(answer.status), status);
  }
  e.handle = c->handle;
  e.remote.is_ip4 = 3;
  app.push(svm::ToDaemon::kSetPeer, e);
  answer = app.expect<svm::ConnectedEvent>(svm::ToApp::kConnected);
  EXPECT_EQ(static_cast<Status>(answer.status), Status::kInvalid);
}

// The requests are looked at together.
TEST_F(DatagramTest, WhatWasWrittenBeforeAChangeOfPeerGoesToTheOldOne) {
  auto c = open();
  svm::PeerEvent e{};
  e.handle = c->handle;
  e.remote = any(7);
  e.remote.ip[0] = 192;
  app.push(svm::ToDaemon::kSetPeer, e);
  DatagramHeader h{};
  for (int i = 0; i < 100; ++i) c->tx.enqueue(std::as_bytes(std::span(&h, 1)));
  ASSERT_EQ(app.requests.push(svm::ToDaemon::kTx, svm::SessionEvent{c->handle, 0}),
            svm::MqProducer::Push::kOk);
  e.remote.port = Be16(8).raw();
  app.push(svm::ToDaemon::kSetPeer, e);
  ASSERT_EQ(transport.sent.size(), 100u);
  for (const auto& s : transport.sent) EXPECT_EQ(s.peer, 7);
  put(*c, h, "");
  EXPECT_EQ(transport.sent.back().peer, 8);
}

TEST_F(DatagramTest, APortThatIsClosedCanBeBoundByTheNextRequest) {
  auto c = open(53);
  DatagramHeader h = header(0);
  c->tx.enqueue(std::as_bytes(std::span(&h, 1)));
  c->shared->holders.store(0);
  ASSERT_EQ(app.requests.push(svm::ToDaemon::kClose, svm::SessionEvent{c->handle, 0}),
            svm::MqProducer::Push::kOk);
  EXPECT_EQ(ask_open(app, any(53), any(0)).status, 0);
  EXPECT_EQ(transport.sent.size(), 1u);
}

TEST_F(DatagramTest, APeerDoesNotTakeAPortThatAnotherHasBound) {
  auto c = open(53);
  svm::Endpoint peer = any(7);
  peer.ip[0] = 192;
  EXPECT_EQ(static_cast<Status>(ask_open(app, any(53), peer).status), Status::kInUse);
  EXPECT_EQ(lookup({{10, 0, 0, 7}}, 53, {{192, 0, 0, 0}}, 7).kind, FlowKind::kBound);
  EXPECT_EQ(ask_open(app, any(54), peer).status, 0);
}

TEST_F(DatagramTest, AStreamHasNoPeerToChange) {
  ASSERT_EQ(app.listen(80).status, 0);
  auto client = app.connect(80);
  auto server = app.accept();
  svm::PeerEvent e{};
  e.handle = client->handle;
  e.remote = any(7);
  app.push(svm::ToDaemon::kSetPeer, e);
  const auto answer = app.expect<svm::ConnectedEvent>(svm::ToApp::kConnected);
  EXPECT_EQ(static_cast<Status>(answer.status), Status::kUnsupported);
}

TEST_F(DatagramTest, RulesAndTheDenyListConcernDatagrams) {
  auto c = open();
  session::Filters& filters = *bed.layer->impl().filters;
  const auto denied = [&] { return lookup({{10, 0, 0, 1}}, 53, {{192, 0, 2, 3}}, 7).kind; };
  ASSERT_EQ(denied(), FlowKind::kBound);
  session::RuleSpec rule;
  rule.transport = bed.transports.find_proto(Transport::kProto);
  rule.action = session::kActionDrop;
  rule.scope = RuleScope::kLocal;
  rule.match.local = *IpPrefix::parse("0.0.0.0/0");
  rule.match.remote = *IpPrefix::parse("192.0.0.9/32");
  ASSERT_TRUE(filters.add(rule));
  put(*c, header(2), "no");
  EXPECT_EQ(bed.counter("datagram-denied"), 1u);
  EXPECT_TRUE(transport.sent.empty());
  rule.scope = RuleScope::kGlobal;
  rule.match.remote = *IpPrefix::parse("192.0.2.0/24");
  ASSERT_TRUE(filters.add(rule));
  EXPECT_EQ(denied(), FlowKind::kDenied);
}

// kUnsupported would send the application past the rule, over the kernel.
TEST_F(DatagramTest, ARedirectIsARefusal) {
  ASSERT_EQ(app.listen(80).status, 0);
  session::RuleSpec rule;
  rule.transport = bed.transports.find_proto(Transport::kProto);
  rule.action = 0;  // the only application
  rule.scope = RuleScope::kLocal;
  rule.match.local = *IpPrefix::parse("0.0.0.0/0");
  rule.match.remote = *IpPrefix::parse("192.0.0.0/8");
  ASSERT_TRUE(bed.layer->impl().filters->add(rule));
  svm::Endpoint peer = any(7);
  peer.ip[0] = 192;
  EXPECT_EQ(static_cast<Status>(ask_open(app, any(54), peer).status), Status::kRefused);
}

TEST_F(DatagramTest, BuffersThatRunOutPutSendingOffAndLoseNothing) {
  auto c = open();
  std::vector<Buffer*> taken;
  while (Buffer* b = worker().alloc()) taken.push_back(b);
  DatagramHeader h = header(2500);
  h.gso_size = 1000;
  std::string bytes(reinterpret_cast<const char*>(&h), sizeof h);
  bytes += pattern(2500);
  ASSERT_EQ(c->tx.enqueue(svm::bytes_of(bytes.data(), bytes.size())), bytes.size());
  ASSERT_TRUE(c->tx.should_notify());
  ASSERT_EQ(app.requests.push(svm::ToDaemon::kTx, svm::SessionEvent{c->handle, 0}),
            svm::MqProducer::Push::kOk);
  for (int i = 0; i < 5; ++i) bed.engine->step();
  EXPECT_GE(bed.counter("no-buffers"), 1u);
  EXPECT_TRUE(transport.sent.empty());
  worker().free(taken);
  bed.pump();
  ASSERT_EQ(transport.sent.size(), 3u);
  EXPECT_EQ(transport.sent[0].payload + transport.sent[1].payload + transport.sent[2].payload,
            pattern(2500));
}

}  // namespace
}  // namespace loom::test
