// Profiles by name: each listener and each connection has its own versions, ciphers and groups.
#include <gmock/gmock.h>

#include "profiles_bed.h"

namespace loom::tls {
namespace {

using testing::HasSubstr;

struct TlsProfileNames : testing::Test {
  TlsBed bed{with_profiles};

  std::string agreed(const TlsBed::Link& c) {
    return bed.property(*c, SessionProperty::kVersion).value_or("") + " " +
           bed.property(*c, SessionProperty::kCipher).value_or("");
  }
  // By a listener of that profile, with a client that takes anything; "": it is refused.
  std::string served(const char* profile, int version = 0) {
    const auto port = ++last_port;
    if (bed.listen(port, kProto, *profile ? bed.add_settings(named(profile)) : 0) != 0)
      return "no listener";
    Peer peer(Peer::Role::kClient, [version](SSL_CTX* c) {
      SSL_CTX_set_min_proto_version(c, version);
      SSL_CTX_set_max_proto_version(c, version);
    });
    const auto link = bed.connect(port, test::PipeTransport::kProto);
    peer.exchange(*bed.app, *link);
    ERR_clear_error();
    const auto far = bed.accept();
    return far ? agreed(far) : "";
  }
  uint16_t last_port = 443;
};

TEST_F(TlsProfileNames, AListenersIsTheOneThatItNames) {
  EXPECT_EQ(served(""), "TLSv1.3 TLS_AES_256_GCM_SHA384");
  EXPECT_EQ(served("old"), "TLSv1.2 ECDHE-ECDSA-AES128-GCM-SHA256");
  EXPECT_EQ(served("fresh"), "TLSv1.3 TLS_CHACHA20_POLY1305_SHA256");
  EXPECT_EQ(served("old", TLS1_3_VERSION), "");
  EXPECT_EQ(served("fresh", TLS1_2_VERSION), "");
  EXPECT_EQ(served("", TLS1_2_VERSION), "TLSv1.2 ECDHE-ECDSA-AES256-GCM-SHA384");
}

TEST_F(TlsProfileNames, IsShown) {
  ASSERT_EQ(bed.listen(443, kProto, bed.add_settings(named("old"))), 0);
  EXPECT_THAT(bed.run("show tls listeners").text, HasSubstr("old"));
}

TEST_F(TlsProfileNames, AConnectionsIsTheOneThatItNames) {
  ASSERT_EQ(bed.listen(443), 0);
  const auto asked = [&](const char* profile) {
    const auto near = bed.connect(443, kProto, *profile ? bed.add_settings(named(profile)) : 0);
    EXPECT_TRUE(bed.accept());
    return near ? agreed(near) : "";
  };
  EXPECT_EQ(asked(""), "TLSv1.3 TLS_AES_256_GCM_SHA384");
  EXPECT_EQ(asked("old"), "TLSv1.2 ECDHE-ECDSA-AES128-GCM-SHA256");
  EXPECT_EQ(asked("fresh"), "TLSv1.3 TLS_CHACHA20_POLY1305_SHA256");
  EXPECT_EQ(asked(""), "TLSv1.3 TLS_AES_256_GCM_SHA384");
}

TEST_F(TlsProfileNames, OneThatNobodyHasToldIsRefused) {
  const int invalid = static_cast<int>(Status::kInvalid);
  for (const std::string& name : {std::string("unknown"), std::string(), std::string("old\0", 4),
                                  std::string("old\n"), std::string(64, 'o')})
    EXPECT_EQ(bed.listen(443, kProto, bed.add_settings(named(name))), invalid) << name;
  ASSERT_EQ(bed.listen(443), 0);
  bed.start_connect(443, kProto, bed.add_settings(named("unknown")));
  EXPECT_EQ(bed.outcome().status, invalid);
  EXPECT_EQ(bed.stat(kConnections), 0u);
}

TEST_F(TlsProfileNames, ReloadLeavesThemToThoseWhoNamedThem) {
  const uint32_t settings = bed.add_settings(named("old"), false);
  ASSERT_EQ(bed.listen(443, kProto, settings), 0);
  ASSERT_EQ(bed.listen(444), 0);
  for (int i = 0; i < 2; ++i) {
    auto* const any = bed.app->listener;
    for (const auto& [port, used] :
         {std::pair(uint16_t{443}, 0u), std::pair(uint16_t{444}, settings)}) {
      const auto near = bed.connect(port, kProto, used);
      ASSERT_TRUE(near);
      EXPECT_EQ(agreed(near), "TLSv1.2 ECDHE-ECDSA-AES128-GCM-SHA256");
      bed.app->push(svm::ToDaemon::kReset, near->handle);
    }
    bed.app->listener = any;
    ASSERT_TRUE(shared().reload.now());
  }
}

// What was agreed on under one is not taken up again under another.
TEST_F(TlsProfileNames, AreNoneToResumeAnothersSessionBy) {
  ASSERT_EQ(bed.listen(443), 0);
  const auto visit = [&](const char* profile) {
    const auto near = bed.connect(443, kProto, *profile ? bed.add_settings(named(profile)) : 0);
    const auto from = bed.accept();
    EXPECT_TRUE(near && from);
    bed.app->write(*from, "x");  // behind the tickets
    EXPECT_EQ(bed.app->read(*near), "x");
    const auto is = bed.property(*near, SessionProperty::kIsResumed).value_or("");
    bed.app->close(*near);
    bed.app->close(*from);
    return number_setting(is) == 1;
  };
  EXPECT_FALSE(visit(""));
  EXPECT_FALSE(visit("fresh"));
  EXPECT_FALSE(visit("old"));
  EXPECT_TRUE(visit("fresh"));
  EXPECT_TRUE(visit("old"));
  EXPECT_TRUE(visit(""));
}

TEST(TlsProfileStart, WhatOpenSslDoesNotHaveIsRefusedByTheProfilesName) {
  TlsBed bed;
  Config c = shared().config;
  c.profiles["strange"].ciphers = "NO-SUCH";
  const auto made = make_clients(c, shared().store.get());
  ASSERT_FALSE(made);
  EXPECT_THAT(made.error().message, HasSubstr("profile strange: ciphers NO-SUCH"));
}

}  // namespace
}  // namespace loom::tls
