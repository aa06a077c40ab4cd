// Which of a listener's certificates a client is shown: by the name that it asks for, and by the
// kinds of keys that it can check.
#include "tls_bed.h"

namespace loom::tls {
namespace {

struct Names {
  const char* names;
  const char* key_type;
  long serial;
};
enum class Takes : uint8_t { kAny, kRsa, kEcdsa };

struct TlsSeveralKeys : testing::TestWithParam<int> {
  TlsBed bed;
  uint16_t port = 443;  // of the last listener

  void listen(std::initializer_list<Names> all) {
    std::string settings;
    for (const Names& n : all) {
      const Pem p = make_certificate(
          {.names = n.names, .issuer = &bed.authority, .key_type = n.key_type, .serial = n.serial});
      add_setting(settings, Setting::kPair, bed.add_settings(TlsBed::pair_settings(p), false));
    }
    ASSERT_EQ(bed.listen(++port, kProto, bed.add_settings(settings)), 0);
  }
  struct Visit {
    long serial = 0;  // of the certificate that was shown; 0: the handshake has failed
    bool is_resumed = false;
    std::shared_ptr<SSL_SESSION> ticket;
  };
  Visit visit(const char* name, Takes takes = Takes::kAny, SSL_SESSION* ticket = nullptr) {
    Peer peer(Peer::Role::kClient, [&](SSL_CTX* c) {
      SSL_CTX_set_min_proto_version(c, GetParam());
      SSL_CTX_set_max_proto_version(c, GetParam());
      if (takes == Takes::kAny) return;
      const bool is_rsa = takes == Takes::kRsa;
      if (GetParam() == TLS1_2_VERSION)
        SSL_CTX_set_cipher_list(c, is_rsa ? "ECDHE+aRSA" : "ECDHE+aECDSA");
      else
        SSL_CTX_set1_sigalgs_list(c, is_rsa ? "RSA-PSS+SHA256" : "ECDSA+SHA256");
    });
    if (name) SSL_set_tlsext_host_name(peer.ssl(), name);
    if (ticket) SSL_set_session(peer.ssl(), ticket);
    const auto link = bed.connect(port, test::PipeTransport::kProto);
    peer.exchange(*bed.app, *link);
    const auto far = bed.accept();
    (void)peer.read();  // the tickets
    ERR_clear_error();
    Visit v;
    if (const X509* x = far ? SSL_get0_peer_certificate(peer.ssl()) : nullptr)
      v.serial = ASN1_INTEGER_get(X509_get0_serialNumber(x));
    v.is_resumed = SSL_session_reused(peer.ssl()) == 1;
    v.ticket.reset(SSL_get1_session(peer.ssl()), SSL_SESSION_free);
    SSL_set_shutdown(peer.ssl(), SSL_SENT_SHUTDOWN);  // else it is good for nothing at its end
    bed.app->push(svm::ToDaemon::kReset, link->handle);
    if (far) bed.app->close(*far);
    return v;
  }
  long shown(const char* name, Takes takes = Takes::kAny) { return visit(name, takes).serial; }
};

TEST_P(TlsSeveralKeys, TheNameItselfComesBeforeAWildcard) {
  listen({{"DNS:default.test", "EC", 11},
          {"DNS:*.x.test", "EC", 12},
          {"DNS:www.x.test", "EC", 13},
          {"DNS:other.test,DNS:*.y.test,DNS:ftp.x.test", "EC", 14},
          {"DNS:www.x.test", "EC", 15}});
  EXPECT_EQ(shown("www.x.test"), 13);
  EXPECT_EQ(shown("WWW.x.test"), 13);
  EXPECT_EQ(shown("ftp.x.test"), 14);
  EXPECT_EQ(shown("mail.x.test"), 12);
  EXPECT_EQ(shown("www.y.test"), 14);
  EXPECT_EQ(shown("x.test"), 11);
}

// Also where the first pair is the one with the wildcard, and OpenSSL has it before it is asked.
TEST_P(TlsSeveralKeys, NorIsTheFirstOneShownInItsPlace) {
  listen({{"DNS:*.x.test", "EC", 11}, {"DNS:www.x.test", "EC", 12}});
  EXPECT_EQ(shown("www.x.test"), 12);
  EXPECT_EQ(shown("mail.x.test"), 11);
  EXPECT_EQ(shown(nullptr), 11);
}

TEST_P(TlsSeveralKeys, OfEachNameTheClientHasThatOfItsKind) {
  for (const bool rsa_first : {true, false}) {
    SCOPED_TRACE(rsa_first);
    // The odd numbers are of RSA.
    const Names rsa{"DNS:first.test", "RSA", 11}, ec{"DNS:first.test", "EC", 12};
    listen({rsa_first ? rsa : ec,
            {"DNS:*.wild.test", "EC", 14},
            rsa_first ? ec : rsa,
            {"DNS:*.wild.test", "RSA", 13},
            {"DNS:first.test", "RSA", 17},  // another of the same kind
            {"DNS:only.wild.test", "EC", 16}});
    for (const char* name : {"first.test", "unknown.test", static_cast<const char*>(nullptr)}) {
      SCOPED_TRACE(name ? name : "none");
      EXPECT_EQ(shown(name, Takes::kRsa), 11);
      EXPECT_EQ(shown(name, Takes::kEcdsa), 12);
      EXPECT_EQ(shown(name, Takes::kAny), 12);
    }
    EXPECT_EQ(shown("a.wild.test", Takes::kRsa), 13);
    EXPECT_EQ(shown("a.wild.test", Takes::kEcdsa), 14);
    EXPECT_EQ(shown("a.wild.test", Takes::kAny), 14);
    EXPECT_EQ(shown("only.wild.test", Takes::kEcdsa), 16);
    EXPECT_EQ(shown("only.wild.test", Takes::kRsa), 13);  // else it would have none
    EXPECT_EQ(shown("only.wild.test", Takes::kAny), 16);
  }
}

// Behind the name itself wildcards are for who cannot check its kind of key, those of other names
// for nobody.
TEST_P(TlsSeveralKeys, AWildcardIsForWhoCannotCheckTheNameItself) {
  listen({{"DNS:*.x.test", "RSA", 11},
          {"DNS:www.x.test", "EC", 12},
          {"DNS:*.x.test", "RSA", 13},
          {"DNS:*.x.test", "EC", 14},
          {"DNS:*.y.test", "RSA", 15},
          {"DNS:www.y.test", "RSA", 17},
          {"DNS:x.y.test", "EC", 16},
          {"DNS:www.z.test", "EC", 18},
          {"DNS:www.w.test", "RSA", 19},
          {"DNS:*.w.test", "EC", 20}});
  EXPECT_EQ(shown("www.x.test", Takes::kRsa), 11);
  EXPECT_EQ(shown("www.x.test", Takes::kEcdsa), 12);
  EXPECT_EQ(shown("www.x.test", Takes::kAny), 12);
  EXPECT_EQ(shown("www.y.test", Takes::kRsa), 17);
  EXPECT_EQ(shown("www.y.test", Takes::kEcdsa), 0);
  EXPECT_EQ(shown("www.z.test", Takes::kRsa), 0);
  EXPECT_EQ(shown("www.w.test", Takes::kRsa), 19);
  EXPECT_EQ(shown("www.w.test", Takes::kAny), 20);  // the server's order goes first
}

// Whoever asks for no name may know the first by any of its names.
TEST_P(TlsSeveralKeys, BesideTheFirstOnlyThatIsForAllOfItsNames) {
  listen({{"DNS:first.test,DNS:*.first.test,IP:10.0.0.1", "RSA", 11},
          {"DNS:first.test,DNS:*.first.test", "EC", 12},
          {"DNS:x.test", "ED25519", 13}});
  EXPECT_EQ(shown(nullptr, Takes::kRsa), 11);
  EXPECT_EQ(shown(nullptr, Takes::kAny), 11);
  EXPECT_EQ(shown(nullptr, Takes::kEcdsa), 0);
  EXPECT_EQ(shown("first.test", Takes::kEcdsa), 12);
  EXPECT_EQ(shown("first.test", Takes::kRsa), 11);
}

TEST_P(TlsSeveralKeys, OneForMoreNamesIsBesideTheFirst) {
  listen({{"DNS:first.test,IP:10.0.0.1", "RSA", 11},
          {"DNS:first.test,IP:10.0.0.9", "EC", 12},
          {"DNS:more.test,DNS:First.TEST,IP:10.0.0.1", "EC", 14}});
  EXPECT_EQ(shown(nullptr, Takes::kRsa), 11);
  EXPECT_EQ(shown(nullptr, Takes::kEcdsa), 14);
  EXPECT_EQ(shown("first.test", Takes::kEcdsa), 12);
}

// Those without names are by their subjects, which differ here.
TEST_P(TlsSeveralKeys, OneWithoutNamesIsAlone) {
  listen({{"", "RSA", 11}, {"", "EC", 12}, {"DNS:first.test", "EC", 14}});
  EXPECT_EQ(shown(nullptr, Takes::kAny), 11);
  EXPECT_EQ(shown(nullptr, Takes::kEcdsa), 0);
}

// So are those whose names are of kinds that no host has: its name is in the subject then.
TEST_P(TlsSeveralKeys, OneWithNamesOfNoHostIsAlone) {
  for (const char* names : {"URI:spiffe://x.test/a", "email:a@x.test,URI:spiffe://x.test/a"}) {
    SCOPED_TRACE(names);
    listen({{names, "RSA", 11}, {names, "EC", 12}, {"DNS:first.test", "EC", 14}});
    EXPECT_EQ(shown(nullptr, Takes::kRsa), 11);
    EXPECT_EQ(shown(nullptr, Takes::kAny), 11);
    EXPECT_EQ(shown(nullptr, Takes::kEcdsa), 0);
    EXPECT_EQ(shown("first.test", Takes::kEcdsa), 14);
  }
}

TEST_P(TlsSeveralKeys, OneOfTheSameSubjectIsBesideIt) {
  for (const char* names : {"", "URI:spiffe://x.test/a"}) {  // subjects are by the numbers
    SCOPED_TRACE(names);
    listen({{names, "RSA", 11}, {"DNS:first.test", "EC", 12}, {names, "EC", 11}});
    EXPECT_EQ(shown(nullptr, Takes::kRsa), 11);
    EXPECT_EQ(shown(nullptr, Takes::kEcdsa), 11);
  }
}

// What hosts do have is what counts where there is some of it.
TEST_P(TlsSeveralKeys, NamesOfNoHostAreNotAskedForBesideOthers) {
  listen({{"URI:spiffe://x.test/a,IP:10.0.0.1", "RSA", 11},
          {"URI:spiffe://x.test/a", "EC", 12},
          {"IP:10.0.0.1", "EC", 14}});
  EXPECT_EQ(shown(nullptr, Takes::kRsa), 11);
  EXPECT_EQ(shown(nullptr, Takes::kEcdsa), 14);
}

TEST_P(TlsSeveralKeys, ATicketIsGoodWhicheverOfThemWasShown) {
  listen({{"DNS:first.test", "RSA", 11},
          {"DNS:first.test", "EC", 12},
          {"DNS:second.test", "RSA", 13},
          {"DNS:second.test", "EC", 14}});
  for (const char* name : {"first.test", "second.test", static_cast<const char*>(nullptr)})
    for (const Takes takes : {Takes::kRsa, Takes::kEcdsa}) {
      SCOPED_TRACE(name ? name : "none");
      const auto once = visit(name, takes);
      ASSERT_NE(once.serial, 0);
      EXPECT_FALSE(once.is_resumed);
      EXPECT_TRUE(
          visit(name, takes, visit(name, takes, once.ticket.get()).ticket.get()).is_resumed);
      const auto any = visit(name, Takes::kAny, visit(name, takes).ticket.get());
      EXPECT_TRUE(any.is_resumed);
      EXPECT_EQ(any.serial, once.serial);
      EXPECT_FALSE(visit("other.test", takes, visit(name, takes).ticket.get()).is_resumed);
    }
}

// What is shown of a listener is its first certificate.
TEST_P(TlsSeveralKeys, TheFirstOneIsListed) {
  for (const long serial : {11, 21}) {
    const Names rsa{"DNS:first.test", "RSA", serial}, ec{"DNS:first.test", "EC", serial + 1};
    listen({serial == 11 ? rsa : ec, serial == 11 ? ec : rsa});
  }
  const std::string text = bed.run("show tls listeners").text;
  for (const char* subject : {"holder 11", "holder 22"}) EXPECT_NE(text.find(subject), text.npos);
  for (const char* subject : {"holder 12", "holder 21"}) EXPECT_EQ(text.find(subject), text.npos);
}

// Those of the configuration, which a reload reads again.
TEST_P(TlsSeveralKeys, TheConfigurationMayHaveSeveral) {
  Config& c = shared().config;
  c.certificates.clear();
  c.keys.clear();
  const auto write = [&](const char* type, long serial) {
    const Pem p = make_certificate({.issuer = &bed.authority, .key_type = type, .serial = serial});
    return std::pair(bed.write(std::string(type) + ".pem", p.certificate),
                     bed.write(std::string(type) + ".key", p.key));
  };
  for (const auto& [type, serial] : {std::pair("RSA", 11L), std::pair("EC", 12L)}) {
    const auto [certificate, key] = write(type, serial);
    c.certificates.push_back(certificate);
    c.keys.push_back(key);
  }
  ASSERT_EQ(bed.listen(++port), 0);
  EXPECT_EQ(shown("server.test", Takes::kRsa), 11);
  EXPECT_EQ(shown("server.test", Takes::kEcdsa), 12);
  write("RSA", 21);
  write("EC", 22);
  ASSERT_EQ(bed.run("tls reload").text, "");
  EXPECT_EQ(shown(nullptr, Takes::kRsa), 21);
  EXPECT_EQ(shown(nullptr, Takes::kEcdsa), 22);
  EXPECT_EQ(shared().listeners.begin()->second->context->sites.size(), 2u);
}

INSTANTIATE_TEST_SUITE_P(, TlsSeveralKeys, testing::Values(TLS1_2_VERSION, TLS1_3_VERSION),
                         [](const auto& p) {
                           return p.param == TLS1_2_VERSION ? "Tls12" : "Tls13";
                         });

}  // namespace
}  // namespace loom::tls
