// DTLS over networks that lose, repeat and reorder datagrams, take small ones only, or carry what
// somebody else made; and what a handshake may cost.
#include "tests/unit/plugins/tls/dtls_bed.h"

namespace loom::tls {
namespace {

using Texts = std::vector<std::string>;

// A listener on port 443 and a client, or a client of ours and a server.
struct Ends {
  explicit Ends(bool is_server, const std::function<void(Config&)>& more = {},
                const std::function<void(SSL_CTX*)>& more_of_peer = {})
      : bed(more),
        is_server(is_server),
        own(make_certificate({.names = "IP:192.0.2.3", .issuer = &bed.tls.authority})),
        peer(is_server, [&](SSL_CTX* c) {
          if (!is_server) {
            SSL_CTX_use_certificate(c, own.x509.get());
            SSL_CTX_use_PrivateKey(c, own.pkey.get());
          }
          if (more_of_peer) more_of_peer(c);
        }) {
    if (!is_server) bed.start_connect();
    EXPECT_EQ(is_server ? bed.listen() : 0, 0);
  }
  uint16_t port() const { return is_server ? 7 : 443; }
  bool is_open() {
    return peer.is_open() &&
           bed.stat(is_server ? dtls::kServerHandshakes : dtls::kClientHandshakes) == 1;
  }
  DtlsBed::Link link() {
    if (is_server) return bed.accept();
    const auto c = bed.tls.outcome();
    EXPECT_EQ(c.status, 0);
    return c.status == 0 ? bed.tls.app->connection(c.handle, c.session) : nullptr;
  }
  void exchange() { bed.exchange(peer, port()); }
  // Null: the handshake has failed.
  DtlsBed::Link open() {
    exchange();
    EXPECT_TRUE(is_open());
    return is_open() ? link() : nullptr;
  }

  DtlsBed bed;
  bool is_server;
  Pem own;
  DtlsPeer peer;
};

// What goes one way: each datagram is lost, comes twice, or behind what is sent 100 ms later.
class BadWay {
 public:
  explicit BadWay(uint32_t seed) : random_(seed) {}
  Texts carry(const Texts& sent) {
    Texts now;
    for (const std::string& d : sent) {
      const uint32_t fate = (random_ = random_ * 1664525 + 1013904223) >> 24;
      if (fate < 64) continue;
      (fate < 128 ? late_ : now).push_back(d);
      if (fate >= 224) now.push_back(d);
    }
    if (sent.empty()) now.swap(late_);
    return now;
  }

