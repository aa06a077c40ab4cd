// Which keys servers of DTLS have: of several kinds for one name each client has its own, and pairs
// of EdDSA, for which there is no cipher, are left out.
#include "tests/unit/plugins/tls/dtls_bed.h"

namespace loom::tls {
namespace {

TEST(DtlsKeys, OfEveryKindThatThereIsACipherFor) {
  for (const char* type : {"RSA", "EC", "ED25519"}) {
    DtlsBed bed;
    const Pem pair = make_certificate({.issuer = &bed.tls.authority, .key_type = type});
    const int32_t status = bed.listen(bed.tls.add_settings(TlsBed::pair_settings(pair)));
    if (std::string_view(type) == "ED25519") {
      EXPECT_EQ(static_cast<Status>(status), Status::kUnsupported);
      EXPECT_NE(bed.tls.log.find("EdDSA"), std::string::npos);
      continue;
    }
    ASSERT_EQ(status, 0);
    DtlsPeer peer(true);
    bed.exchange(peer);
    EXPECT_TRUE(peer.is_open()) << type;
  }
}

// The name itself before a wildcard, and of that each client has the kind that it can check.
TEST(DtlsKeys, OfTwoKindsForOneNameEachClientHasItsOwn) {
  DtlsBed bed;
  std::string settings;
  const auto add = [&](const char* names, const char* type, long serial) {
    const Pem p = make_certificate(
        {.names = names, .issuer = &bed.tls.authority, .key_type = type, .serial = serial});
    const uint32_t pair = bed.tls.add_settings(TlsBed::pair_settings(p), false);
    add_setting(settings, Setting::kPair, pair);
  };
  add("DNS:*.x.test", "EC", 10);
  add("DNS:www.x.test", "EC", 11);
  add("DNS:www.x.test", "RSA", 12);
  ASSERT_EQ(bed.listen(bed.tls.add_settings(settings)), 0);
  uint16_t port = 7;
  for (const auto& [ciphers, serial] :
       {std::pair("ECDHE+aECDSA", 11L), std::pair("ECDHE+aRSA", 12L), std::pair("ECDHE", 11L)}) {
    SCOPED_TRACE(ciphers);
    std::shared_ptr<SSL_SESSION> ticket;
    for (const bool is_resumed : {false, true}) {
      DtlsPeer p(true, [&](SSL_CTX* c) { SSL_CTX_set_cipher_list(c, ciphers); });
      SSL_set_tlsext_host_name(p.ssl(), "www.x.test");
      if (ticket) SSL_set_session(p.ssl(), ticket.get());
      bed.exchange(p, ++port);
      ASSERT_TRUE(p.is_open());
      EXPECT_TRUE(bed.accept());
      EXPECT_EQ(SSL_session_reused(p.ssl()) == 1, is_resumed);
      const X509* const x = SSL_get0_peer_certificate(p.ssl());
      ASSERT_TRUE(x);
      EXPECT_EQ(ASN1_INTEGER_get(X509_get0_serialNumber(x)), serial);
      ticket.reset(SSL_get1_session(p.ssl()), SSL_SESSION_free);
      SSL_set_shutdown(p.ssl(), SSL_SENT_SHUTDOWN);  // else it is good for nothing at its end
    }
  }
}

struct DtlsEdDsa : testing::Test {
  DtlsBed bed;
  uint16_t port = 7;  // of the last client

  Pem make(const char* names, const char* type, long serial) {
    return make_certificate(
        {.names = names, .issuer = &bed.tls.authority, .key_type = type, .serial = serial});
  }
  // In the place of what the n-th pair of the stanza has in its files.
  void write(std::size_t n, const char* type, long serial) {
    const Pem p = make("DNS:server.test", type, serial);
    Config& c = tls::shared().config;
    c.certificates.resize(std::max(c.certificates.size(), n + 1));
    c.keys.resize(c.certificates.size());
    const std::string name = "pair" + std::to_string(n);
    c.certificates[n] = bed.tls.write(name + ".pem", p.certificate);
    c.keys[n] = bed.tls.write(name + ".key", p.key);
  }
  // The serial number of what a client is shown; 0: the handshake has failed.
  long shown(const char* name = nullptr) {
    DtlsPeer p(true);
    if (name) SSL_set_tlsext_host_name(p.ssl(), name);
    bed.exchange(p, ++port);
    const X509* const x = p.is_open() ? SSL_get0_peer_certificate(p.ssl()) : nullptr;
    return x ? ASN1_INTEGER_get(X509_get0_serialNumber(x)) : 0;
  }
  static long first_of(const ServerContext& c) {
    return ASN1_INTEGER_get(X509_get0_serialNumber(SSL_CTX_get0_certificate(c.ssl.get())));
  }
};

TEST_F(DtlsEdDsa, IsLeftOutBesideOthersOfAnApplication) {
  std::string settings;
  const auto add = [&](const Pem& p) {
    add_setting(settings, Setting::kPair, bed.tls.add_settings(TlsBed::pair_settings(p), false));
  };
  add(make("DNS:www.x.test", "ED25519", 11));
  add(make("DNS:first.test", "EC", 12));
  add(make("DNS:www.x.test", "ED448", 13));
  add(make("DNS:*.x.test", "RSA", 14));
  ASSERT_EQ(bed.listen(bed.tls.add_settings(settings)), 0);
  EXPECT_EQ(shown(), 12);  // the first of those that are left
  EXPECT_EQ(shown("first.test"), 12);
  EXPECT_EQ(shown("www.x.test"), 14);
}

TEST_F(DtlsEdDsa, IsLeftOutBesideOthersOfTheStanzaAlsoWhenItComesByReload) {
  write(0, "ED25519", 11);
  write(1, "RSA", 12);
  ASSERT_EQ(bed.tls.listen(444), 0);
  ASSERT_EQ(bed.listen(), 0);
  const auto& streams = *tls::shared().listeners.begin()->second;
  EXPECT_EQ(first_of(*streams.context), 11);
  EXPECT_EQ(streams.context->sites.size(), 2u);
  EXPECT_EQ(shown(), 12);
  write(0, "EC", 21);
  write(1, "ED25519", 22);
  const auto reloaded = tls::shared().reload.now();
  ASSERT_TRUE(reloaded) << reloaded.error().message;
  EXPECT_EQ(first_of(*streams.context), 21);
  EXPECT_EQ(streams.context->sites.size(), 2u);
  EXPECT_EQ(shown(), 21);
}

// All of a reload holds, or nothing: a listener that were left with what it had would go on with
// the trust and the lists of before, too.
TEST_F(DtlsEdDsa, AReloadThatLeavesAListenerWithNothingElseChangesNothing) {
  write(0, "EC", 11);
  ASSERT_EQ(bed.tls.listen(444), 0);
  ASSERT_EQ(bed.listen(), 0);
  const auto& streams = *tls::shared().listeners.begin()->second;
  write(0, "ED25519", 21);
  const auto refused = tls::shared().reload.now();
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Status::kUnsupported);
  EXPECT_NE(refused.error().message.find("EdDSA"), std::string::npos);
  EXPECT_EQ(first_of(*streams.context), 11);
  EXPECT_EQ(shown(), 11);
  bed.tls.app->listener->holders.store(0);
  bed.tls.app->push(svm::ToDaemon::kUnlisten, bed.tls.bound.handle);
  bed.tls.bed.pump();
  ASSERT_TRUE(dtls::shared().listeners.empty());
  EXPECT_TRUE(tls::shared().reload.now());
  EXPECT_EQ(first_of(*streams.context), 21);
}

}  // namespace
}  // namespace loom::tls
