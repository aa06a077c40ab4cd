// Datagram sessions from an application's side of the shared memory, over a transport that keeps
// what it is given.
#include <random>

#include "tests/unit/core/session/datagram_transport.h"
#include "tests/unit/core/session/test_app.h"

namespace loom::test {
namespace {

using session::RuleScope;
using svm::DatagramHeader;

using Transport = DatagramTransport;

struct DatagramTest : testing::Test {
  DatagramTest() {
    EXPECT_TRUE(bed.transports.add(transport.ops()));
    worker().net = &kDatagramNet;
  }
  Worker& worker() { return bed.engine->worker(0); }

  svm::ConnectedEvent ask_open(TestApp& a, svm::Endpoint local, svm::Endpoint remote) {
    svm::ConnectEvent e{};
    e.context = 5;
    e.proto = Transport::kProto;
    e.local = local;
    e.remote = remote;
    a.push(svm::ToDaemon::kConnect, e);
    const auto c = a.expect<svm::ConnectedEvent>(svm::ToApp::kConnected);
    EXPECT_EQ(c.context, 5u);
    return c;
  }
  static svm::Endpoint any(uint16_t port) {
    svm::Endpoint e{};
    e.is_ip4 = 1;
    e.port = Be16(port).raw();
    return e;
  }
  std::unique_ptr<TestApp::Connection> open(uint16_t port = 53) {
    const auto c = ask_open(app, any(port), any(0));
    EXPECT_EQ(c.status, 0);
    bound = c.local;
    return app.connection(c.handle, c.session);
  }
  // What a well-behaved application does.
  static DatagramHeader header(uint32_t length, uint16_t port = 9000) {
    DatagramHeader h{};
    h.length = length;
    h.flags = kDatagramRemote;
    h.is_ip4 = 1;
    h.remote_port = Be16(port).raw();
    h.remote_ip[0] = 192;
    h.remote_ip[3] = 9;
    return h;
  }
  uint32_t put(TestApp::Connection& c, const DatagramHeader& h, std::string_view payload) {
    std::string bytes(reinterpret_cast<const char*>(&h), sizeof h);
    bytes += payload;
    return app.write(c, bytes);
  }
  Status receive(std::string_view payload, uint16_t port = 7, ConnId conn = 0) {
    Datagram d;
    d.ends.local = Ip4Address{{10, 0, 0, 1}};
    d.ends.remote = Ip4Address{{192, 0, 2, 3}};
    d.ends.local_port = 53;
    d.ends.remote_port = port;
    d.tos = 0xb8;
    d.ttl = 61;
    d.interface = 4;
    Buffer* first = nullptr;
    Buffer* last = nullptr;
    std::size_t done = 0;
    do {  // the payload behind 8 bytes that are not its own
      Buffer* b = worker().alloc();
      const std::size_t skip = first ? 0 : 8;
      const std::size_t n = std::min<std::size_t>(payload.size() - done, 1500);
      std::memset(b->append(static_cast<uint32_t>(skip)), 0xee, skip);
      std::memcpy(b->append(static_cast<uint32_t>(n)), payload.data() + done, n);
      done += n;
      if (!first) {
        first = last = b;
      } else {
        last->next = b;
        last = b;
        first->rest_len += b->len;
      }
    } while (done < payload.size());
    const Status s =
        worker().sessions->rx_datagram(worker(), transport.connections.at(conn).session, d, *first,
                                       8, static_cast<uint32_t>(payload.size()));
    worker().free(first);
    bed.pump();
    return s;
  }
  struct Got {
    DatagramHeader h{};
    std::string payload;
  };
  std::optional<Got> take(TestApp::Connection& c) {
    Got g;
    const uint32_t ready = c.rx.refresh();
    if (ready == 0) return std::nullopt;
    EXPECT_GE(ready, sizeof g.h);
    c.rx.dequeue(std::as_writable_bytes(std::span(&g.h, 1)));
    EXPECT_LE(g.h.length, ready - sizeof g.h);
    g.payload.resize(g.h.length);
    c.rx.dequeue(std::as_writable_bytes(std::span(g.payload)));
    return g;
  }
  FlowMatch lookup(Ip4Address local, uint16_t port, Ip4Address remote, uint16_t remote_port) {
    FlowKey4 k{};
    k.local = local;
    k.remote = remote;
    k.local_port = port;
    k.remote_port = remote_port;
    k.protocol = Transport::kIpProtocol;
    FlowMatch m;
    worker().sessions->lookup4(worker(), {&k, 1}, &m);
    return m;
  }
  static std::string pattern(std::size_t n) {
    std::string s(n, 0);
    for (std::size_t i = 0; i < n; ++i) s[i] = static_cast<char>(i * 13 + i / 253);
    return s;
  }

