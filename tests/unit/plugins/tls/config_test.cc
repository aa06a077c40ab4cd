// The stanza `tls { }`, and what cannot be configured.
#include "config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <openssl/ssl.h>

#include "config/parser.h"

namespace loom::tls {
namespace {

using ::testing::HasSubstr;

Result<Config> parsed(const std::string& text) {
  auto tree = parse_config(text, "t.conf");
  if (!tree) return tree.error();
  Config c;
  if (auto r = apply_config(&c, tree->children.at(0)); !r) return r.error();
  return c;
}

TEST(TlsConfig, KeysAreTaken) {
  const auto c = parsed(
      "tls { certificate c.pem key k.pem ca-cert-path /ca crl r.pem verify-client optional "
      "min-version 1.3 max-handshakes 7 handshake-timeout 3 fifo-size 128k transport pipe "
      "verify-server off groups X25519 key-log k.log ciphers A ciphersuites B "
      "crypto-threads 2 }");
  ASSERT_TRUE(c) << c.error().message;
  EXPECT_EQ(c->certificates, std::vector<std::string>{"c.pem"});
  EXPECT_EQ(c->verify_client, Verify::kOptional);
  EXPECT_EQ(c->verify_server, Verify::kOff);
  EXPECT_EQ(c->least_version, TLS1_3_VERSION);
  EXPECT_EQ(c->handshake_timeout, 3 * kSecond);
  EXPECT_EQ(c->fifo_size, 128u << 10);
  EXPECT_EQ(c->max_handshakes, 7u);
  EXPECT_EQ(c->crypto_threads, 2u);
  EXPECT_EQ(parsed("tls { crypto-threads 0 }")->crypto_threads, 0u);
  EXPECT_EQ(parsed("tls { }")->crypto_threads, std::nullopt);
  const auto automatic = parsed("tls { crypto-threads auto fifo-size 128k }");
  ASSERT_TRUE(automatic) << automatic.error().message;
  EXPECT_EQ(automatic->crypto_threads, std::nullopt);
  EXPECT_EQ(automatic->fifo_size, 128u << 10);
  EXPECT_TRUE(parsed("tls { crypto-threads 64 }"));
  EXPECT_TRUE(parsed("tls { }")->fast_gcm);
  EXPECT_TRUE(parsed("tls { aes-gcm auto fifo-size 128k }")->fast_gcm);
  EXPECT_FALSE(parsed("tls { aes-gcm openssl }")->fast_gcm);
  EXPECT_THAT(parsed("tls { aes-gcm fast }").error().message, HasSubstr("auto or openssl"));
}

TEST(TlsConfig, AProfileSaysWhatIsOtherThanInTheStanza) {
  const auto c = parsed(
      "tls { profile new { min-version 1.3 groups X25519 } min-version 1.2 ciphers A groups P-256 "
      "profile old { max-version 1.2 ciphers B ciphersuites C } profile same { } }");
  ASSERT_TRUE(c) << c.error().message;
  EXPECT_EQ(c->profiles.size(), 3u);
  const auto said = [&](std::string_view name) {
    const Profile* const p = profile_of(*c, name);
    if (!p) return std::string("none");
    const auto version = [](int v) { return v == 0 ? "" : v == TLS1_2_VERSION ? "1.2" : "1.3"; };
    return std::string(version(p->least_version)) + "-" + version(p->most_version) + " " +
           p->ciphers + "/" + p->ciphersuites + "/" + p->groups;
  };
  EXPECT_EQ(said("new"), "1.3- A//X25519");
  EXPECT_EQ(said("old"), "1.2-1.2 B/C/P-256");
  EXPECT_EQ(said("same"), "1.2- A//P-256");
  EXPECT_EQ(said(""), "1.2- A//P-256");
  EXPECT_EQ(said("other"), "none");
}

TEST(TlsConfig, AProfileThatMakesNoSenseIsRefused) {
  const auto words = [](const std::string& text) {
    const auto c = parsed("tls { " + text + " }");
    return c ? "it is taken" : c.error().message;
  };
  EXPECT_THAT(words("profile"), HasSubstr("a name is needed"));
  EXPECT_THAT(words("profile { ciphers A }"), HasSubstr("a name is needed"));
  EXPECT_THAT(words("profile a ciphers A"), HasSubstr("a name is needed"));
  EXPECT_THAT(words("profile a { ciphers A } profile a { }"), HasSubstr("twice"));
  EXPECT_THAT(words("profile a { cyphers A }"), HasSubstr("ciphers"));
  EXPECT_THAT(words("profile a { certificate A }"), HasSubstr("certificate"));
  EXPECT_THAT(words("profile a { min-version 1.1 }"), HasSubstr("1.2 or 1.3"));
  EXPECT_THAT(words("profile a { ciphers }"), HasSubstr("ciphers"));
  EXPECT_THAT(words("profile a { max-version 1.2 } min-version 1.3"),
              HasSubstr("profile a: min-version is above max-version"));
  EXPECT_THAT(words("profile " + std::string(64, 'a') + " { }"),
              HasSubstr("at most 63 characters"));
  EXPECT_THAT(words("profile caf\xc3\xa9 { }"), HasSubstr("ASCII"));
  std::string many;
  for (int i = 0; i < 64; ++i) many += "profile p" + std::to_string(i) + " { } ";
  EXPECT_EQ(words(many), "it is taken");
  EXPECT_THAT(words(many + "profile p64 { }"), HasSubstr("at most 64 profiles"));
}

TEST(TlsConfig, HandshakesHaveAThreadWhereACoreIsLeft) {
  EXPECT_EQ(threads_for(2, 1), 1u);
  EXPECT_EQ(threads_for(64, 8), 1u);
  EXPECT_EQ(threads_for(1, 1), 0u);
  EXPECT_EQ(threads_for(4, 4), 0u);
  EXPECT_EQ(threads_for(4, 6), 0u);
  EXPECT_EQ(threads_for(0, 1), 0u);  // the system does not say
}

// As nginx takes several ssl_certificate: the n-th with the n-th key.
TEST(TlsConfig, CertificatesMayBeSeveralEachWithItsKey) {
  using Files = std::vector<std::string>;
  const auto c = parsed("tls { certificate a.pem key a.key certificate b.pem key b.key }");
  ASSERT_TRUE(c) << c.error().message;
  EXPECT_EQ(c->certificates, (Files{"a.pem", "b.pem"}));
  EXPECT_EQ(c->keys, (Files{"a.key", "b.key"}));
  EXPECT_THAT(parsed("tls { certificate a.pem key a.key certificate b.pem }").error().message,
              HasSubstr("go together"));
  std::string many;
  for (int i = 0; i < 64; ++i) many += "certificate a.pem key a.key ";
  EXPECT_TRUE(parsed("tls { " + many + "}"));
  EXPECT_THAT(parsed("tls { " + many + "certificate a.pem key a.key }").error().message,
              HasSubstr("at most 64"));
}

TEST(TlsConfig, WhatMakesNoSenseIsRefusedWithItsLine) {
  EXPECT_THAT(parsed("tls {\n min-version 1.1 }").error().message, HasSubstr("t.conf:2"));
  EXPECT_THAT(parsed("tls { verify-server maybe }").error().message, HasSubstr("required or off"));
  EXPECT_THAT(parsed("tls { certificate x }").error().message, HasSubstr("go together"));
  EXPECT_THAT(parsed("tls { min-version 1.3 max-version 1.2 }").error().message,
              HasSubstr("above max-version"));
  for (const char* n : {"65", "-1", "many", ""})
    EXPECT_THAT(parsed("tls { crypto-threads " + std::string(n) + " }").error().message,
                HasSubstr("crypto-threads"));
  EXPECT_THAT(parsed("tls { cyphers x }").error().message, HasSubstr("ciphers"));
}

}  // namespace
}  // namespace loom::tls
