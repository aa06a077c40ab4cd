// What `tls { }` says is what connections get.
#include <gmock/gmock.h>
#include <sys/stat.h>

#include <fstream>
#include <sstream>

#include "tls_bed.h"

namespace loom::tls {
namespace {

using testing::HasSubstr;

// What a client of OpenSSL's gets at a listener of that configuration: "TLSv1.3 CIPHER GROUP", or
// "" when it is refused.
std::string agreed(const std::function<void(Config&)>& config,
                   const std::function<void(SSL_CTX*)>& client = {}) {
  TlsBed bed(config);
  EXPECT_EQ(bed.listen(443), 0);
  Peer peer(Peer::Role::kClient, client);
  const auto link = bed.connect(443, test::PipeTransport::kProto);
  peer.exchange(*bed.app, *link);
  const auto far = bed.accept();
  EXPECT_EQ(bed.stat(kHandshakesFailed), far ? 0u : 1u);
  ERR_clear_error();
  if (!far) return "";
  const char* group =
      SSL_group_to_name(peer.ssl(), static_cast<int>(SSL_get_negotiated_group(peer.ssl())));
  return std::string(SSL_get_version(peer.ssl())) + " " + SSL_get_cipher_name(peer.ssl()) + " " +
         (group ? group : "");
}

TEST(TlsStanza, VersionsAreThoseBetweenTheTwo) {
  const auto only_12 = [](SSL_CTX* c) { SSL_CTX_set_max_proto_version(c, TLS1_2_VERSION); };
  const auto only_13 = [](SSL_CTX* c) { SSL_CTX_set_min_proto_version(c, TLS1_3_VERSION); };
  const auto least_13 = [](Config& c) { c.least_version = TLS1_3_VERSION; };
  const auto most_12 = [](Config& c) { c.most_version = TLS1_2_VERSION; };
  EXPECT_THAT(agreed({}), HasSubstr("TLSv1.3"));
  EXPECT_THAT(agreed({}, only_12), HasSubstr("TLSv1.2"));
  EXPECT_THAT(agreed(least_13), HasSubstr("TLSv1.3"));
  EXPECT_EQ(agreed(least_13, only_12), "");
  EXPECT_THAT(agreed(most_12), HasSubstr("TLSv1.2"));
  EXPECT_EQ(agreed(most_12, only_13), "");
}

TEST(TlsStanza, CiphersAndGroupsAreTheFirstOfItsThatTheClientHas) {
  EXPECT_THAT(agreed([](Config& c) { c.ciphersuites = "TLS_AES_128_GCM_SHA256"; }),
              HasSubstr("TLS_AES_128_GCM_SHA256"));
  const auto one_of_12 = [](Config& c) {
    c.most_version = TLS1_2_VERSION;
    c.ciphers = "ECDHE-ECDSA-CHACHA20-POLY1305";
  };
  EXPECT_THAT(agreed(one_of_12), HasSubstr("CHACHA20"));
  EXPECT_EQ(agreed(one_of_12,
                   [](SSL_CTX* c) { SSL_CTX_set_cipher_list(c, "ECDHE-ECDSA-AES128-GCM-SHA256"); }),
            "");
  const auto group = [](Config& c) { c.groups = "P-384"; };
  EXPECT_THAT(agreed(group), HasSubstr("secp384r1"));
  EXPECT_EQ(agreed(group, [](SSL_CTX* c) { SSL_CTX_set1_groups_list(c, "X25519"); }), "");
}

TEST(TlsStanza, HandshakesOfAWorkerHaveABound) {
  TlsBed bed([](Config& c) { c.max_handshakes = 3; });
  ASSERT_EQ(bed.listen(443), 0);
  std::vector<TlsBed::Link> links;
  for (int i = 0; i < 5; ++i) links.push_back(bed.connect(443, test::PipeTransport::kProto));
  EXPECT_EQ(bed.stat(kUnderWay), 3u);
  EXPECT_EQ(bed.stat(kRefused), 2u);
}

// What people set together, by name: what is agreed on is of the profile, and who is outside of it
// is refused. Each of both versions has its own words.
struct Profile {
  const char* name;
  int least, most;
  const char *ciphers, *ciphersuites, *groups;
  const char *in_12, *in_13;  // what is agreed on; "": refused
};

struct TlsProfiles : testing::TestWithParam<Profile> {};

TEST_P(TlsProfiles, AreWhatConnectionsGet) {
  const Profile& p = GetParam();
  const auto config = [&p](Config& c) {
    c.least_version = p.least;
    c.most_version = p.most;
    c.ciphers = p.ciphers;
    c.ciphersuites = p.ciphersuites;
    c.groups = p.groups;
  };
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    const std::string wanted = version == TLS1_2_VERSION ? p.in_12 : p.in_13;
    EXPECT_EQ(agreed(config,
                     [version](SSL_CTX* c) {
                       SSL_CTX_set_min_proto_version(c, version);
                       SSL_CTX_set_max_proto_version(c, version);
                     }),
              wanted);
  }
}

INSTANTIATE_TEST_SUITE_P(
    , TlsProfiles,
    testing::Values(
        Profile{"Modern", TLS1_3_VERSION, 0, "",
                "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256", "X25519:P-256", "",
                "TLSv1.3 TLS_AES_128_GCM_SHA256 x25519"},
        Profile{"Intermediate", TLS1_2_VERSION, TLS1_3_VERSION,
                "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256", "", "P-256",
                "TLSv1.2 ECDHE-ECDSA-AES128-GCM-SHA256 secp256r1",
                "TLSv1.3 TLS_AES_256_GCM_SHA384 secp256r1"},
        Profile{"Suite192", TLS1_2_VERSION, TLS1_3_VERSION, "ECDHE-ECDSA-AES256-GCM-SHA384",
                "TLS_AES_256_GCM_SHA384", "P-384",
                "TLSv1.2 ECDHE-ECDSA-AES256-GCM-SHA384 secp384r1",
                "TLSv1.3 TLS_AES_256_GCM_SHA384 secp384r1"},
        Profile{"Old", 0, TLS1_2_VERSION, "ECDHE+AESGCM", "", "",
                "TLSv1.2 ECDHE-ECDSA-AES256-GCM-SHA384 x25519", ""},
        // That of RSA keys alone, for a listener whose key is another: nobody is served in 1.2.
        Profile{"OfAnotherKey", 0, 0, "ECDHE-RSA-AES128-GCM-SHA256", "TLS_CHACHA20_POLY1305_SHA256",
                "", "", "TLSv1.3 TLS_CHACHA20_POLY1305_SHA256 x25519"}),
    [](const auto& p) { return p.param.name; });

TEST(TlsStanza, ProfilesOfNothingAreRefusedWhenTheDaemonStarts) {
  TlsBed bed;
  const auto fails = [&](const char* what, const std::function<void(Config&)>& change) {
    Config c = shared().config;
    change(c);
    const auto made = make_server_context(c, {}, shared().store.get());
    ASSERT_FALSE(made) << what;
    EXPECT_THAT(made.error().message, HasSubstr(what));
  };
  fails("ciphers NO-SUCH", [](Config& c) { c.ciphers = "NO-SUCH"; });
  fails("ciphersuites NO-SUCH", [](Config& c) { c.ciphersuites = "NO-SUCH"; });
  fails("groups NO-SUCH", [](Config& c) { c.groups = "NO-SUCH"; });
}

// NSS format: of 1.2 one line a session, by the client's random.
TEST(TlsStanza, SecretsOf12AreLoggedToo) {
  std::string path;
  TlsBed bed([&](Config& c) {
    path = c.ca + ".keys";
    c.key_log = path;
    c.most_version = TLS1_2_VERSION;
  });
  ASSERT_EQ(bed.listen(443), 0);
  auto link = bed.connect(443, test::PipeTransport::kProto);
  Peer peer(Peer::Role::kClient);
  peer.exchange(*bed.app, *link);
  ASSERT_TRUE(SSL_is_init_finished(peer.ssl()));
  const auto hex = [](const unsigned char* bytes, std::size_t n) {
    std::string text;
    for (char part[3]; n != 0; --n, ++bytes) {
      std::snprintf(part, sizeof part, "%02x", *bytes);
      text += part;
    }
    return text;
  };
  unsigned char random[32], secret[48];
  ASSERT_EQ(SSL_get_client_random(peer.ssl(), random, sizeof random), sizeof random);
  ASSERT_EQ(SSL_SESSION_get_master_key(SSL_get_session(peer.ssl()), secret, sizeof secret),
            sizeof secret);
  std::stringstream text;
  text << std::ifstream(path).rdbuf();
  EXPECT_EQ(text.str(), "CLIENT_RANDOM " + hex(random, sizeof random) + " " +
                            hex(secret, sizeof secret) + "\n");
}

TEST(TlsStanza, SecretsAreLoggedForTheirOwnerAlone) {
  std::string path;
  TlsBed bed([&](Config& c) {
    path = c.ca + ".keys";
    std::ofstream(path) << "# of old\n";
    ASSERT_EQ(::chmod(path.c_str(), 0644), 0);
    c.key_log = path;
  });
  ASSERT_EQ(bed.listen(443), 0);
  ASSERT_TRUE(bed.connect(443));
  std::stringstream text;
  text << std::ifstream(path).rdbuf();
  EXPECT_THAT(text.str(), HasSubstr("# of old\n"));
  EXPECT_THAT(text.str(), HasSubstr("CLIENT_TRAFFIC_SECRET_0 "));
  EXPECT_EQ(text.str().back(), '\n');
  struct stat s {};
  ASSERT_EQ(::stat(path.c_str(), &s), 0);
  EXPECT_EQ(s.st_mode & 0777, 0600u);
}

TEST(TlsStanza, AClientThatVerifiesNothingMayBeToldTo) {
  TlsBed bed([](Config& c) { c.verify_server = Verify::kOff; });
  const Pem pair = make_certificate({});  // nobody's
  ASSERT_EQ(bed.listen(443, kProto, bed.add_settings(TlsBed::pair_settings(pair))), 0);
  ASSERT_EQ(bed.listen(444), 0);
  std::string required;
  add_setting(required, Setting::kVerify, uint32_t{2});
  bed.start_connect(443, kProto, bed.add_settings(required));
  EXPECT_EQ(bed.outcome().status, static_cast<int32_t>(Status::kPermission));
  ASSERT_TRUE(bed.connect(444, kProto, bed.add_settings(required)));
  // What was not asked for is not verified, good as it may be.
  ASSERT_TRUE(bed.connect(443));
  const auto near = bed.connect(444);
  ASSERT_TRUE(near);
  EXPECT_EQ(number_setting(bed.property(*near, SessionProperty::kIsVerified).value_or("    ")), 0u);
}

}  // namespace
}  // namespace loom::tls
