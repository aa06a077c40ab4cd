// What applications say of their endpoints: certificates by name, protocols, names, trust. And
// sessions that are resumed.
#include <set>

#include "resume.h"
#include "tickets.h"
#include "tls_bed.h"

namespace loom::tls {
namespace {

struct TlsSettings : testing::Test {
  TlsBed bed;
  TlsBed::Link link, far;
  bool only_rsa = false;  // signatures that certificate_for()'s client takes

  // Whose certificate a client sees that asks for `name`; `protocol`: and which it agrees on.
  std::string certificate_for(const char* name, std::string* protocol = nullptr) {
    Peer peer(Peer::Role::kClient);
    if (name) SSL_set_tlsext_host_name(peer.ssl(), name);
    if (only_rsa) SSL_set1_sigalgs_list(peer.ssl(), "RSA-PSS+SHA256:RSA+SHA256");
    constexpr unsigned char kOffered[] = "\x02h2";
    if (protocol) SSL_set_alpn_protos(peer.ssl(), kOffered, sizeof kOffered - 1);
    const auto to = bed.connect(443, test::PipeTransport::kProto);
    peer.exchange(*bed.app, *to);
    const auto from = bed.accept();
    const unsigned char* chosen = nullptr;
    unsigned n = 0;
    SSL_get0_alpn_selected(peer.ssl(), &chosen, &n);
    if (protocol) protocol->assign(reinterpret_cast<const char*>(chosen), n);
    X509* x = SSL_get0_peer_certificate(peer.ssl());
    char subject[64] = "";
    if (x)
      X509_NAME_get_text_by_NID(X509_get_subject_name(x), NID_commonName, subject, sizeof subject);
    bed.app->push(svm::ToDaemon::kReset, to->handle);
    if (from) bed.app->close(*from);
    return subject;
  }
};

TEST_F(TlsSettings, OneOfAnotherKindOfKeyIsShownAlone) {
  std::string settings;
  for (const auto& [names, serial, key] :
       {std::tuple("DNS:first.test", 11, "RSA"), std::tuple("DNS:second.test", 12, "EC")}) {
    const Pem p = make_certificate(
        {.names = names, .issuer = &bed.authority, .key_type = key, .serial = serial});
    add_setting(settings, Setting::kPair, bed.add_settings(TlsBed::pair_settings(p), false));
  }
  ASSERT_EQ(bed.listen(443, kProto, bed.add_settings(settings)), 0);
  EXPECT_EQ(certificate_for(nullptr), "holder 11");
  EXPECT_EQ(certificate_for("second.test"), "holder 12");
  only_rsa = true;  // which would get the first one's, if that was still there
  EXPECT_EQ(certificate_for("first.test"), "holder 11");
  EXPECT_EQ(certificate_for("second.test"), "");
}

TEST_F(TlsSettings, TheCertificateIsTheOneForTheNameThatIsAskedFor) {
  std::string settings;
  for (const auto& [names, serial] :
       {std::pair("DNS:first.test", 11), std::pair("DNS:*.wild.test", 12),
        std::pair("DNS:second.test,DNS:other.test", 13)}) {
    const Pem p = make_certificate({.names = names, .issuer = &bed.authority, .serial = serial});
    const uint32_t number = bed.add_settings(TlsBed::pair_settings(p), false);
    ASSERT_NE(number, 0u);
    add_setting(settings, Setting::kPair, number);
  }
  add_setting(settings, Setting::kAlpn, std::string_view("\x02h2"));
  ASSERT_EQ(bed.listen(443, kProto, bed.add_settings(settings)), 0);
  for (const char* name : {"first.test", "other.test"}) {  // protocols are those of all
    std::string protocol;
    (void)certificate_for(name, &protocol);
    EXPECT_EQ(protocol, "h2") << name;
  }
  EXPECT_EQ(certificate_for(nullptr), "holder 11");
  EXPECT_EQ(certificate_for("first.test"), "holder 11");
  EXPECT_EQ(certificate_for("a.wild.test"), "holder 12");
  EXPECT_EQ(certificate_for("a.b.wild.test"), "holder 11");  // one label
  EXPECT_EQ(certificate_for("other.test"), "holder 13");
  EXPECT_EQ(certificate_for("OTHER.test"), "holder 13");
  EXPECT_EQ(certificate_for("unknown.test"), "holder 11");
}

TEST_F(TlsSettings, ReloadReplacesTheConfigurationsCertificateAndNoOther) {
  ASSERT_EQ(bed.listen(443), 0);
  EXPECT_EQ(certificate_for(nullptr), "holder 1");
  EXPECT_EQ(bed.write("server.pem", "rubbish"), shared().config.certificates.at(0));
  EXPECT_NE(bed.run("tls reload").status, Status::kOk);
  EXPECT_EQ(certificate_for(nullptr), "holder 1");
  const Pem p = make_certificate({.issuer = &bed.authority, .serial = 2});
  bed.write("server.pem", p.certificate);
  bed.write("server.key", p.key);
  EXPECT_EQ(bed.run("tls reload").status, Status::kOk);
  EXPECT_EQ(certificate_for(nullptr), "holder 2");
}

TEST_F(TlsSettings, AnApplicationReplacesTheCertificatesOfAListener) {
  const auto settings_with = [&](const Pem& p, bool once) {
    return bed.add_settings(TlsBed::pair_settings(p), once);
  };
  const Pem old = make_certificate({.issuer = &bed.authority, .serial = 21});
  const Pem fresh = make_certificate({.issuer = &bed.authority, .serial = 22});
  svm::ListenEvent e{};
  e.proto = kProto;
  e.local = test::TestApp::end(443);
  e.backlog = 16;
  e.options.settings = settings_with(old, true);
  bed.app->push(svm::ToDaemon::kListen, e);
  const auto bound = bed.next<svm::BoundEvent>(svm::ToApp::kBound);
  ASSERT_EQ(bound.status, 0);
  bed.app->listener = bed.app->table.resolve_as<svm::ListenerShared>(bound.listener);
  EXPECT_EQ(certificate_for(nullptr), "holder 21");
  const auto open = bed.connect(443);
  const auto held = bed.accept();
  ASSERT_TRUE(open && held);
  svm::AttachRequest r{};
  r.version = svm::kProtocolVersion;
  r.op = svm::AttachOp::kUseSettings;
  r.handle = bound.handle;
  EXPECT_NE(bed.app->ask(r).status, 0) << "there are none";
  const Pem mixed{.certificate = fresh.certificate, .key = old.key, .x509 = {}, .pkey = {}};
  r.settings = settings_with(mixed, true);
  EXPECT_EQ(bed.app->ask(r).status, static_cast<int32_t>(Status::kInvalid));
  EXPECT_EQ(certificate_for(nullptr), "holder 21");
  const uint32_t number = settings_with(fresh, false);
  std::string pairs;
  add_setting(pairs, Setting::kPair, number);
  {  // a listener is its application's own
    test::TestApp other(bed.bed);
    std::swap(bed.app->socket, other.socket);
    r.settings = settings_with(fresh, true);
    EXPECT_EQ(bed.app->ask(r).status, static_cast<int32_t>(Status::kNotFound));
    std::swap(bed.app->socket, other.socket);
  }
  r.settings = bed.add_settings(pairs);
  EXPECT_EQ(bed.app->ask(r).status, 0);
  EXPECT_EQ(certificate_for(nullptr), "holder 22");
  EXPECT_NE(bed.app->ask(r).status, 0) << "they were for once";
  bed.app->write(*open, "as before");
  EXPECT_EQ(bed.app->read(*held), "as before");
  EXPECT_EQ(bed.run("tls reload").status, Status::kOk);
  EXPECT_EQ(certificate_for(nullptr), "holder 22");
}

TEST_F(TlsSettings, TheProtocolIsTheFirstOfTheServersThatTheClientHas) {
  std::string settings;
  add_setting(settings, Setting::kAlpn, std::string_view("\x02h2\x08http/1.1"));
  ASSERT_EQ(bed.listen(443, kProto, bed.add_settings(settings)), 0);
  struct Case {
    std::string_view offered, chosen;
    bool is_good;
  };
  for (const Case& k :
       {Case{"\x08http/1.1\x02h2", "h2", true}, Case{"\x08http/1.1", "http/1.1", true},
        Case{"\x04smtp", "", false}, Case{"", "", true}}) {
    Peer peer(Peer::Role::kClient);
    if (!k.offered.empty())
      SSL_set_alpn_protos(peer.ssl(), reinterpret_cast<const unsigned char*>(k.offered.data()),
                          static_cast<unsigned>(k.offered.size()));
    const auto to = bed.connect(443, test::PipeTransport::kProto);
    peer.exchange(*bed.app, *to);
    const auto from = bed.accept();
    EXPECT_EQ(!!from, k.is_good);
    const unsigned char* name = nullptr;
    unsigned n = 0;
    SSL_get0_alpn_selected(peer.ssl(), &name, &n);
    EXPECT_EQ(std::string_view(reinterpret_cast<const char*>(name), n), k.chosen);
    ERR_clear_error();
    bed.app->push(svm::ToDaemon::kReset, to->handle);
    if (from) bed.app->close(*from);
  }
}

TEST_F(TlsSettings, AClientAsksForItsNameAndTakesNoOther) {
  ASSERT_EQ(bed.listen(443), 0);
  for (const auto& [name, is_good] :
       {std::pair("server.test", true), std::pair("other.test", false), std::pair("10.0.0.0", true),
        std::pair("10.0.0.9", false)}) {
    SCOPED_TRACE(name);
    std::string settings;
    add_setting(settings, Setting::kServerName, std::string_view(name));
    bed.start_connect(443, kProto, bed.add_settings(settings));
    const auto done = bed.outcome();
    EXPECT_EQ(done.status, is_good ? 0 : static_cast<int32_t>(Status::kPermission));
    if (done.status != 0) continue;
    const auto near = bed.app->connection(done.handle, done.session);
    const auto from = bed.accept();
    ASSERT_TRUE(from);
    bed.app->push(svm::ToDaemon::kReset, near->handle);
    bed.app->close(*from);
  }
}

TEST_F(TlsSettings, TrustAndVerificationAreTheSessionsOwn) {
  const Pem other = make_certificate({.names = "", .is_authority = true});
  const Pem pair = make_certificate({.issuer = &other});
  ASSERT_EQ(bed.listen(443, kProto, bed.add_settings(TlsBed::pair_settings(pair))), 0);
  std::string trust, off;
  add_setting(trust, Setting::kTrust, other.certificate);
  add_setting(off, Setting::kVerify, uint32_t{0});
  for (const auto& [settings, is_good] :
       {std::pair(std::string(), false), std::pair(trust, true), std::pair(off, true)}) {
    const uint32_t number = settings.empty() ? 0 : bed.add_settings(settings);
    bed.start_connect(443, kProto, number);
    const auto done = bed.outcome();
    EXPECT_EQ(done.status == 0, is_good);
    if (done.status != 0) continue;
    const auto near = bed.app->connection(done.handle, done.session);
    const auto from = bed.accept();
    ASSERT_TRUE(from);
    bed.app->push(svm::ToDaemon::kReset, near->handle);
    bed.app->close(*from);
  }
}

TEST_F(TlsSettings, AnOpenSessionSaysWhatWasAgreedOn) {
  std::string client, server;
  add_setting(client, Setting::kServerName, std::string_view("server.test"));
  add_setting(client, Setting::kAlpn, std::string_view("\x02h2"));
  add_setting(server, Setting::kAlpn, std::string_view("\x02h2"));
  ASSERT_EQ(bed.listen(443, kProto, bed.add_settings(server)), 0);
  const auto near = bed.connect(443, kProto, bed.add_settings(client));
  far = bed.accept();
  ASSERT_TRUE(near && far);
  const uint32_t yes = 1;
  const std::string true_value(reinterpret_cast<const char*>(&yes), sizeof yes);
  EXPECT_EQ(bed.property(*near, SessionProperty::kVersion), "TLSv1.3");
  EXPECT_EQ(bed.property(*far, SessionProperty::kCipher), "TLS_AES_256_GCM_SHA384");
  EXPECT_EQ(bed.property(*far, SessionProperty::kAlpn), "h2");
  EXPECT_EQ(bed.property(*far, SessionProperty::kServerName), "server.test");
  EXPECT_EQ(bed.property(*far, SessionProperty::kPeerCertificate), "");
  EXPECT_EQ(bed.property(*near, SessionProperty::kIsVerified), true_value);
  const std::string der = bed.property(*near, SessionProperty::kPeerCertificate).value_or("");
  const auto* at = reinterpret_cast<const unsigned char*>(der.data());
  X509* const x = d2i_X509(nullptr, &at, static_cast<long>(der.size()));
  ASSERT_TRUE(x);
  EXPECT_EQ(X509_cmp(x, bed.server.x509.get()), 0);
  X509_free(x);
  EXPECT_EQ(bed.property(*near, static_cast<SessionProperty>(99)), std::nullopt);
  ASSERT_EQ(bed.listen(80, test::PipeTransport::kProto), 0);
  const auto plain = bed.connect(80, test::PipeTransport::kProto);
  EXPECT_EQ(bed.property(*plain, SessionProperty::kVersion), std::nullopt);
}

TEST_F(TlsSettings, WhatMakesNoSenseIsRefused) {
  EXPECT_EQ(bed.add_settings("rubbish"), 0u);
  EXPECT_NE(bed.listen(443, kProto, 4711), 0);
  std::string s;
  add_setting(s, Setting::kAlpn, std::string_view("\x09h2"));
  EXPECT_NE(bed.listen(443, kProto, bed.add_settings(s)), 0);
  EXPECT_NE(bed.listen(443, kProto,
                       bed.add_settings(TlsBed::pair_settings(
                           {.certificate = "x", .key = "y", .x509 = {}, .pkey = {}}))),
            0);
  for (const std::string_view value : {"", "\x02", "\x02\x02\x02", "12345678"}) {
    SCOPED_TRACE(value);
    for (const Setting type : {Setting::kVerify, Setting::kPair}) {
      s.clear();
      add_setting(s, type, value);
      const auto lines = bed.log.size();
      EXPECT_NE(bed.listen(443, kProto, bed.add_settings(s)), 0);
      EXPECT_NE(bed.log.find("make no sense", lines), std::string::npos);
    }
  }
  for (const std::string& name : {std::string(254, 'a'), std::string("a\0b", 3)}) {
    s.clear();
    add_setting(s, Setting::kServerName, name);
    bed.start_connect(443, kProto, bed.add_settings(s));
    EXPECT_EQ(bed.outcome().status, static_cast<int32_t>(Status::kInvalid));
  }
  const uint32_t pair = bed.add_settings(TlsBed::pair_settings(bed.server), false);
  for (const std::size_t n : {64u, 65u}) {
    s.clear();
    for (std::size_t i = 0; i < n; ++i) add_setting(s, Setting::kPair, pair);
    EXPECT_EQ(bed.listen(static_cast<uint16_t>(1000 + n), kProto, bed.add_settings(s)) == 0,
              n <= 64);
  }
  const Pem large = make_certificate({.key_type = "RSA 4104"});
  EXPECT_NE(bed.listen(443, kProto, bed.add_settings(TlsBed::pair_settings(large))), 0);
  const Pem a = make_certificate({}), b = make_certificate({});
  EXPECT_NE(bed.listen(443, kProto,
                       bed.add_settings(TlsBed::pair_settings(
                           {.certificate = a.certificate, .key = b.key, .x509 = {}, .pkey = {}}))),
            0);
  // Another application's keys are not to be had.
  const uint32_t own = bed.add_settings(TlsBed::pair_settings(a), false);
  ASSERT_NE(own, 0u);
  bed.app = std::make_unique<test::TestApp>(bed.bed);
  s.clear();
  add_setting(s, Setting::kPair, own);
  EXPECT_NE(bed.listen(443, kProto, bed.add_settings(s)), 0);
}

TEST_F(TlsSettings, AnApplicationHasSoManyAndThoseForOnceGo) {
  std::string s;
  add_setting(s, Setting::kVerify, uint32_t{0});
  for (int i = 0; i < 300; ++i) {
    const uint32_t number = bed.add_settings(s);
    ASSERT_NE(number, 0u);
    const bool has_port = i % 2 == 0;  // 1: unreachable; it was used all the same
    bed.start_connect(has_port, kProto, number);
    EXPECT_EQ(bed.outcome().status,
              static_cast<int32_t>(has_port ? Status::kUnreachable : Status::kInvalid));
  }
  uint32_t last = 0;
  for (uint32_t i = 0; i < session::EndpointSettings::kMostOfApp; ++i)
    ASSERT_NE(last = bed.add_settings(s, false), 0u);
  EXPECT_EQ(bed.add_settings(s, false), 0u);
  test::TestApp other(bed.bed);  // nobody else's affair
  std::swap(bed.app->socket, other.socket);
  EXPECT_NE(bed.add_settings(s, false), 0u);
  svm::AttachRequest r{};
  r.version = svm::kProtocolVersion;
  r.op = svm::AttachOp::kDelSettings;
  r.settings = last;
  EXPECT_NE(bed.app->ask(r).status, 0);
  std::swap(bed.app->socket, other.socket);
  EXPECT_EQ(bed.app->ask(r).status, 0);
  EXPECT_NE(bed.app->ask(r).status, 0);
  EXPECT_NE(bed.add_settings(s, false), 0u);
}

TEST_F(TlsSettings, AClientThatComesAgainResumes) {
  ASSERT_EQ(bed.listen(443), 0);
  for (int i = 0; i < 3; ++i) {
    const auto near = bed.connect(443);
    const auto from = bed.accept();
    ASSERT_TRUE(near && from);
    bed.app->write(*from, "x");  // behind the tickets
    EXPECT_EQ(bed.app->read(*near), "x");
    EXPECT_EQ(bed.stat(kResumed), static_cast<uint64_t>(2 * i));  // both ends count
    bed.app->close(*near);
    bed.app->close(*from);
  }
  // Not when it wants something else.
  std::string settings;
  add_setting(settings, Setting::kServerName, std::string_view("server.test"));
  ASSERT_TRUE(bed.connect(443, kProto, bed.add_settings(settings)));
  EXPECT_EQ(bed.stat(kResumed), 4u);
}

TEST_F(TlsSettings, WhatIsRevokedIsRefusedAfterAReloadEverywhere) {
  const Pem pair = make_certificate({.issuer = &bed.authority});
  const Pem client = make_certificate({.issuer = &bed.authority, .serial = 7});
  const auto is_taken = [&](uint16_t port, svm::ListenerShared* listener) {
    Peer peer(Peer::Role::kClient, {}, &client);
    bed.app->listener = listener;
    const auto to = bed.connect(port, test::PipeTransport::kProto);
    peer.exchange(*bed.app, *to);
    const auto from = bed.accept();
    ERR_clear_error();
    bed.app->push(svm::ToDaemon::kReset, to->handle);
    if (from) bed.app->close(*from);
    return !!from;
  };
  std::vector<std::pair<uint16_t, svm::ListenerShared*>> listeners;
  for (const bool has_trust : {false, true}) {
    std::string settings = TlsBed::pair_settings(pair);
    add_setting(settings, Setting::kVerify, uint32_t{2});
    if (has_trust) add_setting(settings, Setting::kTrust, bed.authority.certificate);
    const auto port = static_cast<uint16_t>(443 + has_trust);
    ASSERT_EQ(bed.listen(port, kProto, bed.add_settings(settings)), 0);
    listeners.emplace_back(port, bed.app->listener);
  }
  for (const auto& [port, listener] : listeners) EXPECT_TRUE(is_taken(port, listener)) << port;
  for (const long revoked : {8, 7}) {
    shared().config.crl = bed.write("crl.pem", make_crl(bed.authority, revoked));
    ASSERT_EQ(bed.run("tls reload").status, Status::kOk);
    for (const auto& [port, listener] : listeners)
      EXPECT_EQ(is_taken(port, listener), revoked != 7) << port;
  }
}

TEST_F(TlsSettings, SessionsAreKeptForOneApplicationUntilAReload) {
  ASSERT_EQ(bed.listen(443), 0);
  ASSERT_EQ(bed.listen(444), 0);
  std::set<std::string> keys;
  const auto key = [&](uint16_t port = 443) {
    const auto near = bed.connect(port);
    EXPECT_TRUE(near);
    std::string k;
    for (const auto& c : shared().workers[0]->connections)
      if (c && !c->is_server && c->upper != kNoSession) k = c->resume_key;
    if (near) bed.app->push(svm::ToDaemon::kReset, near->handle);
    bed.bed.pump();
    return k;
  };
  const std::string first = key();
  EXPECT_FALSE(first.empty());
  EXPECT_EQ(key(), first);
  keys.insert(first);
  keys.insert(key(444));
  auto other = std::make_unique<test::TestApp>(bed.bed);
  std::swap(bed.app, other);
  keys.insert(key());
  std::swap(bed.app, other);
  EXPECT_EQ(bed.run("tls reload").status, Status::kOk);
  keys.insert(key());
  EXPECT_EQ(keys.size(), 4u);
}

TEST_F(TlsSettings, TicketsAreGoodForTheirListenerAlone) {
  ASSERT_EQ(bed.listen(443), 0);
  const auto first = bed.app->listener;
  ASSERT_EQ(bed.listen(444), 0);
  const auto second = bed.app->listener;
  SSL_SESSION* session = nullptr;
  for (const auto& [port, listener, is_resumed] :
       {std::tuple(443, first, false), std::tuple(443, first, true),
        std::tuple(444, second, false)}) {
    Peer peer(Peer::Role::kClient);
    if (session) SSL_set_session(peer.ssl(), session);
    bed.app->listener = listener;
    const auto to = bed.connect(static_cast<uint16_t>(port), test::PipeTransport::kProto);
    peer.exchange(*bed.app, *to);
    const auto from = bed.accept();
    ASSERT_TRUE(from);
    EXPECT_EQ(SSL_session_reused(peer.ssl()), is_resumed);
    bed.app->write(*from, "x");
    peer.exchange(*bed.app, *to);
    EXPECT_EQ(peer.read(), "x");
    SSL_SESSION_free(session);
    session = SSL_get1_session(peer.ssl());
    SSL_shutdown(peer.ssl());
    peer.exchange(*bed.app, *to);
    bed.app->close(*from);
    bed.app->close(*to);
  }
  SSL_SESSION_free(session);
}

TEST(TlsTickets, KeysChangeAfterALifetimeAndAreReadForOneMore) {
  TicketKeys keys(100);
  TicketKeys::Key first, second, key;
  bool is_old = false;
  EXPECT_FALSE(keys.reading(1000, first.name.data(), key, is_old));
  ASSERT_TRUE(keys.writing(1000, first));
  ASSERT_TRUE(keys.writing(1099, second));
  EXPECT_EQ(first.name, second.name);
  ASSERT_TRUE(keys.writing(1100, second));
  EXPECT_NE(first.name, second.name);
  EXPECT_NE(first.cipher, second.cipher);
  ASSERT_TRUE(keys.reading(1150, first.name.data(), key, is_old));
  EXPECT_TRUE(is_old);
  EXPECT_EQ(key.mac, first.mac);
  ASSERT_TRUE(keys.reading(1150, second.name.data(), key, is_old));
  EXPECT_FALSE(is_old);
  EXPECT_FALSE(keys.reading(1200, first.name.data(), key, is_old));
  EXPECT_TRUE(keys.reading(1200, second.name.data(), key, is_old));
  EXPECT_FALSE(keys.reading(5000, second.name.data(), key, is_old));
}

TEST(TlsResume, SessionsAreGivenOutOnceAndTheOldestGo) {
  SessionCache cache;
  SSL_SESSION* s = SSL_SESSION_new();
  cache.put("a", s);
  EXPECT_EQ(cache.take("b"), nullptr);
  EXPECT_EQ(cache.take("a"), s);
  SSL_SESSION_free(s);
  EXPECT_EQ(cache.take("a"), nullptr);
  for (std::size_t i = 0; i < SessionCache::kMost + 10; ++i)
    cache.put(std::to_string(i), SSL_SESSION_new());
  EXPECT_EQ(cache.size(), SessionCache::kMost);
  EXPECT_EQ(cache.take("9"), nullptr);
  SSL_SESSION_free(cache.take("10"));
}

}  // namespace
}  // namespace loom::tls
