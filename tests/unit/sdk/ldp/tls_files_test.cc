// Files of LDP_TRANSPARENT_TLS: all of them, none, or a reason.
#include "ldp/tls_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>

#include <hostloom/endpoint_settings.h>

namespace loom::ldp {
namespace {

using ::testing::HasSubstr;

struct TlsFilesTest : testing::Test {
  TlsFilesTest() { dir = mkdtemp(name); }
  ~TlsFilesTest() override { std::filesystem::remove_all(dir); }
  std::string write(const std::string& file, const std::string& text) {
    FILE* f = std::fopen((dir + "/" + file).c_str(), "w");
    std::fwrite(text.data(), 1, text.size(), f);
    std::fclose(f);
    return dir + "/" + file;
  }
  char name[32] = "/tmp/hostloom-ldp-test-XXXXXX";
  std::string dir;
};

TEST_F(TlsFilesTest, BothAreTakenOrNeitherIsWanted) {
  const std::string cert = write("a.pem", "-----BEGIN CERTIFICATE-----\nA\n");
  const std::string key = write("a.key", "-----BEGIN PRIVATE KEY-----\nB\n");
  const TlsFiles f = read_tls_files(cert.c_str(), key.c_str());
  EXPECT_EQ(f.error, 0);
  std::string certificate, secret;
  EXPECT_TRUE(read_settings(f.settings, [&](Setting type, std::string_view value) {
    (type == Setting::kCertificate ? certificate : secret) = value;
  }));
  EXPECT_EQ(certificate, "-----BEGIN CERTIFICATE-----\nA\n");
  EXPECT_EQ(secret, "-----BEGIN PRIVATE KEY-----\nB\n");
  for (const char* none : {static_cast<const char*>(nullptr), ""}) {
    const TlsFiles nothing = read_tls_files(none, none);
    EXPECT_EQ(nothing.error, 0);
    EXPECT_TRUE(nothing.settings.empty());
  }
}

TEST_F(TlsFilesTest, AProfileGoesWithThemOrAlone) {
  const std::string pem = write("a.pem", "-----BEGIN CERTIFICATE-----\n");
  for (const char* path : {static_cast<const char*>(nullptr), pem.c_str()}) {
    const TlsFiles f = read_tls_files(path, path, "old");
    EXPECT_EQ(f.error, 0);
    std::string profile;
    int n = 0;
    EXPECT_TRUE(read_settings(f.settings, [&](Setting type, std::string_view value) {
      ++n;
      if (type == Setting::kProfile) profile = value;
    }));
    EXPECT_EQ(profile, "old");
    EXPECT_EQ(n, path ? 3 : 1);
  }
  EXPECT_TRUE(read_tls_files(nullptr, nullptr, "").settings.empty());
}

TEST_F(TlsFilesTest, WhatCannotBeHadIsAnErrorThatNamesIt) {
  const std::string good = write("a.pem", "-----BEGIN CERTIFICATE-----\n");
  const std::string empty = write("empty", ""), other = write("other", "GET / HTTP/1.0\n");
  const std::string large = write("large", "-----BEGIN X-----\n" + std::string(200 << 10, 'x'));
  const std::string missing = dir + "/missing";
  struct Case {
    const char *certificate, *key, *words;
    int error;
  };
  for (const Case& k : {Case{good.c_str(), missing.c_str(), "LDP_TLS_KEY_FILE=", -ENOENT},
                        Case{missing.c_str(), good.c_str(), "LDP_TLS_CERT_FILE=", -ENOENT},
                        Case{good.c_str(), dir.c_str(), "LDP_TLS_KEY_FILE=", -EISDIR},
                        Case{good.c_str(), empty.c_str(), "is not a PEM file", -EINVAL},
                        Case{other.c_str(), good.c_str(), "is not a PEM file", -EINVAL},
                        Case{large.c_str(), good.c_str(), "is not a PEM file", -EINVAL},
                        Case{good.c_str(), nullptr, "LDP_TLS_KEY_FILE: is not set", -EINVAL},
                        Case{"", good.c_str(), "LDP_TLS_CERT_FILE: is not set", -EINVAL}}) {
    const TlsFiles f = read_tls_files(k.certificate, k.key);
    EXPECT_EQ(f.error, k.error) << f.why;
    EXPECT_THAT(f.why, HasSubstr(k.words));
    EXPECT_TRUE(f.settings.empty());
  }
}

}  // namespace
}  // namespace loom::ldp
