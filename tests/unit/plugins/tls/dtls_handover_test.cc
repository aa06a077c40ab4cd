// Handshakes of DTLS whose steps are done by threads of the pool: as the worker would do them.
#include "dtls_pool_bed.h"
#include "listing.h"

namespace loom::tls {
namespace {

using Texts = std::vector<std::string>;

struct DtlsHandover : DtlsPool {
  using DtlsPool::DtlsPool;
  void SetUp() override { ASSERT_EQ(bed.listen(), 0); }
  void expect_echo(DtlsPeer& peer, DtlsBed::Link& far, const std::string& text, uint16_t port = 7,
                   ConnId conn = 0) {
    peer.got.clear();
    peer.write(text);
    carry_out(peer, 1000, port, conn);
    EXPECT_EQ(bed.read(*far), (Texts{text}));
    bed.write(*far, text);
    carry_in(peer, port, conn);
    peer.step();
    EXPECT_EQ(peer.got, (Texts{text}));
  }
};
// Clients with a certificate, whose last flight is of several datagrams.
struct DtlsHandoverFlight : DtlsHandover {
  DtlsHandoverFlight() : DtlsHandover([](Config& c) { c.verify_client = Verify::kRequired; }) {}
  const Pem own = make_certificate({.issuer = &bed.tls.authority});
  DtlsPeer peer{true, [this](SSL_CTX* c) {
                  SSL_CTX_use_certificate(c, own.x509.get());
                  SSL_CTX_use_PrivateKey(c, own.pkey.get());
                }};
  std::string hello;
  void bring_last_flight() {
    SSL_set_mtu(peer.ssl(), 256);
    greet(peer);
    hello = peer.out.front();
    come_to_last_flight(peer);
    ASSERT_GE(peer.out.size(), 3u);
  }
};

TEST_F(DtlsHandover, HandshakesOfServersAreDoneAndBytesGoBothWays) {
  constexpr uint16_t kPeers = 6;
  for (int round = 0; round < 2; ++round) {
    std::deque<DtlsPeer> peers;
    for (uint16_t i = 0; i < kPeers; ++i) greet(peers.emplace_back(true), 1000 + i);
    for (uint16_t i = 0; i < kPeers; ++i) carry_out(peers[i], 1, 1000 + i);
    for (uint16_t i = 0; i < kPeers; ++i) exchange(peers[i], 1000 + i);
    for (uint16_t i = 0; i < kPeers; ++i) {
      ASSERT_TRUE(peers[i].is_open());
      auto far = accepted();
      expect_echo(peers[i], far, "hello", 1000 + i);
      bed.tls.app->close(*far);
    }
  }
  EXPECT_EQ(stat(dtls::kServerHandshakes), 2u * kPeers);
  EXPECT_GE(stat(dtls::kCryptoSteps), 2 * 2u * kPeers);  // the key exchange, and Finished
  EXPECT_EQ(stat(dtls::kCryptoUnderWay), 0u);
  EXPECT_EQ(stat(dtls::kUnderWay), 0u);
  EXPECT_EQ(stat(dtls::kConnections), 0u);
  EXPECT_EQ(stat(dtls::kPutOffDropped) + stat(dtls::kUnsent) + stat(dtls::kRetransmissions), 0u);
  EXPECT_NE(bed.tls.run("show dtls").text.find("crypto-steps"), std::string::npos);
}

TEST_F(DtlsHandover, HandshakesOfClientsAreDoneAndBytesGoBothWays) {
  const Pem own = make_certificate({.names = "IP:192.0.2.3", .issuer = &bed.tls.authority});
  DtlsPeer peer(false, [&](SSL_CTX* c) {
    SSL_CTX_use_certificate(c, own.x509.get());
    SSL_CTX_use_PrivateKey(c, own.pkey.get());
  });
  bed.start_connect();
  EXPECT_EQ(stat(dtls::kCryptoSteps), 0u);  // there is no key in a first flight
  exchange(peer, 443, 1);
  const auto c = bed.tls.outcome();
  ASSERT_EQ(c.status, 0);
  EXPECT_GE(stat(dtls::kCryptoSteps), 2u);
  auto link = bed.tls.app->connection(c.handle, c.session);
  expect_echo(peer, link, "question", 443, 1);
}

TEST_F(DtlsHandover, WhatComesForAClientMeanwhileWaitsInItsFifo) {
  const Pem own = make_certificate({.names = "IP:192.0.2.3", .issuer = &bed.tls.authority});
  DtlsPeer peer(false, [&](SSL_CTX* c) {
    SSL_CTX_use_certificate(c, own.x509.get());
    SSL_CTX_use_PrivateKey(c, own.pkey.get());
  });
  SSL_set_mtu(peer.ssl(), 256);
  bed.start_connect();
  carry_in(peer, 443, 1);
  peer.step();
  ASSERT_GE(peer.out.size(), 3u);
  block();
  carry_out(peer, 1000, 443, 1);
  EXPECT_EQ(stat(dtls::kCryptoSteps), 1u);
  EXPECT_EQ(stat(dtls::kPutOff) + worker().kept, 0u);
  release();
  settle();
  carry_in(peer, 443, 1);
  peer.step();
  EXPECT_TRUE(peer.is_open());
}

TEST_F(DtlsHandover, ThreadsComeWithTheFirstListenerOfDtls) { EXPECT_TRUE(pool().is_running()); }

TEST_F(DtlsHandover, AServerThatIsNotBelievedIsToldAndCounted) {
  const Pem other = make_certificate({.names = "IP:192.0.2.3"});  // nobody signed it
  DtlsPeer peer(false, [&](SSL_CTX* c) {
    SSL_CTX_use_certificate(c, other.x509.get());
    SSL_CTX_use_PrivateKey(c, other.pkey.get());
  });
  bed.start_connect();
  exchange(peer, 443, 1);
  EXPECT_EQ(static_cast<Status>(bed.tls.outcome().status), Status::kPermission);
  EXPECT_EQ(stat(dtls::kVerifyFailed), 1u);
  EXPECT_EQ(stat(dtls::kHandshakesFailed), 1u);
  EXPECT_EQ(ERR_GET_REASON(ERR_peek_last_error()), 0);
  EXPECT_EQ(stat(dtls::kConnections), 0u);
}

TEST_F(DtlsHandover, TheWorkerGoesOnWhileAKeyIsAtWork) {
  DtlsPeer open(true), late(true);
  exchange(open, 8);
  auto near = accepted();
  greet(late);
  block();
  const uint64_t steps = stat(dtls::kCryptoSteps);
  carry_out(late);
  EXPECT_EQ(stat(dtls::kUnderWay), 1u);
  EXPECT_EQ(stat(dtls::kCryptoSteps), steps + 1);
  expect_echo(open, near, "not held up", 8);
  // Somebody new is greeted, too: cookies are the worker's.
  DtlsPeer other(true);
  bed.carry(other, 1, 9);
  EXPECT_EQ(other.in.size(), 1u);
  EXPECT_EQ(stat(dtls::kUnderWay), 1u);
  EXPECT_TRUE(bed.sent().empty());
  release();
  exchange(late);
  auto far = accepted();
  expect_echo(late, far, "at last");
}

TEST_F(DtlsHandoverFlight, WhatComesMeanwhileIsKeptAndHasItsTurnInOrder) {
  bring_last_flight();
  const std::size_t n = peer.out.size();
  block();
  carry_out(peer, 1);
  const uint64_t steps = stat(dtls::kCryptoSteps), kept = stat(dtls::kPutOff);
  carry_out(peer);
  EXPECT_EQ(stat(dtls::kCryptoSteps), steps);
  EXPECT_EQ(stat(dtls::kPutOff), kept + n - 1);
  EXPECT_GT(worker().kept, 0u);
  release();
  settle();
  EXPECT_EQ(worker().kept, 0u);
  carry_in(peer);
  peer.step();
  ASSERT_TRUE(peer.is_open());
  auto far = accepted();
  expect_echo(peer, far, "all of it");
  EXPECT_EQ(stat(dtls::kPutOffDropped), 0u);
}

TEST_F(DtlsHandoverFlight, WhatIsKeptIsBoundedOfEachAndWhatIsLostComesAgain) {
  bring_last_flight();
  block();
  carry_out(peer, 1);
  for (int i = 0; i < 300; ++i) bed.deliver(hello);
  carry_out(peer);
  EXPECT_LE(worker().kept, dtls::kMostKept);
  EXPECT_GE(worker().kept, dtls::kMostKept - 1400);
  EXPECT_GE(stat(dtls::kPutOffDropped), 100u);
  release();
  settle();
  EXPECT_EQ(worker().kept, 0u);
  EXPECT_EQ(stat(dtls::kServerHandshakes), 0u);
  openssl_now = &kLater;  // the peer's timer brings its flight again
  exchange(peer);
  EXPECT_TRUE(peer.is_open());
}

TEST_F(DtlsHandover, WhatIsKeptIsBoundedOfAll) {
  constexpr uint16_t kPeers = 15;
  block();
  std::deque<DtlsPeer> peers;
  for (uint16_t i = 0; i < kPeers; ++i) {
    greet(peers.emplace_back(true), 1000 + i);
    carry_out(peers[i], 1, 1000 + i);
  }
  ASSERT_EQ(stat(dtls::kUnderWay), kPeers);
  std::string junk(15'000, 0);
  junk.replace(0, 13, std::string("\x16\xfe\xfd\0\0\0\0\0\0\0\x7f\x3a\x8b", 13));
  for (uint16_t i = 0; i < kPeers; ++i)
    for (int k = 0; k < 2; ++k) bed.deliver(junk, 1000 + i);
  EXPECT_GE(worker().kept, 14 * 30'000u);
  for (uint16_t i = 0; i < kPeers; ++i)
    for (int k = 0; k < 10; ++k) bed.deliver(junk.substr(0, 2'000), 1000 + i);
  EXPECT_GT(stat(dtls::kPutOffDropped), 0u);
  EXPECT_LE(worker().kept, dtls::kMostKeptOfAll);
  pump(11 * kSecond);  // all are given up
  EXPECT_EQ(stat(dtls::kUnderWay), 0u);
  EXPECT_EQ(worker().kept, 0u);
  release();
  settle();
}

// RFC 6347 section 4.2.4: the time of a flight begins when it is sent.
TEST_F(DtlsHandover, AFlightsTimeBeginsWhenTheStepIsBack) {
  DtlsPeer peer(true);
  greet(peer);
  block();
  carry_out(peer);
  pump(5 * kSecond);
  EXPECT_TRUE(bed.sent().empty());
  release();
  settle();
  EXPECT_FALSE(bed.sent().empty());  // and is lost
  pump(900 * kMillisecond);
  EXPECT_EQ(stat(dtls::kRetransmissions), 0u);
  pump(200 * kMillisecond);
  EXPECT_EQ(stat(dtls::kRetransmissions), 1u);
  pump(1900 * kMillisecond);
  EXPECT_EQ(stat(dtls::kRetransmissions), 1u);
  pump(200 * kMillisecond);
  EXPECT_EQ(stat(dtls::kRetransmissions), 2u);
  carry_in(peer);
  exchange(peer);
  EXPECT_TRUE(peer.is_open());
}

TEST_F(DtlsHandover, NothingIsSentAgainWhileAThreadHasIt) {
  DtlsPeer peer(true);
  come_to_last_flight(peer);
  block();
  pump(900 * kMillisecond);
  carry_out(peer);
  pump(5 * kSecond);
  EXPECT_EQ(stat(dtls::kRetransmissions), 0u);
  EXPECT_TRUE(bed.sent().empty());
  release();
  settle();
  EXPECT_EQ(stat(dtls::kRetransmissions), 0u);  // it has come to its end
  exchange(peer);
  EXPECT_TRUE(peer.is_open());
  pump(5 * kSecond);
  EXPECT_EQ(stat(dtls::kRetransmissions), 0u);
}

// What a step that changes nothing leaves is the timer of before.
TEST_F(DtlsHandover, ATimerThatHasRunOutMeanwhileSendsTheFlightOnce) {
  DtlsPeer peer(true);
  come_to_last_flight(peer);
  std::string part = peer.out.front().substr(0, 40);  // no whole record: nothing comes of it
  block();
  bed.deliver(part);
  pump(2 * kSecond);
  EXPECT_EQ(stat(dtls::kRetransmissions), 0u);
  release();
  settle();
  pump(2 * kMillisecond);
  EXPECT_EQ(stat(dtls::kRetransmissions), 1u);
}

TEST_F(DtlsHandover, ASessionIsShownWhileAThreadHasItsHandshake) {
  DtlsPeer peer(true);
  greet(peer);
  block();
  carry_out(peer);
  int n_away = 0;
  for (const auto& c : worker().connections) {
    if (!c || !is_away(*c)) continue;
    ++n_away;
    std::string text, value;
    dtls::kTransportOps.describe(worker().w, c->self, text);
    EXPECT_EQ(text, "  tls: handshake\n");
    const auto which = static_cast<uint32_t>(SessionProperty::kVersion);
    EXPECT_EQ(dtls::kTransportOps.property(worker().w, c->self, which, value),
              Status::kNotConnected);
    ConnectionInfo info;
    dtls::kTransportOps.info(worker().w, c->self, info);
    EXPECT_EQ(info.snd_mss, 0u);
  }
  EXPECT_EQ(n_away, 1);
  EXPECT_NE(bed.tls.run("show tls connections").text.find("handshake"), std::string::npos);
  release();
  exchange(peer);
  EXPECT_TRUE(peer.is_open());
}

// More than a worker's share of clients are there, and no thread has looked at one yet.
struct DtlsHandoverShare : DtlsPool {
  static constexpr uint16_t kShare = 64, kMore = 6;
  void SetUp() override {
    // The backlog is 16: so these come by listeners of their own.
    for (uint16_t i = 0; i < 7; ++i)
      ASSERT_EQ(bed.tls.listen(static_cast<uint16_t>(1000 + i), dtls::kProto), 0);
    block();
    for (uint16_t i = 0; i < kShare + kMore; ++i) {
      greet(peers.emplace_back(true), port(i), conn(i));
      if (i == 0) first_hello = peers[0].out.front();
      carry_out(peers.back(), 1, port(i), conn(i));
    }
    ASSERT_EQ(stat(dtls::kCryptoUnderWay), kShare);
    ASSERT_EQ(stat(dtls::kCryptoHeld), kMore);
    ASSERT_EQ(stat(dtls::kUnderWay), kShare + kMore);
  }
  static uint16_t port(uint16_t i) { return static_cast<uint16_t>(2000 + i); }
  static ConnId conn(uint16_t i) { return i / 10u; }
  std::deque<DtlsPeer> peers;
  std::string first_hello;
};

TEST_F(DtlsHandoverShare, TheOthersWaitInOrderAndNoneIsLost) {
  // A handshake of TLS waits behind them.
  ASSERT_EQ(bed.tls.listen(443), 0);
  auto link = bed.tls.connect(443, test::PipeTransport::kProto);
  Peer tls(Peer::Role::kClient);
  (void)tls.shake();
  bed.tls.app->write(*link, tls.records());
  EXPECT_EQ(bed.tls.stat(kCryptoHeld), 1u);
  EXPECT_EQ(bed.tls.stat(kCryptoSteps), 0u);
  release();
  settle();
  until([&] { return bed.tls.stat(kCryptoSteps) == 1 && bed.tls.stat(kCryptoUnderWay) == 0; });
  EXPECT_NE(bed.tls.app->read(*link), "");  // the server's flight
  for (uint16_t i = 0; i < peers.size(); ++i) {
    carry_in(peers[i], port(i), conn(i));
    exchange(peers[i], port(i), conn(i));
    EXPECT_TRUE(peers[i].is_open()) << i;
  }
  EXPECT_EQ(stat(dtls::kServerHandshakes), kShare + kMore);
  EXPECT_EQ(stat(dtls::kPutOffDropped), 0u);
  EXPECT_EQ(worker().kept, 0u);
}

TEST_F(DtlsHandoverShare, ThoseThatWaitMayEndAndTheirPlacesAreOthers) {
  std::vector<ConnId> gone;
  for (const auto& c : worker().connections)
    if (c && c->is_held() && (gone.empty() || gone.size() == 1)) gone.push_back(c->self);
  gone.push_back(3);  // and one that has its turn in the queue
  for (const ConnId id : gone) {
    dtls::Connection& c = worker().get(id);
    dtls::fail(c, Status::kReset, ResetReason::kAborted);
    dtls::settle(c);
  }
  pump();
  EXPECT_EQ(stat(dtls::kCryptoTakenBack), 1u);
  EXPECT_EQ(stat(dtls::kCryptoUnderWay), kShare);  // the first that waited has its place
  EXPECT_EQ(stat(dtls::kUnderWay), kShare + kMore - 3);
  release();
  settle();
  for (uint16_t i = 0; i < peers.size(); ++i) {
    carry_in(peers[i], port(i), conn(i));
    exchange(peers[i], port(i), conn(i));
  }
  EXPECT_GE(stat(dtls::kServerHandshakes), kShare + kMore - 3);
  EXPECT_EQ(worker().kept, 0u);
}

// One who has more to say lets those that wait go first.
TEST_F(DtlsHandoverShare, WhoHasMoreLetsThoseThatWaitGoFirst) {
  for (int k = 0; k < 5; ++k) bed.deliver(first_hello, port(0), conn(0));
  ASSERT_EQ(worker().get(0).kept.size(), 5u);
  release();
  settle();
  EXPECT_EQ(worker().kept, 0u);
  EXPECT_GT(stat(dtls::kCryptoHeld), kMore);
  carry_in(peers[0], port(0), conn(0));
  exchange(peers[0], port(0), conn(0));
  EXPECT_TRUE(peers[0].is_open());
}

}  // namespace
}  // namespace loom::tls
