// What is read and parsed on the control thread, so that no worker does: settings of connects when
// they are given, trusted certificates at start and by reload.
#include "tls_bed.h"

namespace loom::tls {
namespace {

struct TlsGiven : testing::Test {
  TlsBed bed;
};

TEST_F(TlsGiven, WhatAConnectWantsIsReadWhenItIsGivenAndNotByAWorker) {
  const Pem other = make_certificate({.names = "", .is_authority = true});
  const Pem pair = make_certificate({.issuer = &other});
  ASSERT_EQ(bed.listen(443, kProto, bed.add_settings(TlsBed::pair_settings(pair))), 0);
  EXPECT_EQ(shared().wishes.size(), 0u);
  std::string trust, rubbish;
  add_setting(trust, Setting::kTrust, other.certificate);
  add_setting(rubbish, Setting::kTrust, std::string_view("rubbish"));
  for (const bool is_known : {false, true}) {  // the same again is parsed no more
    const uint32_t number = bed.add_settings(trust);
    const uint32_t had_read = bed.settings_read;
    ClientSettingsTable::Ptr ready;
    ASSERT_EQ(shared().wishes.find(number, ready), Status::kOk);
    EXPECT_EQ(ready.use_count(), 3) << "the table's, that of what is kept, and ours";
    const auto near = bed.connect(443, kProto, number);
    const auto from = bed.accept();
    ASSERT_TRUE(near && from) << is_known;
    EXPECT_EQ(bed.settings_read, had_read);
    EXPECT_EQ(shared().wishes.size(), 0u) << "they were for once";
    bed.app->push(svm::ToDaemon::kReset, near->handle);
    bed.app->close(*from);
  }
  bed.start_connect(443, kProto, bed.add_settings(rubbish));
  EXPECT_EQ(bed.outcome().status, static_cast<int32_t>(Status::kInvalid));
  (void)bed.add_settings(trust, false);
  EXPECT_EQ(shared().wishes.size(), 1u);
  bed.app = std::make_unique<test::TestApp>(bed.bed);
  bed.bed.pump();
  EXPECT_EQ(shared().wishes.size(), 0u) << "they go with their application";
}

TEST_F(TlsGiven, WhatIsKeptOfThoseThatHaveGoneIsBounded) {
  std::weak_ptr<const ClientSettings> first;
  for (std::size_t i = 0; i < ClientSettingsTable::kMostKept + 3; ++i) {
    std::string s;
    add_setting(s, Setting::kServerName, "host" + std::to_string(i) + ".test");
    const uint32_t number = bed.add_settings(s);
    ClientSettingsTable::Ptr ready;
    ASSERT_EQ(shared().wishes.find(number, ready), Status::kOk);
    EXPECT_EQ(ready.use_count(), 3);
    bed.start_connect(1, kProto, number);
    EXPECT_EQ(ready.use_count(), 2);
    std::weak_ptr<const ClientSettings> still = ready;
    ready.reset();
    if (i == 0) first = still;
    EXPECT_FALSE(still.expired());
  }
  EXPECT_TRUE(first.expired());
}

TEST_F(TlsGiven, ThoseGivenWithAPublicCertificateAndNoKeyOfItAreNobodyElses) {
  const Pem a = make_certificate({}), b = make_certificate({});
  ClientSettingsTable::Ptr ready;
  EXPECT_EQ(shared().wishes.find(bed.add_settings(TlsBed::pair_settings(a)), ready), Status::kOk);
  EXPECT_EQ(shared().wishes.find(
                bed.add_settings(TlsBed::pair_settings(
                    {.certificate = a.certificate, .key = b.key, .x509 = {}, .pkey = {}})),
                ready),
            Status::kInvalid);
}

TEST_F(TlsGiven, AReloadHoldsForWhatWasGivenBefore) {
  const Pem other = make_certificate({.names = "", .is_authority = true});
  const Pem pair = make_certificate({.issuer = &other, .serial = 7});
  ASSERT_EQ(bed.listen(443, kProto, bed.add_settings(TlsBed::pair_settings(pair))), 0);
  std::string trust;
  add_setting(trust, Setting::kTrust, other.certificate);
  const uint32_t number = bed.add_settings(trust, false);
  ASSERT_TRUE(bed.connect(443, kProto, number));
  shared().config.crl = bed.write("crl.pem", make_crl(other, 7));
  ASSERT_EQ(bed.run("tls reload").status, Status::kOk);
  bed.start_connect(443, kProto, number);
  EXPECT_EQ(bed.outcome().status, static_cast<int32_t>(Status::kPermission));
}

TEST(TlsTrust, AFolderIsReadAtStartAndByReloadAndAtNoHandshake) {
  const Pem next = make_certificate({.names = "", .is_authority = true, .serial = 5});
  std::string folder, file;
  const auto put = [&](const Pem& p) {
    char name[32];
    std::snprintf(name, sizeof name, "%08lx.0", X509_subject_name_hash(p.x509.get()));
    file = folder + "/" + name;
    FILE* f = std::fopen(file.c_str(), "w");
    ASSERT_TRUE(f);
    std::fwrite(p.certificate.data(), 1, p.certificate.size(), f);
    std::fclose(f);
  };
  char name[] = "/tmp/hostloom-tls-test-XXXXXX";
  folder = mkdtemp(name);
  const Pem authority = make_certificate({.names = "", .is_authority = true});
  put(authority);
  {
    TlsBed bed([&](Config& c) { c.ca = folder; });
    const Pem pair = make_certificate({.issuer = &authority});
    ASSERT_EQ(bed.listen(443, kProto, bed.add_settings(TlsBed::pair_settings(pair))), 0);
    ASSERT_EQ(::unlink(file.c_str()), 0);
    EXPECT_TRUE(bed.connect(443)) << "what was read at start is known";
    const auto refused = bed.run("tls reload");
    EXPECT_NE(refused.status, Status::kOk) << "nobody would be believed";
    EXPECT_TRUE(bed.connect(443));
    put(next);
    EXPECT_EQ(bed.run("tls reload").status, Status::kOk);
    bed.start_connect(443);
    EXPECT_EQ(bed.outcome().status, static_cast<int32_t>(Status::kPermission));
  }
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace loom::tls
