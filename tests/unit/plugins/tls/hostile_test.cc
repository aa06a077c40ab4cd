// Peers that mean no good, or whose bytes come in unlikely pieces.
#include "tls_bed.h"

namespace loom::tls {
namespace {

struct TlsHostile : testing::Test {
  TlsBed bed;
  TlsBed::Link link, far;

  void listen_and_link() {
    ASSERT_EQ(bed.listen(443), 0);
    link = bed.connect(443, test::PipeTransport::kProto);
  }
  // `peer` is the client of a session that is open; `far` is the application's end.
  void open(Peer& peer) {
    listen_and_link();
    peer.exchange(*bed.app, *link);
    far = bed.accept();
    ASSERT_TRUE(far);
  }
  // A client of ours, whose server the test holds in its hands; its bytes come in such pieces.
  // `far` is the application's end.
  void open_as_client(const std::function<void(SSL_CTX*)>& more, std::size_t piece,
                      uint16_t port = 443) {
    ASSERT_EQ(bed.listen(port, test::PipeTransport::kProto), 0);
    server.emplace(Peer::Role::kServer, more, &pair);
    bed.start_connect(port);
    link = bed.accept();
    ASSERT_TRUE(link);
    for (int i = 0; i < 10; ++i) {
      server->feed(bed.app->read(*link));
      (void)server->shake();
      write_in_pieces(server->records(), piece);
    }
    ASSERT_TRUE(SSL_is_init_finished(server->ssl()));
    const auto done = bed.outcome();
    ASSERT_EQ(done.status, 0);
    far = bed.app->connection(done.handle, done.session);
  }
  const Pem pair = make_certificate({.issuer = &bed.authority});
  std::optional<Peer> server;

