// DTLS with OpenSSL at the other end: what the session's user sees, and what is on the wire.
#include "tests/unit/plugins/tls/dtls_bed.h"

namespace loom::tls {
namespace {

using Texts = std::vector<std::string>;

struct DtlsServer : testing::Test {
  DtlsBed bed;
  DtlsPeer peer{true};
  DtlsBed::Link link;

  void open() {
    ASSERT_EQ(bed.listen(), 0);
    bed.exchange(peer);
    ASSERT_TRUE(peer.is_open());
    link = bed.accept();
    ASSERT_TRUE(link);
  }
};

TEST_F(DtlsServer, DatagramsGoBothWaysOneByOne) {
  open();
  EXPECT_EQ(bed.stat(dtls::kServerHandshakes), 1u);
  peer.write("a question");
  peer.write("another");
  bed.exchange(peer);
  EXPECT_EQ(bed.read(*link), (Texts{"a question", "another"}));
  bed.write(*link, "an answer");
  bed.write(*link, "one more");
  bed.exchange(peer);
  EXPECT_EQ(peer.got, (Texts{"an answer", "one more"}));
  EXPECT_STREQ(SSL_get_version(peer.ssl()), "DTLSv1.2");
}

TEST_F(DtlsServer, CloseOfTheApplicationIsCloseNotify) {
  open();
  bed.write(*link, "the last");
  bed.tls.app->close(*link);
  bed.exchange(peer);
  EXPECT_EQ(peer.got, (Texts{"the last"}));
  EXPECT_TRUE(SSL_get_shutdown(peer.ssl()) & SSL_RECEIVED_SHUTDOWN);
  EXPECT_EQ(bed.stat(dtls::kConnections), 0u);
}

TEST_F(DtlsServer, ThePeersCloseNotifyIsTheEndOfTheStream) {
  open();
  SSL_shutdown(peer.ssl());
  bed.exchange(peer);
  (void)bed.read(*link);
  EXPECT_TRUE(link->rx.eof());
}

// Tickets as in TLS 1.2: one is good for its lifetime under its name, and then there is another.
TEST_F(DtlsServer, ATicketResumesUnderItsNameAsOftenAsItIsShown) {
  ASSERT_EQ(bed.listen(), 0);
  std::shared_ptr<SSL_SESSION> ticket;
  struct Case {
    const char* name;
    bool is_resumed;
    int n_tickets;  // that it is given
  };
  uint16_t port = 7;
  for (const Case& k : {Case{"server.test", false, 1}, Case{"server.test", true, 0},
                        Case{"server.test", true, 0}, Case{"other.test", false, 1}}) {
    SCOPED_TRACE(++port);
    int n_tickets = 0;
    DtlsPeer p(true, [&](SSL_CTX* c) {
      SSL_CTX_set_msg_callback(
          c, [](int is_written, int, int type, const void* bytes, std::size_t, SSL*, void* count) {
            constexpr unsigned char kNewSessionTicket = 4;
            if (!is_written && type == SSL3_RT_HANDSHAKE &&
                *static_cast<const unsigned char*>(bytes) == kNewSessionTicket)
              ++*static_cast<int*>(count);
          });
      SSL_CTX_set_msg_callback_arg(c, &n_tickets);
    });
    ASSERT_EQ(SSL_set_tlsext_host_name(p.ssl(), k.name), 1);
    if (ticket) SSL_set_session(p.ssl(), ticket.get());
    bed.exchange(p, port);
    ASSERT_TRUE(p.is_open());
    EXPECT_TRUE(bed.accept());
    EXPECT_EQ(SSL_session_reused(p.ssl()) == 1, k.is_resumed);
    EXPECT_EQ(n_tickets, k.n_tickets);
    if (!ticket) ticket.reset(SSL_get1_session(p.ssl()), SSL_SESSION_free);
    SSL_set_shutdown(p.ssl(), SSL_SENT_SHUTDOWN);  // else it is good for nothing at its end
  }
}

// RFC 6347 section 4.2.1.
TEST_F(DtlsServer, NothingIsKeptForAClientBeforeItShowsACookie) {
  ASSERT_EQ(bed.listen(), 0);
  peer.step();
  ASSERT_EQ(peer.out.size(), 1u);
  bed.deliver(peer.out.front());
  const auto answers = bed.sent();
  ASSERT_EQ(answers.size(), 1u);
  EXPECT_EQ(answers[0][13], 3);  // HelloVerifyRequest
  EXPECT_LE(answers[0].size(), peer.out.front().size());
  EXPECT_EQ(bed.stat(dtls::kConnections), 0u);
  EXPECT_EQ(bed.stat(dtls::kUnderWay), 0u);
  // The cookie is another end's: it is asked for another.
  peer.out.clear();
  peer.in.push_back(answers[0]);
  peer.step();
  ASSERT_EQ(peer.out.size(), 1u);
  bed.deliver(peer.out.front(), 8);
  const auto again = bed.sent(8);
  ASSERT_EQ(again.size(), 1u);
  EXPECT_EQ(again[0][13], 3);
  EXPECT_EQ(bed.stat(dtls::kConnections), 0u);
}

TEST_F(DtlsServer, WhatIsLostIsSentAgain) {
  ASSERT_EQ(bed.listen(), 0);
  shared().config.handshake_timeout = 60 * kSecond;
  uint32_t random = 1;  // of both ends about every third is lost
  const auto arrives = [&] { return ((random = random * 1664525 + 1013904223) >> 24) % 3 != 0; };
  for (int i = 0; i < 500 && !(peer.is_open() && bed.stat(dtls::kServerHandshakes) == 1); ++i) {
    peer.step();
    bed.tls.bed.pump(100 * kMillisecond);
    for (; !peer.out.empty(); peer.out.pop_front())
      if (arrives()) bed.deliver(peer.out.front());
    for (auto& s : bed.sent())
      if (arrives()) peer.in.push_back(std::move(s));
  }
  ASSERT_TRUE(peer.is_open());
  EXPECT_GT(bed.stat(dtls::kRetransmissions), 0u);
  link = bed.accept();
  ASSERT_TRUE(link);
  peer.write("here");
  bed.exchange(peer);
  EXPECT_EQ(bed.read(*link), (Texts{"here"}));
}

TEST_F(DtlsServer, AHandshakeThatStopsIsForgotten) {
  ASSERT_EQ(bed.listen(), 0);
  bed.carry(peer, 2);
  EXPECT_EQ(bed.stat(dtls::kUnderWay), 1u);
  for (int i = 0; i < 120; ++i) bed.tls.bed.pump(100 * kMillisecond);
  EXPECT_EQ(bed.stat(dtls::kUnderWay), 0u);
  EXPECT_EQ(bed.stat(dtls::kConnections), 0u);
  EXPECT_EQ(bed.stat(dtls::kHandshakesTimedOut), 1u);
}

TEST_F(DtlsServer, ARecordThatComesTwiceOrIsForgedIsDropped) {
  open();
  peer.write("once");
  const std::string record = peer.out.front();
  bed.deliver(record);
  bed.deliver(record);
  std::string forged = record;
  forged.back() ^= 1;
  bed.deliver(forged);
  bed.deliver("neither");
  EXPECT_EQ(bed.read(*link), (Texts{"once"}));
  EXPECT_GE(bed.stat(dtls::kRecordsDropped), 2u);
  peer.out.clear();
  peer.write("and on");
  bed.exchange(peer);
  EXPECT_EQ(bed.read(*link), (Texts{"and on"}));
}

TEST_F(DtlsServer, RecordsInAnyOrderAreDeliveredAsTheyCome) {
  open();
  for (const char* text : {"1", "2", "3"}) peer.write(text);
  for (const int i : {2, 0, 1}) bed.deliver(peer.out[static_cast<std::size_t>(i)]);
  EXPECT_EQ(bed.read(*link), (Texts{"3", "1", "2"}));
}

TEST_F(DtlsServer, NoDatagramIsLargerThanThePathTakes) {
  DtlsBed::path_mtu = 700;
  open();
  std::size_t largest = 0;
  bed.write(*link, std::string(1200, 'x'));
  uint16_t error = 0;
  (void)bed.read(*link, &error);
  EXPECT_EQ(error, EMSGSIZE);
  bed.write(*link, std::string(600, 'y'));
  for (const auto& s : bed.sent()) largest = std::max(largest, s.size());
  EXPECT_GT(largest, 600u);
  EXPECT_LE(largest, 700u - 28);
  EXPECT_EQ(bed.stat(dtls::kTooLong), 1u);
}

// RFC 6347 section 4.2.8.
TEST_F(DtlsServer, AClientThatBeginsAnewFromItsPortTakesThePlaceOfTheOldOne) {
  open();
  DtlsPeer anew(true);
  anew.step();
  bed.deliver(anew.out.front());  // without a cookie it means nothing
  (void)bed.sent();
  anew.out.clear();
  peer.write("still here");
  bed.exchange(peer);
  EXPECT_EQ(bed.read(*link), (Texts{"still here"}));
  DtlsPeer again(true);
  bed.exchange(again);
  ASSERT_TRUE(again.is_open());
  (void)bed.read(*link);
  EXPECT_TRUE(link->rx.reset());
  auto next = bed.accept();
  ASSERT_TRUE(next);
  again.write("new");
  bed.exchange(again);
  EXPECT_EQ(bed.read(*next), (Texts{"new"}));
  EXPECT_EQ(bed.stat(dtls::kConnections), 1u);
}

TEST_F(DtlsServer, ANewOneThatIsRefusedLeavesTheOldOne) {
  open();
  DtlsPeer again(true);
  bed.carry(again, 2);
  again.step();
  auto& drains = bed.tls.bed.layer->impl().drain_state;
  drains = DrainState::kDrained;  // the session layer takes nobody
  for (; !again.out.empty(); again.out.pop_front()) bed.deliver(again.out.front());
  drains = DrainState::kOff;
  EXPECT_EQ(bed.stat(dtls::kRefused), 1u);
  (void)bed.sent();
  peer.write("still here");
  bed.exchange(peer);
  EXPECT_EQ(bed.read(*link), (Texts{"still here"}));
  EXPECT_FALSE(link->rx.reset());
}

TEST_F(DtlsServer, ClientsOfSeveralPortsHaveConnectionsOfTheirOwn) {
  open();
  DtlsPeer other(true);
  bed.exchange(other, 8);
  auto second = bed.accept();
  ASSERT_TRUE(second);
  other.write("second");
  peer.write("first");
  bed.exchange(other, 8);
  bed.exchange(peer);
  EXPECT_EQ(bed.read(*link), (Texts{"first"}));
  EXPECT_EQ(bed.read(*second), (Texts{"second"}));
}

TEST_F(DtlsServer, ConnectionsGoOnWhenNobodyListensAnyMore) {
  open();
  bed.tls.app->listener->holders.store(0);
  bed.tls.app->push(svm::ToDaemon::kUnlisten, bed.tls.bound.handle);
  peer.write("still");
  bed.exchange(peer);
  EXPECT_EQ(bed.read(*link), (Texts{"still"}));
  DtlsPeer late(true);
  late.step();
  bed.deliver(late.out.front(), 9);
  EXPECT_TRUE(bed.sent(9).empty());
  EXPECT_TRUE(bed.transport.connections[0].open);
  bed.tls.app->close(*link);
  bed.exchange(peer);
  EXPECT_FALSE(bed.transport.connections[0].open);  // with the last of them
}

TEST_F(DtlsServer, AnOldClientHelloOfAnOpenConnectionIsNoNewOne) {
  ASSERT_EQ(bed.listen(), 0);
  bed.carry(peer, 1);
  peer.step();
  const std::string hello = peer.out.front();  // with a good cookie
  bed.exchange(peer);
  link = bed.accept();
  ASSERT_TRUE(link);
  bed.deliver(hello);
  EXPECT_TRUE(bed.sent().empty());
  EXPECT_EQ(bed.stat(dtls::kUnderWay), 0u);
}

TEST_F(DtlsServer, OneHandshakeOfAPortIsUnderWayAtATime) {
  ASSERT_EQ(bed.listen(), 0);
  for (int i = 0; i < 3; ++i) {
    DtlsPeer stops(true);
    bed.carry(stops, 1);
    stops.step();
    bed.deliver(stops.out.front());
    EXPECT_FALSE(bed.sent().empty());
    EXPECT_EQ(bed.stat(dtls::kUnderWay), 1u);
    EXPECT_EQ(bed.stat(dtls::kConnections), 1u);
  }
}

TEST_F(DtlsServer, ReloadIsForItsListenersToo) {
  ASSERT_EQ(bed.listen(), 0);
  const Pem other = make_certificate({.issuer = &bed.tls.authority});
  bed.tls.write("server.pem", other.certificate);
  bed.tls.write("server.key", other.key);
  ASSERT_TRUE(tls::shared().reload.now());
  bed.exchange(peer);
  ASSERT_TRUE(peer.is_open());
  EXPECT_EQ(X509_cmp(SSL_get0_peer_certificate(peer.ssl()), other.x509.get()), 0);
}

TEST_F(DtlsServer, ADatagramWithoutBytesIsCounted) {
  open();
  bed.write(*link, "");
  bed.write(*link, "bytes");
  bed.exchange(peer);
  EXPECT_EQ(peer.got, (Texts{"bytes"}));
  EXPECT_EQ(bed.stat(dtls::kEmpty), 1u);
}

// Nothing of a hostile application's holds its connection open.
TEST_F(DtlsServer, WhatIsWrittenBehindTheEndDoesNotHoldItOpen) {
  open();
  svm::SessionEvent end{link->handle, 0};
  bed.tls.app->push(svm::ToDaemon::kShutdown, end);
  bed.exchange(peer);
  ASSERT_TRUE(SSL_get_shutdown(peer.ssl()) & SSL_RECEIVED_SHUTDOWN);
  bed.write(*link, "late");
  bed.tls.app->close(*link);
  bed.exchange(peer);
  EXPECT_TRUE(peer.got.empty());
  EXPECT_EQ(bed.stat(dtls::kConnections), 0u);
}

// Every datagram of every flight, cut and with bytes changed, to a listener, to handshakes and to
// an open connection: none of them is more than dropped, or the end of its own connection.
TEST_F(DtlsServer, WhateverComesOthersAreNotTouched) {
  open();
  uint32_t random = 7;
  const auto next = [&](std::size_t most) {
    return (random = random * 1664525 + 1013904223) / 256 % most;
  };
  for (uint16_t port = 100; port < 160; ++port) {
    DtlsPeer bad(true);
    for (int flight = 0; flight < 3; ++flight) {
      bad.step();
      for (; !bad.out.empty(); bad.out.pop_front()) {
        std::string d = bad.out.front();
        for (std::size_t i = next(3) + 1; i != 0; --i) d[next(d.size())] ^= 1 << next(8);
        if (next(4) == 0) d.resize(next(d.size()) + 1);
        bed.deliver(d, port);
        bed.deliver(d);  // as if from the good one
        bed.deliver(bad.out.front(), port);
      }
      for (auto& s : bed.sent(port)) bad.in.push_back(std::move(s));
    }
  }
  (void)bed.sent();
  bed.deliver("");
  peer.write("still here");
  bed.exchange(peer);
  EXPECT_EQ(bed.read(*link), (Texts{"still here"}));
}

TEST(Dtls12, IsRefusedWhereOnly13MayBe) {
  DtlsBed bed([](Config& c) { c.least_version = TLS1_3_VERSION; });
  EXPECT_EQ(static_cast<Status>(bed.listen()), Status::kUnsupported);
  bed.tls.start_connect(443, dtls::kProto);
  EXPECT_EQ(static_cast<Status>(bed.tls.outcome().status), Status::kUnsupported);
}

TEST(DtlsClient, BelievesNoServerThatIsAnother) {
  DtlsBed bed;
  DtlsPeer peer(false, [&](SSL_CTX* c) {  // whose certificate is for 10.0.0.0
    SSL_CTX_use_certificate(c, bed.tls.server.x509.get());
    SSL_CTX_use_PrivateKey(c, bed.tls.server.pkey.get());
  });
  bed.start_connect();
  bed.exchange(peer, 443);
  EXPECT_EQ(static_cast<Status>(bed.tls.outcome().status), Status::kPermission);
  EXPECT_FALSE(peer.is_open());
  EXPECT_EQ(bed.stat(dtls::kConnections), 0u);
}

TEST(DtlsClient, HearsThatNobodyListens) {
  DtlsBed bed;
  bed.start_connect();
  ASSERT_FALSE(bed.sent(443).empty());
  bed.worker().sessions->soft_error(bed.worker(), bed.transport.connections[0].session,
                                    ResetReason::kRefused);
  bed.tls.bed.pump();
  EXPECT_EQ(static_cast<Status>(bed.tls.outcome().status), Status::kRefused);
  EXPECT_EQ(bed.stat(dtls::kConnections), 0u);
}

TEST(DtlsClient, AFilterOnTheWayIsNoEndOfAHandshake) {
  DtlsBed bed;
  bed.start_connect();
  ASSERT_FALSE(bed.sent(443).empty());
  bed.worker().sessions->soft_error(bed.worker(), bed.transport.connections[0].session,
                                    ResetReason::kUnreachable);
  bed.tls.bed.pump();
  EXPECT_EQ(bed.stat(dtls::kConnections), 1u);
}

TEST(DtlsClient, SpeaksToOpenSsl) {
  DtlsBed bed;
  const Pem own = make_certificate({.names = "IP:192.0.2.3", .issuer = &bed.tls.authority});
  DtlsPeer peer(false, [&](SSL_CTX* c) {
    SSL_CTX_use_certificate(c, own.x509.get());
    SSL_CTX_use_PrivateKey(c, own.pkey.get());
  });
  bed.start_connect();
  bed.exchange(peer, 443);
  const auto c = bed.tls.outcome();
  ASSERT_EQ(c.status, 0) << bed.stat(dtls::kHandshakesFailed);
  EXPECT_EQ(bed.stat(dtls::kClientHandshakes), 1u);
  auto link = bed.tls.app->connection(c.handle, c.session);
  bed.write(*link, "question");
  bed.exchange(peer, 443);
  EXPECT_EQ(peer.got, (Texts{"question"}));
  peer.write("answer");
  bed.exchange(peer, 443);
  EXPECT_EQ(bed.read(*link), (Texts{"answer"}));
  bed.tls.app->close(*link);
  bed.exchange(peer, 443);
  EXPECT_TRUE(SSL_get_shutdown(peer.ssl()) & SSL_RECEIVED_SHUTDOWN);
  EXPECT_EQ(bed.stat(dtls::kConnections), 0u);
}

}  // namespace
}  // namespace loom::tls
