// Steps of servers that are dearer to hand over than to do: the worker does them, though there are
// threads; and what looks like one and is not is a thread's.
#include "hello.h"
#include "pool_bed.h"

namespace loom::tls {
namespace {

using Ticket = std::unique_ptr<SSL_SESSION, void (*)(SSL_SESSION*)>;
using More = std::function<void(SSL_CTX*)>;

More with_groups(const char* list) {
  return [list](SSL_CTX* c) { SSL_CTX_set1_groups_list(c, list); };
}
void only_12(SSL_CTX* c) { SSL_CTX_set_max_proto_version(c, TLS1_2_VERSION); }

struct TlsQuick : TlsPool {
  using TlsPool::TlsPool;
  void SetUp() override { ASSERT_EQ(bed.listen(443), 0); }
  // Of a handshake of its own, whose connection has ended.
  Ticket ticket(const More& more = {}) {
    auto link = raw(port);
    Peer peer(Peer::Role::kClient, more);
    exchange(peer, link);
    EXPECT_TRUE(accepted());
    peer.feed(bed.app->read(*link));
    EXPECT_EQ(peer.read(), "");
    bed.app->push(svm::ToDaemon::kReset, link->handle);
    bed.bed.pump();
    SSL_set_shutdown(peer.ssl(), SSL_SENT_SHUTDOWN);  // otherwise it may not be resumed
    return {SSL_get1_session(peer.ssl()), SSL_SESSION_free};
  }
  // With it, while no thread does anything. Whether the handshake is done.
  bool is_the_workers(SSL_SESSION* ticket, const More& more = {}) {
    block();
    auto link = raw(port);
    Peer peer(Peer::Role::kClient, more);
    EXPECT_EQ(SSL_set_session(peer.ssl(), ticket), 1);
    peer.exchange(*bed.app, *link);
    const bool is_done = SSL_is_init_finished(peer.ssl());
    EXPECT_EQ(bed.stat(kCryptoUnderWay), is_done ? 0u : 1u);
    release();
    exchange(peer, link);
    EXPECT_TRUE(SSL_is_init_finished(peer.ssl()));
    is_resumed = SSL_session_reused(peer.ssl()) == 1;
    const auto far = accepted();
    bed.app->write(*far, "here");
    peer.feed(bed.app->read(*link));
    EXPECT_EQ(peer.read(), "here");
    return is_done;
  }
  // It is there, and the worker has not looked yet.
  void put(TlsBed::TestApp::Connection& c, std::string_view text) {
    c.tx.enqueue(svm::bytes_of(text.data(), text.size()));
    bed.app->ask_worker(0, svm::ToDaemon::kTx, svm::SessionEvent{c.handle, 0});
  }
  // Turns of the worker's, in one round as far as handshakes are concerned.
  void turns() {
    for (int i = 0; i < 8; ++i) bed.bed.engine->step(0);
  }
  // Its hello comes in a round whose slice is used up.
  void begin_without_time(Peer& peer, TlsBed::TestApp::Connection& link, SSL_SESSION* ticket) {
    HandshakeSlice& slice = shared().workers[0]->slice;
    ASSERT_EQ(SSL_set_session(peer.ssl(), ticket), 1);
    (void)peer.shake();
    while (!slice.is_used_up(bed.bed.now)) use_up(slice);
    put(link, peer.records());
    turns();
  }
  uint16_t port = 443;  // that these are of
  bool is_resumed = false;
};
struct TlsQuickAsking : TlsQuick {
  TlsQuickAsking() : TlsQuick(ask_clients) {}
};
struct TlsQuickOtherGroup : TlsQuick {
  TlsQuickOtherGroup() : TlsQuick([](Config& c) { c.groups = "P-384"; }) {}
};

TEST_F(TlsQuick, OfANewHandshakeTheLastFlightIs) {
  (void)ticket();
  EXPECT_EQ(bed.stat(kCryptoSteps), 1u);
}

TEST_F(TlsQuickAsking, TheLastFlightIsNotWhereThereMayBeAChainToCheck) {
  const Ticket t = ticket();
  EXPECT_EQ(bed.stat(kCryptoSteps), 2u);
  EXPECT_TRUE(is_the_workers(t.get()));  // it was checked before
  EXPECT_EQ(bed.stat(kCryptoSteps), 2u);
}

TEST_F(TlsQuick, ASessionThatIsResumedIs) {
  const Ticket t = ticket();
  const std::size_t steps = bed.stat(kCryptoSteps);
  EXPECT_TRUE(is_the_workers(t.get()));
  EXPECT_TRUE(is_resumed);
  EXPECT_EQ(bed.stat(kCryptoSteps), steps);
}

TEST_F(TlsQuick, SoIsOneOfTls12WhoseNewHandshakesAreNot) {
  const Ticket t = ticket(only_12);
  EXPECT_EQ(bed.stat(kCryptoSteps), 2u);
  EXPECT_TRUE(is_the_workers(t.get(), only_12));
  EXPECT_TRUE(is_resumed);
}

TEST_F(TlsQuick, WithATicketThatIsNotGoodItIsNot) {
  for (const More& more : {More(), More(only_12)}) {
    const Ticket t = ticket(more);
    ASSERT_EQ(bed.run("tls reload").text, "");
    EXPECT_FALSE(is_the_workers(t.get(), more));
    EXPECT_FALSE(is_resumed);
  }
}

TEST_F(TlsQuick, WithAKeyExchangeOfManyBitsItIsNot) {
  const Ticket t = ticket();
  EXPECT_FALSE(is_the_workers(t.get(), with_groups("P-384")));
  EXPECT_TRUE(is_resumed);
}

// By whose names the one for this client would have to be found, whatever its ticket is worth.
TEST_F(TlsQuick, WhereThereAreManyCertificatesItIsNot) {
  for (const int n : {8, 9}) {
    port = static_cast<uint16_t>(443 + n);
    std::string many;
    for (int i = 0; i < n; ++i) {
      const uint32_t pair = bed.add_settings(TlsBed::pair_settings(make_certificate({})), false);
      add_setting(many, Setting::kPair, pair);
    }
    ASSERT_EQ(bed.listen(port, kProto, bed.add_settings(many)), 0);
    const Ticket t = ticket();
    EXPECT_EQ(is_the_workers(t.get()), n == 8) << n;
    EXPECT_TRUE(is_resumed);
  }
}

// Whichever of them the ticket's handshake has shown; and a whole handshake is never the worker's.
TEST_F(TlsQuick, WithCertificatesOfTwoKindsOfKeysItIs) {
  std::string two;
  for (const char* type : {"RSA", "EC"}) {
    const Pem p = make_certificate({.issuer = &bed.authority, .key_type = type});
    add_setting(two, Setting::kPair, bed.add_settings(TlsBed::pair_settings(p), false));
  }
  port = 444;
  ASSERT_EQ(bed.listen(port, kProto, bed.add_settings(two)), 0);
  const More only_rsa = [](SSL_CTX* c) { SSL_CTX_set1_sigalgs_list(c, "RSA-PSS+SHA256"); };
  for (const More& more : {More(), More(only_12), only_rsa}) {
    const Ticket t = ticket(more), old = ticket(more);
    EXPECT_TRUE(is_the_workers(t.get(), more));
    EXPECT_TRUE(is_resumed);
    ASSERT_EQ(bed.run("tls reload").text, "");
    EXPECT_FALSE(is_the_workers(old.get(), more));
    EXPECT_FALSE(is_resumed);
  }
}

// RFC 8446 section 4.1.4: what the second hello brings is not what was looked at.
TEST_F(TlsQuickOtherGroup, NorIsAHelloThatWasAskedFor) {
  const Ticket t = ticket(with_groups("X25519:P-384"));
  EXPECT_FALSE(is_the_workers(t.get(), with_groups("X25519:P-384")));
  EXPECT_TRUE(is_resumed);
}

// What the worker has no time for in this round threads may have.
TEST_F(TlsQuick, OnceTheSliceOfARoundIsUsedUpAThreadDoesIt) {
  const Ticket t = ticket();
  const std::size_t steps = bed.stat(kCryptoSteps);
  auto link = raw();
  Peer peer(Peer::Role::kClient);
  begin_without_time(peer, *link, t.get());
  EXPECT_EQ(bed.stat(kCryptoSteps), steps + 1);
  exchange(peer, link);
  EXPECT_EQ(SSL_session_reused(peer.ssl()), 1);
  EXPECT_TRUE(accepted());
}

// Unless they have enough to do: the next round comes sooner.
TEST_F(TlsQuick, OrTheNextRoundWhereThreadsHaveNoRoom) {
  const Ticket t = ticket();
  for (uint16_t port = 1000; port < 1007; ++port) ASSERT_EQ(bed.listen(port), 0);
  block();
  std::vector<TlsBed::Link> links;
  for (uint32_t i = 0; i < CryptoShare::kMostSteps; ++i) {
    links.push_back(raw(static_cast<uint16_t>(1000 + i / 10)));
    Peer peer(Peer::Role::kClient);
    (void)peer.shake();
    bed.app->write(*links.back(), peer.records());
  }
  auto link = raw();
  Peer peer(Peer::Role::kClient);
  begin_without_time(peer, *link, t.get());
  EXPECT_EQ(bed.stat(kCryptoHeld), 0u);
  EXPECT_EQ(link->rx.refresh(), 0u);
  bed.bed.now += kMillisecond;
  peer.exchange(*bed.app, *link);
  EXPECT_TRUE(SSL_is_init_finished(peer.ssl()));
  EXPECT_EQ(SSL_session_reused(peer.ssl()), 1);
  EXPECT_EQ(bed.stat(kCryptoHeld), 0u);
  release();
}

// Its share of the threads is for those that need one.
TEST_F(TlsQuick, WhoHasToWaitForAThreadGoesOnWhereItWas) {
  const Ticket t = ticket();
  ASSERT_EQ(bed.run("tls reload").text, "");
  for (uint16_t port = 1000; port < 1007; ++port) ASSERT_EQ(bed.listen(port), 0);
  block();
  std::vector<TlsBed::Link> links;
  std::deque<Peer> peers;
  for (std::size_t i = 0; i < CryptoShare::kMostSteps + 3; ++i) {
    links.push_back(raw(static_cast<uint16_t>(1000 + i / 10)));
    Peer& peer = peers.emplace_back(Peer::Role::kClient);
    if (i >= CryptoShare::kMostSteps) {
      EXPECT_EQ(SSL_set_session(peer.ssl(), t.get()), 1);
    }
    (void)peer.shake();
    bed.app->write(*links.back(), peer.records());
  }
  EXPECT_EQ(bed.stat(kCryptoHeld), 3u);
  release();
  for (std::size_t i = 0; i < links.size(); ++i) exchange(peers[i], links[i]);
  for (Peer& peer : peers) EXPECT_TRUE(SSL_is_init_finished(peer.ssl()));
}

// --- hello.h

bool is_quick(const std::string& records) {
  return resumes_quickly(std::as_bytes(std::span(records)));
}

TEST_F(TlsQuick, AHelloIsLookedAtAsFarAsItGoes) {
  const Ticket t = ticket();
  const auto hello = [&](SSL_SESSION* ticket, const More& more = {}) {
    Peer peer(Peer::Role::kClient, more);
    if (ticket) SSL_set_session(peer.ssl(), ticket);
    (void)peer.shake();
    return peer.records();
  };
  const std::string good = hello(t.get());
  EXPECT_TRUE(is_quick(good));
  EXPECT_TRUE(is_quick(good + "what comes behind it"));
  EXPECT_TRUE(is_quick(hello(t.get(), with_groups("P-256"))));
  EXPECT_FALSE(is_quick(hello(t.get(), with_groups("P-521"))));
  EXPECT_FALSE(is_quick(hello(t.get(), with_groups("ffdhe8192"))));
  EXPECT_FALSE(is_quick(hello(nullptr)));
  EXPECT_FALSE(is_quick(hello(nullptr, only_12)));
  for (std::size_t n = 0; n < good.size(); ++n) EXPECT_FALSE(is_quick(good.substr(0, n))) << n;
  for (std::size_t i = 0; i < good.size(); ++i)
    for (const char c : {'\0', '\1', '\x7f', '\xff'}) {
      std::string other = good;
      other[i] = c;
      (void)is_quick(other);
    }
}

}  // namespace
}  // namespace loom::tls
