// From the ClientHello to the end of a handshake of DTLS: cookies, what happens to listeners
// meanwhile, clocks that step, IPv6, workers.
#include "session/control.h"
#include "tests/unit/plugins/tls/dtls_bed.h"
#include "tls.api.h"

namespace loom::tls {
namespace {

using Texts = std::vector<std::string>;

// --- Cookies (RFC 6347 section 4.2.1)

struct DtlsCookies : testing::Test {
  dtls::CookieKeys keys;
  Endpoints ends;
  dtls::CookieKeys::Cookie cookie{};
  TimeNs now = 100 * kSecond;

  DtlsCookies() {
    ends.remote = Ip4Address{{192, 0, 2, 3}};
    ends.remote_port = 7;
    EXPECT_TRUE(keys.make(now, ends, cookie));
  }
  bool is_good(TimeNs at) { return keys.check(now + at, ends, cookie); }
};

TEST_F(DtlsCookies, AreGoodUntilTheirKeyHasChangedTwice) {
  constexpr TimeNs kLife = dtls::kCookieLifetime;
  EXPECT_TRUE(is_good(kLife - 1));
  EXPECT_TRUE(is_good(kLife));  // under the key before, from now on
  EXPECT_TRUE(is_good(2 * kLife - 1));
  EXPECT_FALSE(is_good(2 * kLife));
  EXPECT_FALSE(is_good(2 * kLife + 1));
}

TEST_F(DtlsCookies, AreNotGoodAfterAPauseOfTwoLifetimes) {
  EXPECT_FALSE(is_good(2 * dtls::kCookieLifetime));
  EXPECT_TRUE(keys.make(now + 2 * dtls::kCookieLifetime, ends, cookie));
  EXPECT_TRUE(is_good(2 * dtls::kCookieLifetime));
}

TEST_F(DtlsCookies, AreForOneEndAndOneWriting) {
  Endpoints other = ends;
  other.remote_port = 8;
  EXPECT_FALSE(keys.check(now, other, cookie));
  other = ends;
  other.local = Ip4Address{{10, 0, 0, 1}};
  EXPECT_FALSE(keys.check(now, other, cookie));
  other = ends;
  other.remote = IpAddress(Ip6Address{});  // the same bytes of another family
  std::memcpy(other.remote.bits.bytes.data(), ends.remote.bits.bytes.data(), 16);
  EXPECT_FALSE(keys.check(now, other, cookie));
  EXPECT_FALSE(keys.check(now, ends, std::span(cookie).first(31)));
  EXPECT_FALSE(keys.check(now, ends, {}));
  EXPECT_TRUE(is_good(0));
}

TEST(DtlsCookieKeys, AreClearedAtTheirEnd) {
  alignas(dtls::CookieKeys) std::array<unsigned char, sizeof(dtls::CookieKeys)> memory{};
  auto* const keys = new (memory.data()) dtls::CookieKeys;
  dtls::CookieKeys::Cookie cookie;
  ASSERT_TRUE(keys->make(kSecond, {}, cookie));
  ASSERT_TRUE(keys->make(kSecond + dtls::kCookieLifetime, {}, cookie));  // both are in use
  const std::string had(memory.begin(), memory.end());
  keys->~CookieKeys();
  const std::string_view left(reinterpret_cast<const char*>(memory.data()), memory.size());
  std::size_t kept = 0;  // words of eight bytes that were there before, and mean something
  for (std::size_t i = 0; i + 8 <= 64; i += 8)
    kept += left.substr(i, 8) == had.substr(i, 8) && had.substr(i, 8) != std::string(8, '\0');
  EXPECT_NE(had.substr(0, 64), std::string(64, '\0'));
  EXPECT_EQ(kept, 0u);
}

struct DtlsHello : testing::Test {
  DtlsBed bed;
  DtlsPeer peer{true};