 private:
  uint32_t random_;
  Texts late_;
};

class OverABadNetwork : public testing::TestWithParam<std::tuple<bool, uint32_t>> {};

TEST_P(OverABadNetwork, AHandshakeIsDoneAndDatagramsAreWhole) {
  const auto [is_server, seed] = GetParam();
  Ends e(is_server);
  shared().config.handshake_timeout = 120 * kSecond;
  if (!is_server) e.bed.tls.bed.pump();
  BadWay out(seed), in(seed + 100);
  for (int i = 0; i < 1000 && !e.is_open(); ++i) {
    e.peer.step();
    e.bed.tls.bed.pump(100 * kMillisecond);
    for (const auto& d : out.carry(Texts(e.peer.out.begin(), e.peer.out.end())))
      e.bed.deliver(d, e.port());
    e.peer.out.clear();
    for (auto& d : in.carry(e.bed.sent(e.port()))) e.peer.in.push_back(std::move(d));
  }
  ASSERT_TRUE(e.is_open());
  EXPECT_EQ(e.bed.stat(dtls::kUnderWay), 0u);
  auto link = e.link();
  ASSERT_TRUE(link);
  e.exchange();
  (void)e.bed.read(*link);
  e.peer.write("a datagram");
  e.exchange();
  EXPECT_EQ(e.bed.read(*link), (Texts{"a datagram"}));
  e.bed.write(*link, "an answer");
  e.exchange();
  EXPECT_EQ(e.peer.got, (Texts{"an answer"}));
}
INSTANTIATE_TEST_SUITE_P(BothEnds, OverABadNetwork,
                         testing::Combine(testing::Bool(), testing::Range(1u, 6u)));

// A handshake's message that is not all of it (RFC 6347 section 4.2.2), in the clear.
bool is_fragment(std::string_view d) {
  return d.size() > 25 && d[0] == 22 && d[4] == 0 && d.substr(14, 3) != d.substr(22, 3);
}

TEST(DtlsPath, AHandshakesMessagesAreCutAsThePathTakesThem) {
  for (const bool is_server : {true, false}) {
    Ends e(is_server);
    DtlsBed::path_mtu = 576;
    const std::string many(900, 'n');  // the server's certificate is larger than a datagram
    const Pem large =
        make_certificate({.names = "DNS:" + many.substr(0, 200) + ",IP:10.0.0.0,URI:x:" + many,
                          .issuer = &e.bed.tls.authority});
    if (is_server) {
      e.bed.tls.write("server.pem", large.certificate);
      e.bed.tls.write("server.key", large.key);
      ASSERT_TRUE(tls::shared().reload.now());
    }
    std::size_t largest = 0, fragments = 0;
    for (int i = 0; i < 20 && !e.is_open(); ++i) {
      e.peer.step();
      e.bed.tls.bed.pump();
      for (; !e.peer.out.empty(); e.peer.out.pop_front())
        e.bed.deliver(e.peer.out.front(), e.port());
      for (auto& d : e.bed.sent(e.port())) {
        largest = std::max(largest, d.size());
        fragments += is_fragment(d);
        e.peer.in.push_back(std::move(d));
      }
    }
    ASSERT_TRUE(e.is_open());
    EXPECT_LE(largest, 576u - 28);
    EXPECT_GE(fragments, is_server ? 2u : 0u);
    EXPECT_EQ(e.bed.stat(dtls::kRetransmissions), 0u);
  }
}

TEST(DtlsPath, AFlightThatWasTooLargeIsSentAgainAsThePathTakesIt) {
  Ends e(false);  // the client's first flight is lost on a path that has become smaller
  (void)e.bed.sent(443);
  DtlsBed::path_mtu = 600;
  e.bed.worker().sessions->soft_error(e.bed.worker(), e.bed.transport.connections[0].session,
                                      ResetReason::kMessageSize);
  for (int i = 0; i < 50 && e.bed.stat(dtls::kRetransmissions) == 0; ++i)
    e.bed.tls.bed.pump(100 * kMillisecond);
  const auto again = e.bed.sent(443);
  ASSERT_FALSE(again.empty());
  for (const auto& d : again) EXPECT_LE(d.size(), 600u - 28);
  for (const auto& d : again) e.peer.in.push_back(d);
  e.exchange();
  EXPECT_TRUE(e.is_open());
}

TEST(DtlsPath, APathThatShrinksIsHeardOfAndSaidToBeSmaller) {
  for (const bool is_server : {true, false}) {
    Ends e(is_server);
    auto link = e.open();
    ASSERT_TRUE(link);
    e.bed.write(*link, std::string(1200, 'x'));
    e.exchange();
    EXPECT_EQ(e.peer.got.size(), 1u);
    DtlsBed::path_mtu = 700;
    uint16_t error = 0;
    if (!is_server) {  // a session without a peer is told nothing
      e.bed.worker().sessions->soft_error(e.bed.worker(), e.bed.transport.connections[0].session,
                                          ResetReason::kMessageSize);
      e.bed.tls.bed.pump();
      (void)e.bed.read(*link, &error);
      EXPECT_EQ(error, EMSGSIZE);
    }
    e.bed.write(*link, std::string(1200, 'x'));
    e.exchange();
    (void)e.bed.read(*link, &error);
    EXPECT_EQ(error, EMSGSIZE);
    EXPECT_EQ(e.bed.stat(dtls::kTooLong), 1u);
    EXPECT_EQ(e.peer.got.size(), 1u);
    e.bed.write(*link, std::string(600, 'y'));
    e.exchange();
    EXPECT_EQ(e.peer.got.back(), std::string(600, 'y'));
  }
}

TEST(DtlsPath, ThePayloadThatOneRecordTakesIsSaid) {
  Ends e(true);
  auto link = e.open();
  ASSERT_TRUE(link);
  for (const uint32_t mtu : {1500u, 800u, 1400u}) {
    DtlsBed::path_mtu = mtu;
    svm::SessionEvent ask{link->handle, 17};
    e.bed.tls.app->push(svm::ToDaemon::kGetInfo, ask);
    const auto info = e.bed.tls.next<svm::InfoEvent>(svm::ToApp::kInfo);
    ASSERT_EQ(info.status, 0);
    EXPECT_EQ(info.pmtu, mtu);
    e.peer.got.clear();
    e.bed.write(*link, std::string(info.snd_mss, 'm'));  // all of it, and not one more
    e.bed.write(*link, std::string(info.snd_mss + 1, 'n'));
    e.exchange();
    EXPECT_EQ(e.peer.got, (Texts{std::string(info.snd_mss, 'm')}));
    (void)e.bed.read(*link);
  }
}

// RFC 6347 section 4.1.2.7: none of it ends the connection, or is answered.
TEST(DtlsGarbage, IsDroppedAndCountedAndTheConnectionGoesOn) {
  for (const bool is_server : {true, false}) {
    Ends e(is_server);
    auto link = e.open();
    ASSERT_TRUE(link);
    const std::string epoch1("\x00\x01\x00\x00\x00\x00\x00\x50", 8);
    const std::string epoch0("\x00\x00\x00\x00\x00\x00\x00\x50", 8);
    const std::string epoch9("\x00\x09\x00\x00\x00\x00\x00\x50", 8);
    const std::string dtls = "\xfe\xfd";
    const Texts bad = {
        "x",
        std::string(2000, '\0'),
        "\x15" + dtls + epoch0 + std::string("\x00\x02\x02\x28", 4),  // an alert, by anybody
        "\x15" + dtls + epoch1 + std::string("\x00\x02\x02\x28", 4),  // that is not encrypted
        "\x15" + dtls + epoch9 + std::string("\x00\x02\x01\x00", 4),
        // Without room for what protects it, with room for nothing else, and longer ones.
        "\x17" + dtls + epoch1 + std::string(2, '\0'),
        "\x17" + dtls + epoch1 + std::string("\x00\x17", 2) + std::string(23, 'f'),
        "\x17" + dtls + epoch1 + std::string("\x00\x18", 2) + std::string(24, 'f'),
        "\x17" + dtls + epoch1 + std::string("\x00\x30", 2) + std::string(48, 'f'),
        "\x17" + dtls + epoch1 + std::string("\xff\xff", 2) + "short",
        "\x16" + dtls + epoch0 +
            std::string("\x00\x0c\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
                        14),  // a HelloRequest
        std::string("\x16\x03\x03\x00\x05hello", 10),
        "\x63" + dtls + epoch1 + std::string("\x00\x01\x00", 3),
    };
    for (const auto& d : bad) e.bed.deliver(d, e.port());
    EXPECT_GE(e.bed.stat(dtls::kRecordsDropped), bad.size() - 1);
    EXPECT_TRUE(e.bed.sent(e.port()).empty());
    EXPECT_EQ(e.bed.stat(dtls::kConnections), 1u);
    e.peer.write("on");
    e.exchange();
    EXPECT_EQ(e.bed.read(*link), (Texts{"on"}));
  }
}

// Of some records OpenSSL passes over the header alone, and takes the body for further ones: what
// is in there is looked at as they are. Here that is a record too short for any cipher, for which
// it would end the connection.
const std::string kTooShort =
    "\x17\xfe\xfd" + std::string("\x00\x01\x00\x00\x00\x00\x00\x50\x00\x02\x00\x00", 12);
std::string around(const std::string& version, uint16_t length, const std::string& body) {
  return "\x16" + version + std::string(8, '\0') + static_cast<char>(length >> 8) +
         static_cast<char>(length) + body;
}

TEST(DtlsGarbage, InsideOfARecordIsNoneThatCounts) {
  for (const bool is_server : {true, false}) {
    Ends e(is_server);
    auto link = e.open();
    ASSERT_TRUE(link);
    const std::string good = around("\xfe\xfd", 1, "x");  // of an old epoch
    const Texts bad = {
        around("\xfe\xff", 15, kTooShort),      // another version
        around("\xfe\x00", 200, kTooShort),     // whose body is not all there
        around("\xfe\xfd", 0xdd00, kTooShort),  // longer than any
        around("\xfe\xfd", 16'384 + 2'048, kTooShort),
        around("\xfe\xff", 28, around("\xfe\xff", 15, kTooShort)),
        good + around("\x03\x03", 15, kTooShort),  // not of DTLS, behind one that is
        good + around("\xfe\xff", 15, kTooShort),
    };
    for (const auto& d : bad) {
      e.bed.deliver(d, e.port());
      EXPECT_EQ(e.bed.stat(dtls::kConnections), 1u);
      e.peer.write("on");
      e.exchange();
      EXPECT_EQ(e.bed.read(*link), (Texts{"on"}));
    }
    EXPECT_GE(e.bed.stat(dtls::kRecordsDropped), bad.size());
  }
}

// RFC 6066 section 4: then a record is too long for OpenSSL much earlier.
TEST(DtlsGarbage, InsideOfARecordThatIsTooLongForWhatWasAgreedOnDoesNotCountEither) {
  DtlsBed bed;
  ASSERT_EQ(bed.listen(), 0);
  DtlsPeer peer(true, [](SSL_CTX* c) {
    SSL_CTX_set_tlsext_max_fragment_length(c, TLSEXT_max_fragment_length_512);
  });
  bed.exchange(peer);
  ASSERT_TRUE(peer.is_open());
  auto link = bed.accept();
  ASSERT_TRUE(link);
  bed.deliver(around("\xfe\xfd", 2'000, kTooShort));
  EXPECT_EQ(bed.stat(dtls::kConnections), 1u);
  peer.write(std::string(512, 'x'));
  bed.exchange(peer);
  EXPECT_EQ(bed.read(*link), (Texts{std::string(512, 'x')}));
}

TEST(DtlsGarbage, IsNoEndOfAHandshakeEither) {
  for (const bool is_server : {true, false}) {
    Ends e(is_server);
    e.bed.carry(e.peer, 2, e.port());
    ASSERT_EQ(e.bed.stat(dtls::kUnderWay), 1u);
    const Texts bad = {
        "x", std::string(2000, '\0'), std::string("\x16\x03\x03\x00\x05hello", 10),
        // Of the epoch that is to come, and too short for any cipher of it.
        std::string("\x16\xfe\xfd\x00\x01\x00\x00\x00\x00\x00\x50\x00\x02\x00\x00", 15)};
    for (const auto& d : bad) e.bed.deliver(d, e.port());
    EXPECT_EQ(e.bed.stat(dtls::kRecordsDropped), bad.size());
    e.exchange();
    EXPECT_TRUE(e.is_open());
  }
}

TEST(DtlsGarbage, AnAlertOfThePeersIsTheEnd) {
  Ends e(true);
  auto link = e.open();
  ASSERT_TRUE(link);
  SSL_shutdown(e.peer.ssl());
  const std::string close_notify = e.peer.out.front();
  e.bed.deliver(close_notify);
  e.bed.deliver(close_notify);  // once more is nothing
  (void)e.bed.read(*link);
  EXPECT_TRUE(link->rx.eof());
}

// What OpenSSL keeps for later has room for the largest record each time.
TEST(DtlsBounds, RecordsOfTheNextEpochAreKeptInSmallNumbers) {
  for (const bool is_split : {false, true}) {
    Ends e(true);
    e.bed.carry(e.peer, 2);  // up to the answer with the certificate
    ASSERT_EQ(e.bed.stat(dtls::kUnderWay), 1u);
    std::string many;
    for (char i = 0; i < 50; ++i)
      many += "\x16\xfe\xfd" + std::string("\x00\x01\x00\x00\x00\x00\x00", 7) + i +
              std::string("\x00\x20", 2) + std::string(32, 'e');
    const auto before = e.bed.stat(dtls::kRecordsDropped);
    e.bed.deliver(many);
    e.bed.deliver(many);
    EXPECT_EQ(e.bed.stat(dtls::kRecordsDropped), before + 2);
    EXPECT_EQ(dtls::shared().workers[0]->connections[0]->n_early, dtls::kMostEarly);
    // Those were somebody else's: the peer's handshake goes on.
    e.peer.step();
    for (; !e.peer.out.empty(); e.peer.out.pop_front())
      for (const auto& d : is_split ? records_of(e.peer.out.front()) : Texts{e.peer.out.front()})
        e.bed.deliver(d);
    e.exchange();
    EXPECT_TRUE(e.is_open());
  }
}

// Nor do those inside of another one get past the count.
TEST(DtlsBounds, RecordsInsideOfARecordAreNotKept) {
  Ends e(true);
  e.bed.carry(e.peer, 2);
  ASSERT_EQ(e.bed.stat(dtls::kUnderWay), 1u);
  e.peer.step();
  ASSERT_GE(e.peer.out.size(), 1u);
  const auto flight = records_of(e.peer.out.front());
  e.bed.deliver(flight.front());  // a message of the peer's: it has left the ClientHello behind
  std::string many;
  for (char i = 0; i < 50; ++i)
    many += "\x16\xfe\xfd" + std::string("\x00\x01\x00\x00\x00\x00\x00", 7) + i +
            std::string("\x00\x20", 2) + std::string(32, 'e');
  const auto before = e.bed.stat(dtls::kRecordsDropped);
  e.bed.deliver(around("\xfe\xff", static_cast<uint16_t>(many.size()), many));
  EXPECT_EQ(e.bed.stat(dtls::kRecordsDropped), before + 1);
  for (const auto& d : e.peer.out) e.bed.deliver(d);
  e.peer.out.clear();
  e.exchange();
  EXPECT_TRUE(e.is_open());
}

// The first message of a peer's may come in a record of an old version, and no other one: what is
// inside of the next such record OpenSSL would take.
TEST(DtlsBounds, RecordsInsideOfAnOldOneAreNotTakenEither) {
  for (const bool is_server : {true, false}) {
    SCOPED_TRACE(is_server);
    Ends e(is_server);
    e.bed.carry(e.peer, is_server ? 2 : 1, e.port());
    ASSERT_EQ(e.bed.stat(dtls::kUnderWay), 1u);
    e.peer.step();
    std::string flight;
    for (; !e.peer.out.empty(); e.peer.out.pop_front()) flight += e.peer.out.front();
    const auto records = records_of(flight);
    ASSERT_GE(records.size(), 3u);
    if (!is_server) {  // a server's first
      flight.erase(0, records[0].size());
      std::string first = records[0];
      first[2] = '\xff';
      e.bed.deliver(first, e.port());
    }
    const auto before = e.bed.stat(dtls::kRecordsDropped);
    e.bed.deliver(around("\xfe\xff", static_cast<uint16_t>(flight.size()), flight), e.port());
    EXPECT_EQ(e.bed.stat(dtls::kRecordsDropped), before + 1);
    EXPECT_TRUE(e.bed.sent(e.port()).empty()) << "it was answered";
    e.bed.deliver(flight, e.port());
    e.exchange();
    EXPECT_TRUE(e.is_open());
  }
}

std::string record(char type, char epoch, char number) {
  return std::string(1, type) + "\xfe\xfd" + std::string(1, '\0') + epoch + std::string(5, '\0') +
         number + std::string("\x00\x20", 2) + std::string(32, 'e');
}

// Between ChangeCipherSpec and Finished, too.
TEST(DtlsBounds, RecordsBeforeTheLastMessageAreKeptInSmallNumbers) {
  Ends e(true);
  e.bed.carry(e.peer, 2);
  e.peer.step();
  Texts flight;
  for (const auto& d : e.peer.out)
    for (auto& r : records_of(d)) flight.push_back(std::move(r));
  e.peer.out.clear();
  ASSERT_GE(flight.size(), 3u);
  const std::string finished = flight.back();
  flight.pop_back();
  for (const auto& r : flight) e.bed.deliver(r);
  dtls::Connection& c = *dtls::shared().workers[0]->connections[0];
  ASSERT_EQ(SSL_get_state(c.ssl), TLS_ST_SR_CHANGE);
  const auto dropped = [&] { return e.bed.stat(dtls::kRecordsDropped); };
  auto before = dropped();
  for (char i = 0; i < 20; ++i) e.bed.deliver(record('\x16', 2, i));  // no epoch comes then
  EXPECT_EQ(dropped(), before + 20);
  before = dropped();
  for (char i = 0; i < 20; ++i) e.bed.deliver(record('\x17', 1, i));
  EXPECT_EQ(dropped(), before + 20 - dtls::kMostEarly);
  e.bed.deliver(finished);
  e.exchange();
  EXPECT_TRUE(e.is_open());
}

// Nor has what OpenSSL gets memory for as soon as it is announced.
TEST(DtlsBounds, AClientsMessagesAreNoLargerThanTheirKindIs) {
  for (const Verify verify : {Verify::kOff, Verify::kRequired}) {
    Ends e(true, [&](Config& c) { c.verify_client = verify; });
    SSL_CTX* const c = dtls::shared().listeners.begin()->second->context->ssl.get();
    EXPECT_EQ(SSL_CTX_get_max_cert_list(c), verify == Verify::kOff ? 16 << 10 : 32 << 10);
  }
}

// Whoever is open does not wait for many handshakes in one round.
TEST(DtlsBounds, HandshakesOfARoundHaveTheirSlice) {
  Ends e(true);
  constexpr uint32_t kClients = 16;  // the backlog
  std::vector<std::unique_ptr<DtlsPeer>> clients;
  for (uint32_t i = 0; i < kClients; ++i) {
    const auto port = static_cast<uint16_t>(1000 + i);
    DtlsPeer& c = *clients.emplace_back(std::make_unique<DtlsPeer>(true));
    e.bed.carry(c, 1, port);
    c.step();  // its ClientHello with the cookie
  }
  Worker& w = e.bed.worker();
  auto& slice = tls_worker(w).slice;
  (void)slice.is_used_up(w.now);
  while (!slice.is_used_up(w.now)) slice.measure([] { return ERR_get_error(); });
  for (uint32_t i = 0; i < kClients; ++i)
    e.bed.enqueue(clients[i]->out.front(), static_cast<uint16_t>(1000 + i));
  e.bed.tls.bed.engine->step(0);
  EXPECT_LT(e.bed.stat(dtls::kUnderWay), kClients / 2);
  for (uint32_t i = 0; i < kClients; ++i) e.bed.tls.bed.pump();  // one in each there is in any case
  EXPECT_EQ(e.bed.stat(dtls::kUnderWay), kClients);
}

}  // namespace
}  // namespace loom::tls
