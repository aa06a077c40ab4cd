// Chains with an authority in between, where there is a list of what is revoked: each certificate
// below the root is looked for in the list of its issuer.
#include "tls_bed.h"

namespace loom::tls {
namespace {

constexpr long kMiddle = 5, kLeaf = 7, kNobody = 99;  // serial numbers
constexpr long kHour = 3600;

struct TlsRevocation : testing::TestWithParam<int> {
  TlsBed bed;
  const Pem middle =
      make_certificate({.issuer = &bed.authority, .is_authority = true, .serial = kMiddle});
  const Pem leaf = make_certificate({.issuer = &middle, .serial = kLeaf});

  struct Case {
    const char* what;
    bool has_roots, has_middles;  // the file has that list
    long root_revokes, middle_revokes;
    long until;  // of the root's list, seconds from now
    int alert;   // 0: it is taken
  };
  static constexpr Case kCases[] = {
      {"good", true, true, kNobody, kNobody, kHour, 0},
      {"the authority in between is revoked", true, true, kMiddle, kNobody, kHour,
       SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED},
      {"the certificate is", true, true, kNobody, kLeaf, kHour,
       SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED},
      {"the root's list is missing", false, true, kNobody, kNobody, kHour,
       SSL_R_TLSV1_ALERT_UNKNOWN_CA},
      {"the other one is", true, false, kNobody, kNobody, kHour, SSL_R_TLSV1_ALERT_UNKNOWN_CA},
      {"the root's list has expired", true, true, kNobody, kNobody, -60,
       SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED},
  };
  void use_lists(const Case& k) {
    std::string lists;
    if (k.has_roots) lists += make_crl(bed.authority, k.root_revokes, k.until);
    if (k.has_middles) lists += make_crl(middle, k.middle_revokes);
    shared().config.crl = bed.write("crl.pem", lists);
    ASSERT_EQ(bed.run("tls reload").text, "");
  }
  Peer peer_of(Peer::Role role) {
    return Peer(
        role,
        [&](SSL_CTX* c) {
          SSL_CTX_set_min_proto_version(c, GetParam());
          SSL_CTX_set_max_proto_version(c, GetParam());
          SSL_CTX_add1_chain_cert(c, middle.x509.get());
        },
        &leaf);
  }
  static int alert_of(Peer& peer) {
    (void)peer.read();
    const int alert = ERR_GET_REASON(ERR_peek_last_error());
    ERR_clear_error();
    return alert;
  }
  // A client of ours, by those settings, and a server that shows the chain; the server's alert.
  int client_says(uint32_t settings = 0) {
    const uint64_t failed = bed.stat(kVerifyFailed);
    Peer peer = peer_of(Peer::Role::kServer);
    bed.app->listener = plain;
    bed.start_connect(80, kProto, settings);
    const auto link = bed.accept();
    EXPECT_TRUE(link);
    ERR_clear_error();
    peer.exchange(*bed.app, *link);
    const int alert = alert_of(peer);
    const auto done = bed.outcome();
    const bool is_good = done.status == 0;
    EXPECT_EQ(is_good, alert == 0);
    EXPECT_EQ(bed.stat(kVerifyFailed), failed + !is_good);
    if (is_good)
      bed.app->push(svm::ToDaemon::kReset, bed.app->connection(done.handle, done.session)->handle);
    else
      EXPECT_EQ(done.status, static_cast<int32_t>(Status::kPermission));
    bed.app->close(*link);
    return alert;
  }
  // A server of ours that asks, and a client that shows it; the client's alert.
  int server_says(uint16_t port, svm::ListenerShared* listener) {
    const uint64_t failed = bed.stat(kVerifyFailed);
    Peer peer = peer_of(Peer::Role::kClient);
    bed.app->listener = listener;
    const auto link = bed.connect(port, test::PipeTransport::kProto);
    ERR_clear_error();
    peer.exchange(*bed.app, *link);
    const int alert = alert_of(peer);
    const auto far = bed.accept();
    EXPECT_EQ(!!far, alert == 0);
    EXPECT_EQ(bed.stat(kVerifyFailed), failed + !far);
    bed.app->push(svm::ToDaemon::kReset, link->handle);
    if (far) bed.app->close(*far);
    return alert;
  }
  void SetUp() override {
    ASSERT_EQ(bed.listen(80, test::PipeTransport::kProto), 0);
    plain = bed.app->listener;
  }
  svm::ListenerShared* plain = nullptr;
};

TEST_P(TlsRevocation, IsOfAServersWholeChain) {
  for (const Case& k : kCases) {
    SCOPED_TRACE(k.what);
    use_lists(k);
    EXPECT_EQ(client_says(), k.alert);
  }
}

TEST_P(TlsRevocation, IsOfAClientsWholeChain) {
  std::string settings;
  add_setting(settings, Setting::kVerify, uint32_t{2});
  ASSERT_EQ(bed.listen(443, kProto, bed.add_settings(settings)), 0);
  const auto listener = bed.app->listener;
  for (const Case& k : kCases) {
    SCOPED_TRACE(k.what);
    use_lists(k);
    EXPECT_EQ(server_says(443, listener), k.alert);
  }
}

// With the root that an application has brought: there may be no list of its authorities', but what
// there is one of is refused.
TEST_P(TlsRevocation, IsOfChainsToAnApplicationsRootAsFarAsThereAreLists) {
  std::string settings;
  add_setting(settings, Setting::kTrust, bed.authority.certificate);
  const uint32_t client = bed.add_settings(settings, false);
  add_setting(settings, Setting::kVerify, uint32_t{2});
  ASSERT_EQ(bed.listen(443, kProto, bed.add_settings(settings)), 0);
  const auto listener = bed.app->listener;
  for (const Case& k : kCases) {
    SCOPED_TRACE(k.what);
    use_lists(k);
    const int alert = k.has_roots && k.has_middles ? k.alert : 0;
    EXPECT_EQ(client_says(client), alert);
    EXPECT_EQ(server_says(443, listener), alert);
  }
}

INSTANTIATE_TEST_SUITE_P(, TlsRevocation, testing::Values(TLS1_2_VERSION, TLS1_3_VERSION),
                         [](const auto& p) {
                           return p.param == TLS1_2_VERSION ? "Tls12" : "Tls13";
                         });

}  // namespace
}  // namespace loom::tls