  void listen() { ASSERT_EQ(bed.listen(), 0); }
  // Up to the ClientHello with a cookie, which is on its way.
  std::string second_hello() {
    bed.carry(peer, 1);
    peer.step();
    EXPECT_EQ(peer.out.size(), 1u);
    return peer.out.empty() ? "" : peer.out.front();
  }
  ConnId number() { return dtls::shared().listeners.begin()->first; }
};

TEST_F(DtlsHello, ACookieIsGoodForOneChangeOfKeysAndThenAskedForAnew) {
  listen();
  const std::string hello = second_hello();
  bed.tls.bed.pump(dtls::kCookieLifetime + kSecond);
  bed.deliver(hello);
  EXPECT_EQ(bed.stat(dtls::kUnderWay), 1u);
  for (int i = 0; i < 20; ++i) bed.tls.bed.pump(kSecond);  // it is given up
  ASSERT_EQ(bed.stat(dtls::kUnderWay), 0u);
  bed.tls.bed.pump(2 * dtls::kCookieLifetime);
  (void)bed.sent();
  bed.deliver(hello);
  EXPECT_EQ(bed.stat(dtls::kUnderWay), 0u);
  const auto answer = bed.sent();
  ASSERT_EQ(answer.size(), 1u);
  EXPECT_EQ(answer[0][13], 3);  // HelloVerifyRequest
}

// --- Listeners that change meanwhile

TEST_F(DtlsHello, NobodyListensAnyMoreAndTheHandshakeEnds) {
  listen();
  bed.carry(peer, 2);
  ASSERT_EQ(bed.stat(dtls::kUnderWay), 1u);
  bed.tls.app->listener->holders.store(0);
  bed.tls.app->push(svm::ToDaemon::kUnlisten, bed.tls.bound.handle);
  EXPECT_EQ(bed.stat(dtls::kUnderWay), 0u);
  EXPECT_EQ(bed.stat(dtls::kConnections), 0u);
  EXPECT_FALSE(bed.transport.connections[0].open);
  bed.exchange(peer);
  EXPECT_FALSE(peer.is_open());
}

TEST_F(DtlsHello, OthersSettingsAreForWhoComesFromNowOn) {
  listen();
  const auto own = [&](const Pem& p) {
    return bed.tls.add_settings(TlsBed::pair_settings(p), false);
  };
  const Pem later = make_certificate({.issuer = &bed.tls.authority});
  bed.carry(peer, 2);  // its ServerHello is on its way
  DtlsPeer waits(true);
  bed.carry(waits, 1, 8);  // it has a cookie
  ASSERT_EQ(dtls::use_settings(number(), own(later)), Status::kOk);
  bed.exchange(peer);
  bed.exchange(waits, 8);
  ASSERT_TRUE(peer.is_open());
  ASSERT_TRUE(waits.is_open());
  EXPECT_EQ(X509_cmp(SSL_get0_peer_certificate(peer.ssl()), bed.tls.server.x509.get()), 0);
  EXPECT_EQ(X509_cmp(SSL_get0_peer_certificate(waits.ssl()), later.x509.get()), 0);
  EXPECT_EQ(bed.stat(dtls::kHandshakesFailed), 0u);
}

TEST_F(DtlsHello, SettingsThatMakeNoSenseChangeNothing) {
  listen();
  bed.carry(peer, 2);
  EXPECT_NE(dtls::use_settings(number(), 4711), Status::kOk);
  EXPECT_EQ(dtls::use_settings(number() + 1, 0), Status::kNotFound);
  bed.exchange(peer);
  ASSERT_TRUE(peer.is_open());
  EXPECT_EQ(X509_cmp(SSL_get0_peer_certificate(peer.ssl()), bed.tls.server.x509.get()), 0);
}

// --- Clocks: OpenSSL's is the time of day, which may step; retransmissions go by the worker's

struct DtlsClock : DtlsHello {
  TimeNs offset = 0, day = 0;
  DtlsClock() { openssl_now = &day; }
  ~DtlsClock() override { openssl_now = &bed.tls.bed.now; }
  // For so long, from datagrams that are all lost on. Those that were sent.
  std::size_t sent_in(TimeNs time) {
    (void)bed.sent();
    std::size_t n = 0;
    for (TimeNs t = 0; t < time; t += 100 * kMillisecond) {
      day = bed.tls.bed.now + offset + 100 * kMillisecond;
      bed.tls.bed.pump(100 * kMillisecond);
      n += bed.sent().size();
    }
    return n;
  }
  void begin() {
    day = bed.tls.bed.now + offset;
    listen();
    bed.carry(peer, 2);
    ASSERT_EQ(bed.stat(dtls::kUnderWay), 1u);
  }
};

TEST_F(DtlsClock, RunsAsRfc6347Says) {
  offset = 1'000'000 * kSecond;
  begin();
  EXPECT_EQ(sent_in(800 * kMillisecond), 0u);
  EXPECT_EQ(bed.stat(dtls::kRetransmissions), 0u);
  (void)sent_in(400 * kMillisecond);
  EXPECT_EQ(bed.stat(dtls::kRetransmissions), 1u);  // after a second
  (void)sent_in(1600 * kMillisecond);
  EXPECT_EQ(bed.stat(dtls::kRetransmissions), 1u);
  (void)sent_in(600 * kMillisecond);
  EXPECT_EQ(bed.stat(dtls::kRetransmissions), 2u);  // after two more
}

TEST_F(DtlsClock, AStepBackHoldsNothingUp) {
  offset = 1'000'000 * kSecond;
  begin();
  offset -= 3600 * kSecond;
  EXPECT_GT(sent_in(1300 * kMillisecond), 0u);
  EXPECT_EQ(bed.stat(dtls::kRetransmissions), 1u);
  offset -= 3600 * kSecond;
  (void)sent_in(2300 * kMillisecond);
  EXPECT_EQ(bed.stat(dtls::kRetransmissions), 2u);
}

TEST_F(DtlsClock, AStepForwardSendsNothingTooEarly) {
  offset = 1'000'000 * kSecond;
  begin();
  for (int i = 0; i < 8; ++i) {
    offset += 3600 * kSecond;
    EXPECT_EQ(sent_in(100 * kMillisecond), 0u);
    bed.deliver(std::string("\x16\xfe\xfd\x00\x01\x00\x00\x00\x00\x00\x01\x00\x02hi",
                            15));  // OpenSSL reads
    EXPECT_TRUE(bed.sent().empty());
  }
  EXPECT_EQ(bed.stat(dtls::kRetransmissions), 0u);
}

TEST_F(DtlsClock, AHandshakeIsDoneThoughItStepsAllTheTime) {
  offset = 1'000'000 * kSecond;
  begin();
  for (int i = 0; i < 100 && bed.stat(dtls::kServerHandshakes) == 0; ++i) {
    offset += (i % 2 ? -7200 : 3600) * kSecond;
    (void)sent_in(1);  // and is lost
    day = bed.tls.bed.now + offset;
    if (i % 3 == 2) bed.carry(peer, 1);
    bed.tls.bed.pump(100 * kMillisecond);
    if (i % 3 == 1) bed.carry(peer, 1);
  }
  EXPECT_EQ(bed.stat(dtls::kServerHandshakes), 1u);
}

// --- Workers: each listener is on the next one, with all that goes by it

TEST(DtlsWorkers, EachServesItsOwnListenersAndBindsThemAgain) {
  DtlsBed bed({}, 2);
  svm::ListenerShared* queues[3] = {};
  for (uint16_t i = 0; i < 3; ++i) {
    ASSERT_EQ(bed.tls.listen(static_cast<uint16_t>(443 + i), dtls::kProto), 0);
    queues[i] = bed.tls.app->listener;
  }
  for (ConnId i = 0; i < 3; ++i) {
    bed.on = i % 2;
    EXPECT_EQ(bed.stat(dtls::kServerHandshakes), i / 2);
    DtlsPeer peer(true);
    bed.exchange(peer, 7, i);
    ASSERT_TRUE(peer.is_open()) << i;
    EXPECT_EQ(bed.stat(dtls::kServerHandshakes), i / 2 + 1);
    bed.tls.app->listener = queues[i];
    auto link = bed.accept();
    ASSERT_TRUE(link);
    EXPECT_EQ(link->shared->worker.load(), bed.on);
    peer.write("question");
    bed.exchange(peer, 7, i);
    EXPECT_EQ(bed.read(*link), (Texts{"question"}));
    bed.write(*link, "answer");
    bed.exchange(peer, 7, i);
    EXPECT_EQ(peer.got, (Texts{"answer"}));
    bed.ask(svm::ToDaemon::kReset, *link);
    EXPECT_EQ(bed.stat(dtls::kConnections), 0u);
  }
  bed.on = 1;
  EXPECT_EQ(bed.tls.client.dump<api::TlsConnectionDetails>(api::TlsConnectionDump{}).size(), 0u);
  ASSERT_EQ(session::reset_session(
                bed.tls.bed.layer->impl(),
                bed.worker().sessions->handle(bed.worker(), bed.transport.connections[1].session)),
            Status::kOk);
  bed.tls.bed.pump();
  EXPECT_EQ(bed.stat(dtls::kBoundAgain), 1u);
  DtlsPeer again(true);
  bed.exchange(again, 7, 3);
  EXPECT_TRUE(again.is_open());
  bed.tls.app->listener = queues[1];
  auto last = bed.accept();
  ASSERT_TRUE(last);
  session::set_drain(bed.tls.bed.layer->impl(), true, 0);
  bed.tls.bed.pump();
  const auto is_open = [&](std::size_t i) { return bed.transport.connections[i].open; };
  EXPECT_FALSE(is_open(0) || is_open(2));
  EXPECT_TRUE(is_open(3));  // somebody is there
  bed.ask(svm::ToDaemon::kReset, *last);
  EXPECT_FALSE(is_open(3));
  session::set_drain(bed.tls.bed.layer->impl(), false, 0);
  bed.tls.bed.pump();
  ASSERT_EQ(bed.transport.connections.size(), 7u);
  EXPECT_TRUE(is_open(4) && is_open(5) && is_open(6));
}

// --- IPv6

const NetOps kNet6{
    .struct_size = sizeof(NetOps),
    .route = [](Worker&, const IpAddress&, uint32_t, RouteInfo*) noexcept { return Status::kOk; },
    .is_local = [](Worker&, const IpAddress&, uint32_t) noexcept { return true; },
    .generation = nullptr,
    .route_group = nullptr,
    .listen_group = nullptr,
    .hears_group = nullptr};

TEST_F(DtlsHello, ComesOverIp6AsWell) {
  bed.worker().net = &kNet6;
  svm::ListenEvent e{};
  e.proto = dtls::kProto;
  e.local.port = Be16(443).raw();
  e.local.ip[0] = 0xfd;
  e.local.ip[15] = 1;
  e.backlog = 16;
  bed.tls.app->push(svm::ToDaemon::kListen, e);
  const auto bound = bed.tls.next<svm::BoundEvent>(svm::ToApp::kBound);
  ASSERT_EQ(bound.status, 0);
  bed.tls.app->listener = bed.tls.app->table.resolve_as<svm::ListenerShared>(bound.listener);
  bed.peer_address = *IpAddress::parse("2001:db8::7");
  DtlsBed::path_mtu = 1280;
  bed.exchange(peer);
  ASSERT_TRUE(peer.is_open());
  auto link = bed.accept();
  ASSERT_TRUE(link);
  // Of another address with the same last bytes: nobody's.
  bed.peer_address = *IpAddress::parse("2001:db9::7");
  peer.write("not from there");
  bed.deliver(peer.out.front());
  peer.out.clear();
  EXPECT_EQ(bed.read(*link), Texts{});
  bed.peer_address = *IpAddress::parse("2001:db8::7");
  peer.write("question");
  bed.exchange(peer);
  EXPECT_EQ(bed.read(*link), (Texts{"question"}));
  bed.transport.sent.clear();
  bed.write(*link, std::string(2000, 'x'));
  EXPECT_EQ(bed.stat(dtls::kTooLong), 1u);
  const uint32_t most = dtls::most_payload(*dtls::shared().workers[0]->connections[0]);
  bed.write(*link, std::string(most, 'y'));
  ASSERT_EQ(bed.transport.sent.size(), 1u);
  EXPECT_LE(bed.transport.sent[0].payload.size(), 1280u - 48);
  EXPECT_GT(bed.transport.sent[0].payload.size() + 16, 1280u - 48);
  EXPECT_EQ(bed.transport.sent[0].d.ends.remote, bed.peer_address);
}

}  // namespace
}  // namespace loom::tls