  static void only_tls12(SSL_CTX* c) { SSL_CTX_set_max_proto_version(c, TLS1_2_VERSION); }
  void write_in_pieces(const std::string& records, std::size_t piece) {
    for (std::size_t at = 0; at < records.size(); at += piece)
      bed.app->write(*link, std::string_view(records).substr(at, piece));
  }
};

struct TlsSplit : TlsHostile, testing::WithParamInterface<int> {
  std::function<void(SSL_CTX*)> only_this() {
    return [v = GetParam()](SSL_CTX* c) { SSL_CTX_set_max_proto_version(c, v); };
  }
};

TEST_P(TlsSplit, RecordsMayBeSplitAtEveryByte) {
  listen_and_link();
  Peer peer(Peer::Role::kClient, only_this());
  for (int i = 0; i < 10 && !SSL_is_init_finished(peer.ssl()); ++i) {
    (void)peer.shake();
    write_in_pieces(peer.records(), 1);
    peer.feed(bed.app->read(*link));
  }
  ASSERT_TRUE(SSL_is_init_finished(peer.ssl()));
  write_in_pieces(peer.records(), 1);  // Finished
  far = bed.accept();
  ASSERT_TRUE(far);
  const std::string text = pattern(700);
  for (std::size_t at = 0; at < text.size(); at += 7)
    peer.write(std::string_view(text).substr(at, 7));
  write_in_pieces(peer.records(), 1);
  EXPECT_EQ(bed.app->read(*far), text);
  peer.write(pattern(16'384));
  write_in_pieces(peer.records(), 1021);
  EXPECT_TRUE(bed.app->read(*far) == pattern(16'384));
  SSL_shutdown(peer.ssl());
  write_in_pieces(peer.records(), 1);
  EXPECT_TRUE(far->rx.eof());
  EXPECT_EQ(SSL_version(peer.ssl()), GetParam());
}

TEST_P(TlsSplit, AServersRecordsMayBeToo) {
  open_as_client(only_this(), 1);
  ASSERT_TRUE(far);
  const std::string text = pattern(700);
  for (std::size_t at = 0; at < text.size(); at += 7)
    server->write(std::string_view(text).substr(at, 7));
  write_in_pieces(server->records(), 1);
  EXPECT_EQ(bed.app->read(*far), text);
  server->write(pattern(16'384));
  write_in_pieces(server->records(), 1021);
  EXPECT_TRUE(bed.app->read(*far) == pattern(16'384));
  SSL_shutdown(server->ssl());
  write_in_pieces(server->records(), 1);
  EXPECT_TRUE(far->rx.eof());
  EXPECT_EQ(SSL_version(server->ssl()), GetParam());
}

// With the session's keys, and in the middle of its data (RFC 8446 section 6, RFC 5246
// section 7.2).
TEST_P(TlsSplit, AFatalAlertWithItsKeysIsAnErrorBehindTheBytesBeforeIt) {
  for (const bool is_server : {true, false}) {
    SCOPED_TRACE(is_server ? "our server" : "our client");
    std::optional<Peer> client;
    const auto makes = [this](SSL_CTX* c) {
      only_this()(c);
      SSL_CTX_set_max_send_fragment(c, 16'384);
    };
    if (is_server) {
      open(client.emplace(Peer::Role::kClient, makes));
    } else {
      link.reset();
      open_as_client(makes, 4096, 80);
    }
    ASSERT_TRUE(far);
    Peer& peer = is_server ? *client : *server;
    const std::size_t n_alerts = bed.stat(kAlertsReceived);
    peer.write("before");
    // A record that is none makes OpenSSL send an alert, which has its keys.
    std::string records = peer.records();
    peer.feed(std::string("\x17\x03\x03\x00\x20", 5) + std::string(32, 'x'));
    (void)peer.read();
    ERR_clear_error();
    const std::string alert = peer.records();
    ASSERT_GT(alert.size(), 7u);  // it is not a plain one
    bed.app->write(*link, records + alert);
    EXPECT_EQ(bed.app->read(*far), "before");
    EXPECT_TRUE(far->rx.reset());
    EXPECT_EQ(bed.stat(kAlertsReceived), n_alerts + 1);
    bed.app->push(svm::ToDaemon::kReset, link->handle);
    bed.bed.pump();
    EXPECT_EQ(bed.stat(kConnections), 0u);
  }
}

INSTANTIATE_TEST_SUITE_P(, TlsSplit, testing::Values(TLS1_2_VERSION, TLS1_3_VERSION),
                         [](const auto& p) {
                           return p.param == TLS1_2_VERSION ? "Tls12" : "Tls13";
                         });

TEST_F(TlsHostile, GarbageInsteadOfAHandshakeIsAnsweredByAnAlert) {
  listen_and_link();
  bed.app->write(*link, "GET / HTTP/1.0\r\n\r\n");
  bed.bed.pump();
  EXPECT_EQ(bed.stat(kHandshakesFailed), 1u);
  EXPECT_EQ(bed.stat(kUnderWay), 0u);
  EXPECT_TRUE(link->rx.eof() || link->rx.reset());
  EXPECT_FALSE(bed.accept());
}

TEST_F(TlsHostile, ARecordThatWasTamperedWithEndsTheSession) {
  Peer peer(Peer::Role::kClient);
  open(peer);
  peer.write("good");
  bed.app->write(*link, peer.records());
  peer.write("evil");
  std::string record = peer.records();
  record.back() = static_cast<char>(record.back() ^ 1);
  bed.app->write(*link, record);
  EXPECT_EQ(bed.app->read(*far), "good");
  EXPECT_TRUE(far->rx.reset());
  EXPECT_EQ(bed.stat(kBadRecords), 1u);
  peer.feed(bed.app->read(*link));
  (void)peer.read();
  EXPECT_EQ(ERR_GET_REASON(ERR_peek_last_error()), SSL_R_SSLV3_ALERT_BAD_RECORD_MAC);
  ERR_clear_error();
}

TEST_F(TlsHostile, AnAlertInMidStreamIsAnErrorBehindTheBytesBeforeIt) {
  Peer peer(Peer::Role::kClient, only_tls12);
  open(peer);
  peer.write("before");
  std::string records = peer.records();
  records += std::string("\x15\x03\x03\x00\x02\x02\x28", 7);  // not encrypted: refused as well
  bed.app->write(*link, records);
  EXPECT_EQ(bed.app->read(*far), "before");
  EXPECT_TRUE(far->rx.reset());
}

TEST_F(TlsHostile, MessagesWithoutDataHaveABoundInARound) {  // a few bytes each, and hard work
  constexpr int kUpdates = 600;
  Peer peer(Peer::Role::kClient);
  open(peer);
  for (int i = 0; i < kUpdates; ++i) {
    ASSERT_EQ(SSL_key_update(peer.ssl(), SSL_KEY_UPDATE_NOT_REQUESTED), 1);
    ASSERT_TRUE(peer.shake());
  }
  peer.write("x");
  const std::string records = peer.records();
  ASSERT_LT(records.size(), kMostPerCall / 8);
  ASSERT_EQ(link->tx.enqueue(svm::bytes_of(records.data(), records.size())), records.size());
  const svm::SessionEvent written{link->handle, 0};
  ASSERT_EQ(bed.app->requests.push(svm::ToDaemon::kTx, written), svm::MqProducer::Push::kOk);
  int rounds = 0;
  for (; far->rx.refresh() == 0 && rounds < 1000; ++rounds) bed.bed.engine->step(0);
  EXPECT_GT(rounds, kUpdates / 100);
  EXPECT_EQ(bed.app->read(*far), "x");
}

TEST_F(TlsHostile, RenegotiationIsRefused) {
  Peer peer(Peer::Role::kClient, only_tls12);
  open(peer);
  ASSERT_EQ(SSL_renegotiate(peer.ssl()), 1);
  (void)peer.shake();
  const std::string hello = peer.records();
  ASSERT_FALSE(hello.empty());
  bed.app->write(*link, hello);
  const std::string answer = bed.app->read(*link);
  ASSERT_FALSE(answer.empty());
  EXPECT_EQ(answer[0], 21);  // an alert: no_renegotiation, and no ServerHello
  EXPECT_EQ(bed.stat(kServerHandshakes), 1u);
}

// HelloRequest (RFC 5246 section 7.4.1.1): a client may answer no_renegotiation, and goes on.
TEST_F(TlsHostile, RenegotiationThatAServerAsksForIsRefused) {
  open_as_client(only_tls12, 4096);
  ASSERT_TRUE(far);
  ASSERT_EQ(SSL_renegotiate(server->ssl()), 1);
  (void)server->shake();
  const std::string request = server->records();
  ASSERT_FALSE(request.empty());
  bed.app->write(*link, request);
  const std::string answer = bed.app->read(*link);
  ASSERT_FALSE(answer.empty());
  EXPECT_EQ(answer[0], 21);  // an alert and no ClientHello
  EXPECT_EQ(bed.stat(kClientHandshakes), 1u);
  EXPECT_EQ(bed.stat(kUnderWay), 0u);
}

// RFC 7301 section 3.1: the server's is one of those that the client has offered.
TEST_F(TlsHostile, AProtocolThatNobodyOfferedIsNoneToAgreeOn) {
  std::string settings;
  add_setting(settings, Setting::kAlpn, std::string_view("\x02h2"));
  for (const bool is_offered : {true, false}) {
    SCOPED_TRACE(is_offered);
    const auto port = static_cast<uint16_t>(80 + is_offered);
    ASSERT_EQ(bed.listen(port, test::PipeTransport::kProto), 0);
    Peer peer(
        Peer::Role::kServer,
        [&](SSL_CTX* c) {
          SSL_CTX_set_alpn_select_cb(
              c,
              [](SSL*, const unsigned char** out, unsigned char* n, const unsigned char*, unsigned,
                 void* arg) {
                *out = reinterpret_cast<const unsigned char*>(arg ? "h2" : "h3");
                *n = 2;
                return SSL_TLSEXT_ERR_OK;
              },
              is_offered ? c : nullptr);
        },
        &pair);
    bed.start_connect(port, kProto, bed.add_settings(settings));
    link = bed.accept();
    ASSERT_TRUE(link);
    peer.exchange(*bed.app, *link);
    const auto done = bed.outcome();
    EXPECT_EQ(done.status == 0, is_offered);
    if (done.status == 0) continue;
    EXPECT_EQ(bed.stat(kHandshakesFailed), 1u);
    (void)peer.read();
    EXPECT_GT(ERR_GET_REASON(ERR_peek_last_error()), SSL_AD_REASON_OFFSET);  // it has heard why
    ERR_clear_error();
  }
}

TEST_F(TlsHostile, MoreHandshakesThanTheBacklogAreRefused) {
  ASSERT_EQ(bed.listen(443), 0);
  std::vector<TlsBed::Link> links;
  for (int i = 0; i < 20; ++i) {
    links.push_back(bed.connect(443, test::PipeTransport::kProto));
    ASSERT_TRUE(links.back());
  }
  EXPECT_EQ(bed.stat(kUnderWay), 16u);
  EXPECT_EQ(bed.stat(kRefused), 4u);
}

TEST_F(TlsHostile, AReaderThatHasGoneIsNotWrittenToForEver) {
  Peer peer(Peer::Role::kClient);
  open(peer);
  bed.app->close(*far);
  for (int i = 0; i < 40; ++i) {
    peer.write(pattern(16'000));
    bed.app->write(*link, peer.records());
    bed.bed.pump();
  }
  EXPECT_TRUE(link->rx.reset());
  EXPECT_EQ(bed.stat(kConnections), 0u);
}

TEST_F(TlsHostile, WhoSendsToAClosedSessionIsReset) {
  Peer peer(Peer::Role::kClient);
  open(peer);
  while (bed.app->write(*far, pattern(60'000)) != 0) {}  // nobody reads it: there is no end to send
  bed.app->close(*far);
  ASSERT_EQ(bed.stat(kConnections), 1u);
  for (int i = 0; i < 8; ++i) {
    peer.write(pattern(16'000));
    bed.app->write(*link, peer.records());
    bed.bed.pump();
  }
  EXPECT_TRUE(link->rx.reset());
  EXPECT_EQ(bed.stat(kConnections), 0u);
}

// What OpenSSL would answer behind our close_notify goes nowhere, and holds nothing up: KeyUpdate
// (RFC 8446 section 4.6.3) is answered before the next data, and there is none.
TEST_F(TlsHostile, AnAnswerBehindOurEndDoesNotHoldUpWhatStillComes) {
  Peer peer(Peer::Role::kClient);
  open(peer);
  bed.app->push(svm::ToDaemon::kShutdown, far->handle);
  bed.bed.pump();
  peer.feed(bed.app->read(*link));
  EXPECT_EQ(peer.read(), "");
  EXPECT_NE(SSL_get_shutdown(peer.ssl()) & SSL_RECEIVED_SHUTDOWN, 0);
  for (const char* text : {"first", "second"}) {
    ASSERT_EQ(SSL_key_update(peer.ssl(), SSL_KEY_UPDATE_REQUESTED), 1);
    peer.write(text);
    bed.app->write(*link, peer.records());
    EXPECT_EQ(bed.app->read(*far), text);
  }
  SSL_shutdown(peer.ssl());
  bed.app->write(*link, peer.records());
  EXPECT_TRUE(far->rx.eof());
  EXPECT_FALSE(far->rx.reset());
}

// Nor does an alert, which would be sent when it is too late for one.
TEST_F(TlsHostile, ABadRecordBehindOurEndIsTheEndAtOnce) {
  Peer peer(Peer::Role::kClient);
  open(peer);
  bed.app->push(svm::ToDaemon::kShutdown, far->handle);
  bed.bed.pump();
  bed.app->write(*link, std::string("\x17\x03\x03\x00\x20", 5) + std::string(32, 'x'));
  EXPECT_TRUE(far->rx.reset());
  bed.app->close(*link);
  bed.bed.pump();
  EXPECT_EQ(bed.stat(kConnections), 0u);
}

// A server, OpenSSL's, whose tickets are longer than its records: a message comes in pieces, and
// between two of them a client of ours can send nothing.
struct TlsPieces : TlsHostile {
  Peer peer{Peer::Role::kServer,
            [](SSL_CTX* c) {
              SSL_CTX_set_max_send_fragment(c, 512);
              SSL_CTX_set_session_ticket_cb(
                  c,
                  [](SSL* s, void*) {
                    const std::string large(900, 'x');
                    return SSL_SESSION_set1_ticket_appdata(SSL_get0_session(s), large.data(),
                                                           large.size());
                  },
                  nullptr, nullptr);
            },
            &pair};
  TlsBed::Link near;
  std::string rest;  // of the message, when its first piece has come

  void open_in_pieces() {
    ASSERT_EQ(bed.listen(443, test::PipeTransport::kProto), 0);
    bed.start_connect(443);
    link = bed.accept();
    ASSERT_TRUE(link);
    std::string tickets;
    for (int i = 0; i < 5 && !SSL_is_init_finished(peer.ssl()); ++i) {
      peer.feed(bed.app->read(*link));
      (void)peer.shake();
      tickets = peer.records();
      if (!SSL_is_init_finished(peer.ssl())) bed.app->write(*link, tickets);
    }
    const auto done = bed.outcome();
    ASSERT_EQ(done.status, 0);
    near = bed.app->connection(done.handle, done.session);
    ASSERT_GT(tickets.size(), 600u);
    const std::size_t first =
        5 + (static_cast<uint8_t>(tickets[3]) << 8) + static_cast<uint8_t>(tickets[4]);
    ASSERT_LT(first, 600u);
    bed.app->write(*link, tickets.substr(0, first));
    rest = tickets.substr(first);
  }
};

TEST_F(TlsPieces, AMessageInPiecesHoldsTheOtherDirectionUntilItIsWhole) {
  open_in_pieces();
  if (HasFatalFailure()) return;
  bed.app->write(*near, "hello");
  bed.app->push(svm::ToDaemon::kShutdown, near->handle);
  EXPECT_EQ(bed.app->read(*link), "");
  EXPECT_FALSE(near->rx.reset());
  bed.app->write(*link, rest);
  bed.bed.pump();
  peer.feed(bed.app->read(*link));
  EXPECT_EQ(peer.read(), "hello");
  EXPECT_NE(SSL_get_shutdown(peer.ssl()) & SSL_RECEIVED_SHUTDOWN, 0);
  bed.app->push(svm::ToDaemon::kReset, near->handle);
  bed.app->close(*link);
}

TEST_F(TlsPieces, APieceThatNeverComesIsNotWaitedForForEver) {
  open_in_pieces();
  if (HasFatalFailure()) return;
  bed.app->write(*near, "hello");
  bed.app->close(*near);
  EXPECT_EQ(bed.stat(kConnections), 1u);
  for (int i = 0; i < 3; ++i) bed.bed.pump(kLinger + kSecond);
  EXPECT_EQ(bed.stat(kConnections), 0u);
  EXPECT_TRUE(link->rx.eof() || link->rx.reset());
}

TEST_F(TlsHostile, WhoClosesWithBytesUnreadResets) {  // RFC 2525 section 2.17
  Peer peer(Peer::Role::kClient);
  open(peer);
  peer.write("nobody reads this");
  bed.app->write(*link, peer.records());
  bed.bed.pump();
  bed.app->close(*far);
  EXPECT_TRUE(link->rx.reset());
  EXPECT_EQ(bed.stat(kConnections), 0u);
}

}  // namespace
}  // namespace loom::tls