  Transport transport;
  SessionBed bed;
  TestApp app{bed, [] {
                svm::AttachRequest r{};
                r.rx_fifo_size = r.tx_fifo_size = 256 << 10;
                return r;
              }()};
  svm::Endpoint bound{};
};

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

TEST_F(DatagramTest, ErrorsThatNobodyReadsAreOne) {
  auto c = open();
  const auto fail = [&] {
    worker().sessions->soft_error(worker(), transport.connections[0].session,
                                  ResetReason::kRefused);
  };
  for (int turn = 0; turn < 3; ++turn) {
    for (int i = 0; i < 1000; ++i) fail();
    EXPECT_EQ(receive("data"), Status::kOk);
    fail();
    EXPECT_EQ(take(*c)->h.error, ECONNREFUSED);
    EXPECT_EQ(take(*c)->payload, "data");
    EXPECT_FALSE(take(*c));
  }
}

TEST_F(DatagramTest, ErrorsForTheQueueAreBounded) {
  auto c = open();
  DatagramError e;
  e.ends.remote = Ip4Address{{192, 0, 2, 3}};
  e.ends.remote_port = 7;
  e.offender = Ip4Address{{10, 9, 9, 9}};
  e.error = EHOSTUNREACH;
  e.origin = 2;
  e.type = 11;
  e.info = 1300;
  Buffer* quote = worker().alloc();
  std::memset(quote->append(1000), 'q', 1000);
  const auto fail = [&] {
    const SessionId id = transport.connections[0].session;
    return worker().sessions->datagram_error(worker(), id, e, *quote, 100, 900);
  };
  for (int turn = 0; turn < 3; ++turn) {
    for (uint32_t i = 0; i < svm::kMaxQueuedErrors; ++i) EXPECT_EQ(fail(), Status::kOk);
    EXPECT_EQ(fail(), Status::kAgain);
    EXPECT_EQ(receive("data"), Status::kOk);
    for (uint32_t i = 0; i < svm::kMaxQueuedErrors; ++i) {
      const auto got = take(*c);
      ASSERT_TRUE(got);
      EXPECT_EQ(got->h.flags, svm::kDatagramError | svm::kDatagramQueued);
      EXPECT_EQ(got->h.error, EHOSTUNREACH);
      EXPECT_EQ(got->h.gso_size, 2);
      EXPECT_EQ(got->h.tos, 11);
      EXPECT_EQ(got->h.interface, 1300u);
      EXPECT_EQ(got->h.remote_port, Be16(7).raw());
      EXPECT_EQ(got->h.local_ip[1], 9);
      EXPECT_EQ(got->payload, std::string(svm::kMaxQuoted, 'q'));
    }
    EXPECT_EQ(take(*c)->payload, "data");
  }
  worker().free(quote);
}

// A fifo of rubbish is not walked in one round.
TEST_F(DatagramTest, DatagramsThatMakeNoSenseHaveTheirTurnAsOthersHave) {
  auto c = open();
  DatagramHeader h = header(0);
  h.is_ip4 = 2;
  for (int i = 0; i < 1000; ++i) c->tx.enqueue(std::as_bytes(std::span(&h, 1)));
  ASSERT_EQ(app.requests.push(svm::ToDaemon::kTx, svm::SessionEvent{c->handle, 0}),
            svm::MqProducer::Push::kOk);
  bed.engine->step();
  EXPECT_LE(bed.counter("bad-datagram"), 64u);
  bed.pump();
  EXPECT_EQ(bed.counter("bad-datagram"), 1000u);
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

TEST_F(DatagramTest, FieldsThatMakeNoSenseDropThatDatagramAlone) {
  auto c = open();
  std::vector<DatagramHeader> bad(10, header(4));
  bad[0].flags |= svm::kDatagramError;
  bad[1].flags |= 1u << 6;
  bad[2].is_ip4 = 2;
  bad[3].remote_port = 0;
  std::memset(bad[4].remote_ip, 0, sizeof bad[4].remote_ip);
  bad[5].flags = kDatagramLocal;   // a source, and no destination
  bad[6].flags |= kDatagramLocal;  // a source that is not this host's
  bad[6].local_ip[0] = 11;
  bad[7].length = 200;  // more pieces than 128
  bad[7].gso_size = 1;
  bad[8].flags |= kDatagramLocal;  // the source is ::
  bad[9].flags |= kDatagramTtl;    // of zero
  for (const DatagramHeader& h : bad) put(*c, h, pattern(h.length));
  EXPECT_EQ(bed.counter("bad-datagram"), bad.size());
  EXPECT_TRUE(transport.sent.empty());
  DatagramHeader good = header(4);
  good.flags |= kDatagramLocal | kDatagramTos | kDatagramTtl;
  good.local_ip[0] = 10;
  good.tos = 1;
  good.ttl = 2;
  put(*c, good, "good");
  ASSERT_EQ(transport.sent.size(), 1u);
  EXPECT_EQ(transport.sent[0].payload, "good");
  EXPECT_EQ(transport.sent[0].d.ends.local.str(), "10.0.0.0");
  EXPECT_EQ(transport.sent[0].d.tos, 1);
  EXPECT_EQ(transport.sent[0].d.ttl, 2);
  EXPECT_EQ(bed.counter("app-violation"), 0u);
}

TEST_F(DatagramTest, FramingThatContradictsItselfEndsTheApplication) {
  for (int kind = 0; kind < 3; ++kind) {
    TestApp bad(bed);
    const auto event = ask_open(bad, any(static_cast<uint16_t>(100 + kind)), any(0));
    auto c = bad.connection(event.handle, event.session);
    DatagramHeader h = header(4);
    if (kind == 0) h.length = 5;                      // beyond what was published
    if (kind == 1) h.length = kMaxDatagramBytes + 1;  // no datagram is so long
    std::string bytes(reinterpret_cast<const char*>(&h), sizeof h);
    bytes += "four";
    if (kind == 2) bytes.resize(20);  // not even a header
    c->tx.enqueue(svm::bytes_of(bytes.data(), bytes.size()));
    (void)c->tx.should_notify();
    ASSERT_EQ(bad.requests.push(svm::ToDaemon::kTx, svm::SessionEvent{c->handle, 0}),
              svm::MqProducer::Push::kOk);
    bed.pump();
    EXPECT_EQ(bed.counter("app-violation"), static_cast<uint64_t>(kind + 1));
  }
  EXPECT_TRUE(transport.sent.empty());
  auto c = open();
  EXPECT_EQ(receive("others are well"), Status::kOk);
  EXPECT_EQ(take(*c)->payload, "others are well");
}

TEST_F(DatagramTest, RandomHeadersNeverHurtAnybodyElse) {
  std::mt19937_64 rng(3);
  auto good = open();
  for (int i = 0; i < 200; ++i) {
    TestApp bad(bed);
    const auto event = ask_open(bad, any(0), any(0));
    auto c = bad.connection(event.handle, event.session);
    for (int k = 0; k < 8; ++k) {
      DatagramHeader h = header(static_cast<uint32_t>(rng() % 64));
      auto* raw = reinterpret_cast<unsigned char*>(&h);
      for (int n = 0; n < 3; ++n) raw[rng() % sizeof h] = static_cast<unsigned char>(rng());
      std::string bytes(reinterpret_cast<const char*>(&h), sizeof h);
      bytes += pattern(rng() % 64);
      c->tx.enqueue(svm::bytes_of(bytes.data(), bytes.size()));
    }
    (void)c->tx.should_notify();
    (void)bad.requests.push(svm::ToDaemon::kTx, svm::SessionEvent{c->handle, 0});
    bed.pump();
  }
  EXPECT_EQ(receive("still here"), Status::kOk);
  EXPECT_EQ(take(*good)->payload, "still here");
  EXPECT_EQ(bed.buffers_in_use(), 0u);
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
