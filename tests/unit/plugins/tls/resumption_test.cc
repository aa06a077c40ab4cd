// What a ticket is good for: the name under which it was given, and not longer than the certificate
// that its handshake has seen.
#include "tls_bed.h"

namespace loom::tls {
namespace {

struct TlsResumption : testing::Test {
  static constexpr int kVersions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
  using Ticket = std::shared_ptr<SSL_SESSION>;
  struct Visit {
    bool is_good = false, is_resumed = false;
    Ticket ticket;
    int alert = 0;  // that the client has got
  };
  TlsBed bed;

  // Of a client of OpenSSL's, which asks for that name with that ticket.
  Visit visit(int version, const char* name, const Ticket& ticket = {}, const Pem* pair = nullptr) {
    Visit o;
    Peer peer(
        Peer::Role::kClient,
        [version](SSL_CTX* c) {
          SSL_CTX_set_min_proto_version(c, version);
          SSL_CTX_set_max_proto_version(c, version);
        },
        pair);
    if (name) SSL_set_tlsext_host_name(peer.ssl(), name);
    if (ticket) SSL_set_session(peer.ssl(), ticket.get());
    const auto link = bed.connect(443, test::PipeTransport::kProto);
    peer.exchange(*bed.app, *link);
    const auto far = bed.accept();
    (void)peer.read();
    o.alert = ERR_GET_REASON(ERR_peek_last_error());
    ERR_clear_error();
    o.is_good = !!far;
    o.is_resumed = SSL_session_reused(peer.ssl()) == 1;
    o.ticket.reset(SSL_get1_session(peer.ssl()), SSL_SESSION_free);
    SSL_set_shutdown(peer.ssl(), SSL_SENT_SHUTDOWN);  // else it is good for nothing at its end
    bed.app->push(svm::ToDaemon::kReset, link->handle);
    if (far) bed.app->close(*far);
    return o;
  }
  // Where expired certificates are good, for as long as a test wants so.
  static void look_at_time(bool looks) {
    X509_VERIFY_PARAM* const p = X509_STORE_get0_param(shared().store.get());
    looks ? X509_VERIFY_PARAM_clear_flags(p, X509_V_FLAG_NO_CHECK_TIME)
          : X509_VERIFY_PARAM_set_flags(p, X509_V_FLAG_NO_CHECK_TIME);
  }
};

// RFC 6066 section 3: with another name it is a whole handshake, and the certificate the one for
// that name.
TEST_F(TlsResumption, IsUnderTheNameOfTheFirstHandshake) {
  ASSERT_EQ(bed.listen(443), 0);
  for (const int version : kVersions) {
    SCOPED_TRACE(version);
    for (const char* name : {"server.test", "unknown.test", static_cast<const char*>(nullptr)}) {
      SCOPED_TRACE(name ? name : "no name");
      const auto first = visit(version, name);
      ASSERT_TRUE(first.is_good && first.ticket);
      EXPECT_FALSE(first.is_resumed);
      const auto other = visit(version, "other.test", first.ticket);
      EXPECT_TRUE(other.is_good);
      EXPECT_FALSE(other.is_resumed);
      const auto again = visit(version, name, visit(version, name).ticket);
      EXPECT_TRUE(again.is_resumed);
      EXPECT_TRUE(visit(version, name, again.ticket).is_resumed);
    }
    const auto named = visit(version, "server.test");
    EXPECT_FALSE(visit(version, nullptr, named.ticket).is_resumed);
    EXPECT_TRUE(visit(version, "SERVER.test", visit(version, "server.test").ticket).is_resumed);
  }
}

// Of a client without tickets nothing is kept, not even where there is a cache, which is for early
// data: a session that is found by its number would be resumed under any name.
TEST_F(TlsResumption, IsByTicketsAlone) {
  std::string settings;
  add_setting(settings, Setting::kEarlyData, 16'384u);
  ASSERT_EQ(bed.listen(443, kProto, bed.add_settings(settings)), 0);
  const auto resumes = [&](uint64_t options) {
    Ticket session;
    bool is_resumed = false;
    for (int i = 0; i < 2; ++i) {
      Peer peer(Peer::Role::kClient, [options](SSL_CTX* c) {
        SSL_CTX_set_max_proto_version(c, TLS1_2_VERSION);
        SSL_CTX_set_options(c, options);
      });
      if (session) SSL_set_session(peer.ssl(), session.get());
      const auto link = bed.connect(443, test::PipeTransport::kProto);
      peer.exchange(*bed.app, *link);
      const auto far = bed.accept();
      EXPECT_TRUE(far);
      bed.app->write(*far, "x");
      peer.feed(bed.app->read(*link));
      EXPECT_EQ(peer.read(), "x");
      is_resumed = SSL_session_reused(peer.ssl()) == 1;
      session.reset(SSL_get1_session(peer.ssl()), SSL_SESSION_free);
      bed.app->close(*far);  // in order: that of a connection that is cut off is good no more
      SSL_set_shutdown(peer.ssl(), SSL_SENT_SHUTDOWN);  // likewise
    }
    return is_resumed;
  };
  EXPECT_TRUE(resumes(0));
  EXPECT_FALSE(resumes(SSL_OP_NO_TICKET));
  EXPECT_EQ(shared().listeners.begin()->second->context->early_sessions.size(), 0u);
}

// A ticket is renewed each time, and nobody would look at the certificate ever again.
TEST_F(TlsResumption, EndsWithTheClientsCertificate) {
  const Pem good = make_certificate({.issuer = &bed.authority});
  const Pem expired = make_certificate({.issuer = &bed.authority, .from = -7200, .until = -3600});
  std::string settings;
  add_setting(settings, Setting::kVerify, uint32_t{2});
  ASSERT_EQ(bed.listen(443, kProto, bed.add_settings(settings)), 0);
  for (const int version : kVersions) {
    SCOPED_TRACE(version);
    look_at_time(false);
    const auto of_good = visit(version, nullptr, {}, &good);
    const auto first = visit(version, nullptr, {}, &expired);
    const auto kept = visit(version, nullptr, {}, &expired);
    ASSERT_TRUE(of_good.is_good && first.is_good && kept.is_good);
    look_at_time(true);
    EXPECT_TRUE(visit(version, nullptr, of_good.ticket, &good).is_resumed);
    const auto again = visit(version, nullptr, first.ticket, &expired);
    EXPECT_FALSE(again.is_good);
    EXPECT_FALSE(again.is_resumed);
    EXPECT_EQ(again.alert, SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED);
    // With one that is good it may come back.
    const auto renewed = visit(version, nullptr, kept.ticket, &good);
    EXPECT_TRUE(renewed.is_good);
    EXPECT_FALSE(renewed.is_resumed);
  }
}

// Nor does our client resume what it would not believe any more.
TEST_F(TlsResumption, EndsWithTheServersCertificate) {
  const Pem expired = make_certificate({.issuer = &bed.authority, .from = -7200, .until = -3600});
  ASSERT_EQ(bed.listen(443, kProto, bed.add_settings(TlsBed::pair_settings(expired))), 0);
  look_at_time(false);
  for (int i = 0; i < 2; ++i) {
    const auto near = bed.connect(443);
    const auto from = bed.accept();
    ASSERT_TRUE(near && from);
    bed.app->write(*from, "x");  // behind the tickets
    EXPECT_EQ(bed.app->read(*near), "x");
    bed.app->close(*near);
    bed.app->close(*from);
  }
  EXPECT_EQ(bed.stat(kResumed), 0u);
  look_at_time(true);
  bed.start_connect(443);
  EXPECT_EQ(bed.outcome().status, static_cast<int32_t>(Status::kPermission));
}

}  // namespace
}  // namespace loom::tls
