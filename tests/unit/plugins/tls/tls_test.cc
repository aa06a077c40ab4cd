// TLS between applications of this host, and with OpenSSL at the other end: what the session's user
// sees.
#include "tls_bed.h"

namespace loom::tls {
namespace {

struct Tls : testing::Test {
  TlsBed bed;
  TlsBed::Link near, far;

  void open() {
    ASSERT_EQ(bed.listen(443), 0);
    near = bed.connect(443);
    far = bed.accept();
    ASSERT_TRUE(near && far);
  }
};

TEST_F(Tls, BytesGoBothWaysWhateverTheirNumber) {
  open();
  EXPECT_EQ(bed.stat(kServerHandshakes), 1u);
  EXPECT_EQ(bed.stat(kClientHandshakes), 1u);
  const std::string big = pattern(1'000'000);
  for (auto* from : {near.get(), far.get()}) {
    auto* to = from == near.get() ? far.get() : near.get();
    std::string got;
    std::size_t sent = 0;
    while (got.size() < big.size()) {
      sent += bed.app->write(*from, std::string_view(big).substr(sent));
      const std::string more = bed.app->read(*to);
      ASSERT_FALSE(more.empty()) << "stuck after " << got.size();
      got += more;
    }
    EXPECT_TRUE(got == big);
  }
  EXPECT_EQ(bed.stat(kBytesOut), 2 * big.size());
  EXPECT_EQ(bed.stat(kBytesIn), 2 * big.size());
}

TEST_F(Tls, EachDirectionEndsWithCloseNotify) {
  open();
  bed.app->write(*near, "question");
  bed.app->push(svm::ToDaemon::kShutdown, near->handle);
  EXPECT_EQ(bed.app->read(*far), "question");
  EXPECT_TRUE(far->rx.eof());
  bed.app->write(*far, "answer");
  bed.app->close(*far);
  EXPECT_EQ(bed.app->read(*near), "answer");
  EXPECT_TRUE(near->rx.eof());
  EXPECT_FALSE(near->rx.reset());
  bed.app->close(*near);
  EXPECT_EQ(bed.stat(kTruncated), 0u);
}

TEST_F(Tls, WhatIsWrittenBeforeCloseArrives) {
  open();
  const std::string text = pattern(60'000);
  bed.app->write(*near, text);
  bed.app->close(*near);
  std::string got;
  for (std::string more; !(more = bed.app->read(*far)).empty();) got += more;
  EXPECT_TRUE(got == text);
  EXPECT_TRUE(far->rx.eof());
  bed.app->close(*far);
}

TEST_F(Tls, AReaderThatStopsStopsTheSender) {
  open();
  const std::string block(64 << 10, 'x');
  uint64_t sent = 0, got = 0;
  while (const uint32_t n = bed.app->write(*near, block)) sent += n;
  EXPECT_LT(sent, 8u << 20);
  EXPECT_LT(shared().workers[0]->connections[0]->unsent.size(), 2 * kMaxRecord);
  while (got < sent) {
    const auto n = bed.app->read(*far).size();
    ASSERT_NE(n, 0u) << "stuck after " << got << " of " << sent;
    got += n;
  }
  EXPECT_GT(bed.app->write(*near, block), 0u);
}

TEST_F(Tls, ATruncatedStreamIsAnErrorAndNotItsEnd) {
  ASSERT_EQ(bed.listen(443), 0);
  const auto link = bed.connect(443, test::PipeTransport::kProto);
  Peer peer(Peer::Role::kClient);
  peer.exchange(*bed.app, *link);
  far = bed.accept();
  ASSERT_TRUE(far);
  peer.write("half of it");
  bed.app->write(*link, peer.records());
  bed.app->push(svm::ToDaemon::kShutdown, link->handle);  // FIN, and no close_notify
  EXPECT_EQ(bed.app->read(*far), "half of it");
  EXPECT_FALSE(far->rx.eof());
  EXPECT_TRUE(far->rx.reset());
  EXPECT_EQ(far->rx.error(), ECONNRESET);
  EXPECT_EQ(bed.stat(kTruncated), 1u);
  bed.app->close(*far);
  bed.app->close(*link);
}

TEST_F(Tls, WhatCameBeforeAResetIsReadBeforeTheError) {
  constexpr uint32_t kFifo = 256 << 10;  // and more than a round decrypts waits below
  const std::string text = pattern(kFifo + kMostPerCall + 50'000);
  svm::AttachRequest large{};
  large.rx_fifo_size = large.tx_fifo_size = kFifo;
  bed.app = std::make_unique<test::TestApp>(bed.bed, large);
  // The application has read what it had when the reset comes, or has not, and there is no room.
  for (const bool has_room : {true, false}) {
    SCOPED_TRACE(has_room);
    if (has_room) {
      ASSERT_EQ(bed.listen(443), 0);
    }
    const auto link = bed.connect(443, test::PipeTransport::kProto);
    Peer peer(Peer::Role::kClient);
    peer.exchange(*bed.app, *link);
    far = bed.accept();
    ASSERT_TRUE(far);
    peer.write(text);
    const std::string records = peer.records();
    for (std::size_t sent = 0; sent < records.size();) {
      const uint32_t n = bed.app->write(*link, std::string_view(records).substr(sent));
      ASSERT_NE(n, 0u);
      sent += n;
    }
    std::string got;
    if (has_room) {  // and the daemon has not heard of it
      got.resize(far->rx.refresh());
      ASSERT_LT(got.size(), text.size());
      got.resize(far->rx.dequeue(std::as_writable_bytes(std::span(got))));
    }
    bed.app->push(svm::ToDaemon::kReset, link->handle);
    EXPECT_TRUE(far->rx.reset());
    EXPECT_EQ(far->rx.error(), ECONNRESET);
    got += bed.app->read(*far);
    EXPECT_TRUE(text.starts_with(got));
    if (has_room)
      EXPECT_EQ(got.size(), text.size());
    else
      EXPECT_EQ(got.size(), kFifo);
    EXPECT_EQ(bed.stat(kConnections), 0u);
    bed.app->close(*far);
  }
}

TEST_F(Tls, APeerThatClosesInOrderIsAnEnd) {
  ASSERT_EQ(bed.listen(443), 0);
  const auto link = bed.connect(443, test::PipeTransport::kProto);
  Peer peer(Peer::Role::kClient);
  peer.exchange(*bed.app, *link);
  far = bed.accept();
  ASSERT_TRUE(far);
  bed.app->write(*far, "hello");
  peer.exchange(*bed.app, *link);
  EXPECT_EQ(peer.read(), "hello");
  SSL_shutdown(peer.ssl());
  peer.exchange(*bed.app, *link);
  EXPECT_TRUE(far->rx.eof());
  bed.app->close(*far);
  peer.exchange(*bed.app, *link);
  EXPECT_EQ(peer.read(), "");
  EXPECT_NE(SSL_get_shutdown(peer.ssl()) & SSL_RECEIVED_SHUTDOWN, 0);
  bed.app->close(*link);
}

TEST_F(Tls, AHandshakeThatDoesNotEndIsGivenUp) {
  ASSERT_EQ(bed.listen(443), 0);
  const auto link = bed.connect(443, test::PipeTransport::kProto);
  EXPECT_EQ(bed.stat(kUnderWay), 1u);
  bed.bed.pump(11 * kSecond);
  bed.bed.pump();
  EXPECT_EQ(bed.stat(kUnderWay), 0u);
  EXPECT_EQ(bed.stat(kHandshakesTimedOut), 1u);
  EXPECT_TRUE(link->rx.eof() || link->rx.reset());
  EXPECT_FALSE(bed.accept());
  bed.app->close(*link);
}

TEST_F(Tls, HandshakesUnderWayEndWithTheirListener) {
  ASSERT_EQ(bed.listen(443), 0);
  const auto link = bed.connect(443, test::PipeTransport::kProto);
  EXPECT_EQ(bed.stat(kUnderWay), 1u);
  EXPECT_FALSE(bed.accept());
  bed.app->die();
  bed.bed.pump();
  EXPECT_EQ(bed.stat(kUnderWay), 0u);
  EXPECT_EQ(bed.stat(kConnections), 0u);
}

TEST_F(Tls, GoesOnWhenTheSessionLayerIsEnabledAgain) {
  for (const bool connects_first : {false, true}) {
    open();
    if (HasFatalFailure()) return;
    ASSERT_TRUE(bed.bed.layer->set_enabled(false));
    bed.bed.pump();
    near.reset();
    far.reset();
    bed.app.reset();
    ASSERT_TRUE(bed.bed.layer->set_enabled(true));
    bed.app = std::make_unique<test::TestApp>(bed.bed);
    EXPECT_EQ(bed.stat(kConnections), 0u);
    if (!connects_first) continue;
    ASSERT_EQ(bed.listen(444, test::PipeTransport::kProto), 0);
    bed.start_connect(444);
    const auto link = bed.accept();
    ASSERT_TRUE(link) << "the first is none that is refused";
    Peer peer(Peer::Role::kServer, {}, &bed.server);
    peer.exchange(*bed.app, *link);
    EXPECT_EQ(bed.outcome().status, 0);
    bed.app->push(svm::ToDaemon::kReset, link->handle);
  }
  open();
}

TEST(TlsVerify, AClientRefusesAServerThatItCannotBelieve) {
  struct Case {
    const char* what;
    Wanted wanted;
    bool is_self_signed, is_good;
  };
  const Case cases[] = {
      {"good", {}, false, true},
      {"self-signed", {}, true, false},
      {"expired", {.from = -7200, .until = -3600}, false, false},
      {"not yet valid", {.from = 3600}, false, false},
      {"another address", {.names = "DNS:server.test,IP:10.0.0.9"}, false, false},
      {"no name", {.names = ""}, false, false},
  };
  for (const Case& k : cases) {
    SCOPED_TRACE(k.what);
    TlsBed bed;
    ASSERT_EQ(bed.listen(443, test::PipeTransport::kProto), 0);
    Wanted w = k.wanted;
    if (!k.is_self_signed) w.issuer = &bed.authority;
    const Pem pair = make_certificate(w);
    Peer peer(Peer::Role::kServer, {}, &pair);
    bed.start_connect(443);
    const auto link = bed.accept();
    ASSERT_TRUE(link);
    peer.exchange(*bed.app, *link);
    const auto done = bed.outcome();
    EXPECT_EQ(done.status, k.is_good ? 0 : static_cast<int32_t>(Status::kPermission));
    EXPECT_EQ(bed.stat(kVerifyFailed), k.is_good ? 0u : 1u);
    if (k.is_good) {
      const auto near = bed.app->connection(done.handle, done.session);
      bed.app->push(svm::ToDaemon::kReset, near->handle);
    } else {
      (void)peer.read();  // the alert
      EXPECT_NE(ERR_peek_last_error(), 0u);
      ERR_clear_error();
    }
    bed.app->close(*link);
  }
}

TEST(TlsVerify, AClientThatCannotBelieveUsSaysSo) {
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    TlsBed bed;
    ASSERT_EQ(bed.listen(443), 0);
    Peer peer(Peer::Role::kClient, [version](SSL_CTX* c) {
      SSL_CTX_set_max_proto_version(c, version);
      SSL_CTX_set_verify(c, SSL_VERIFY_PEER, nullptr);  // and it believes nobody
    });
    const auto link = bed.connect(443, test::PipeTransport::kProto);
    peer.exchange(*bed.app, *link);
    ERR_clear_error();
    EXPECT_FALSE(bed.accept());
    EXPECT_EQ(bed.stat(kAlertsReceived), 1u);
    EXPECT_EQ(bed.stat(kHandshakesFailed), 1u);
    EXPECT_EQ(bed.stat(kVerifyFailed), 0u);  // that was not ours
  }
}

TEST(TlsKeys, EveryKindOfKeyInEveryVersion) {
  for (const char* type : {"RSA", "EC", "ED25519"})
    for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
      SCOPED_TRACE(std::string(type) + " " + std::to_string(version));
      TlsBed bed([&](Config& c) { c.least_version = c.most_version = version; }, type);
      ASSERT_EQ(bed.listen(443), 0);
      const auto near = bed.connect(443);
      const auto far = bed.accept();
      ASSERT_TRUE(near && far);
      bed.app->write(*near, "hello");
      EXPECT_EQ(bed.app->read(*far), "hello");
    }
}

TEST(TlsVerify, AServerThatAsksForACertificateTakesOnlyTheAuthoritys) {
  for (const char* what : {"good", "none", "self-signed"}) {
    SCOPED_TRACE(what);
    TlsBed bed([](Config& c) { c.verify_client = Verify::kRequired; });
    ASSERT_EQ(bed.listen(443), 0);
    const bool is_good = std::string_view(what) == "good";
    const Pem pair = make_certificate({.issuer = is_good ? &bed.authority : nullptr, .serial = 7});
    const bool has_none = std::string_view(what) == "none";
    Peer peer(Peer::Role::kClient, {}, has_none ? nullptr : &pair);
    const auto link = bed.connect(443, test::PipeTransport::kProto);
    peer.exchange(*bed.app, *link);
    const auto far = bed.accept();
    EXPECT_EQ(!!far, is_good);
    EXPECT_EQ(bed.stat(kHandshakesFailed), is_good ? 0u : 1u);
    if (!is_good) {
      (void)peer.read();
      EXPECT_EQ(ERR_GET_REASON(ERR_peek_last_error()),
                has_none ? SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED : SSL_R_TLSV1_ALERT_UNKNOWN_CA);
    }
    ERR_clear_error();
    bed.app->close(*link);
  }
}

// A client of ours without the certificate that its server asks for: both ends hear why (RFC 8446
// section 4.4.2.4: certificate_required; RFC 5246 section 7.4.6: handshake_failure).
TEST(TlsVerify, AClientWithoutTheCertificateThatIsAskedForHearsSo) {
  static int alert;
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    SCOPED_TRACE(version);
    TlsBed bed;
    ASSERT_EQ(bed.listen(80, test::PipeTransport::kProto), 0);
    Peer peer(
        Peer::Role::kServer,
        [version](SSL_CTX* c) {
          SSL_CTX_set_max_proto_version(c, version);
          SSL_CTX_set_verify(c, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
        },
        &bed.server);
    alert = 0;
    SSL_set_info_callback(peer.ssl(), [](const SSL*, int where, int what) {
      if (where == SSL_CB_WRITE_ALERT) alert = what & 0xff;
    });
    bed.start_connect(80);
    auto link = bed.accept();
    ASSERT_TRUE(link);
    peer.exchange(*bed.app, *link);
    EXPECT_FALSE(SSL_is_init_finished(peer.ssl()));
    EXPECT_EQ(alert,
              version == TLS1_2_VERSION ? SSL_AD_HANDSHAKE_FAILURE : SSL_AD_CERTIFICATE_REQUIRED);
    ERR_clear_error();
    EXPECT_EQ(bed.stat(kAlertsReceived), 1u);
    const auto c = bed.outcome();
    if (version == TLS1_2_VERSION) {
      EXPECT_EQ(c.status, static_cast<int32_t>(Status::kReset));
      EXPECT_EQ(bed.stat(kHandshakesFailed), 1u);
    } else {  // of 1.3 the client's handshake was done before the server saw what is missing
      ASSERT_EQ(c.status, 0);
      EXPECT_TRUE(bed.app->connection(c.handle, c.session)->rx.reset());
    }
    bed.app->close(*link);
  }
}

// The same of a server of ours and a client of ours.
TEST(TlsVerify, OurServerThatIsShownNoneSaysSoToOurClient) {
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    SCOPED_TRACE(version);
    TlsBed bed([version](Config& c) {
      c.verify_client = Verify::kRequired;
      c.most_version = version;
    });
    ASSERT_EQ(bed.listen(443), 0);
    bed.start_connect(443);
    EXPECT_FALSE(bed.accept());
    const auto c = bed.outcome();
    if (version == TLS1_2_VERSION) {
      EXPECT_EQ(c.status, static_cast<int32_t>(Status::kReset));
    } else {
      ASSERT_EQ(c.status, 0);
      EXPECT_TRUE(bed.app->connection(c.handle, c.session)->rx.reset());
    }
    EXPECT_EQ(bed.stat(kAlertsReceived), 1u);
    EXPECT_EQ(bed.stat(kServerHandshakes), 0u);
    EXPECT_EQ(bed.stat(kUnderWay), 0u);
  }
}

}  // namespace
}  // namespace loom::tls
