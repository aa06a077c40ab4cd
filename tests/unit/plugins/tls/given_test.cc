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
  const uint32_t number = bed.add_settings(TlsBed::pair_settings(a));
  ASSERT_EQ(shared().wishes.find(number, ready), Status::kOk);
  EXPECT_EQ(ready.use_count(), 2) << "the table's and ours: with a key nothing is kept for others";
  const CredentialsPtr parsed = ready->own;
  ASSERT_TRUE(parsed);
  EXPECT_EQ(shared().wishes.find(
                bed.add_settings(TlsBed::pair_settings(
                    {.certificate = a.certificate, .key = b.key, .x509 = {}, .pkey = {}})),
                ready),
            Status::kInvalid)
      << "as long as the certificate's own key is known";
  // Who has both has what was parsed for the first.
  ASSERT_EQ(shared().wishes.find(bed.add_settings(TlsBed::pair_settings(a)), ready), Status::kOk);
  EXPECT_EQ(ready->own, parsed);
  std::weak_ptr<const ClientSettings> was = ready;
  ready.reset();
  bed.app = std::make_unique<test::TestApp>(bed.bed);
  bed.bed.pump();
  EXPECT_TRUE(was.expired());
}

TEST_F(TlsGiven, APairsNumberSaysNotWhichPairItIs) {
  // A host whose settings 1 name pair 2, which is another's after a while.
  static std::string pair;
  HostOps ops{};
  ops.struct_size = sizeof ops;
  ops.endpoint_settings = [](Host&, uint32_t, uint32_t number, std::string* out) {
    out->clear();
    if (number == 1)
      add_setting(*out, Setting::kPair, 2);
    else
      *out = pair;
    return Status::kOk;
  };
  Host other;
  other.ops = &ops;
  std::string digests[3];
  for (int i = 0; i < 3; ++i) {
    if (i != 1) pair = TlsBed::pair_settings(make_certificate({}));
    const auto settings = settings_of(other, 1);
    ASSERT_TRUE(settings);
    digests[i] = settings->digest;
  }
  EXPECT_EQ(digests[0], digests[1]);
  EXPECT_NE(digests[0], digests[2]);
}

TEST_F(TlsGiven, TheControlThreadFreesWhatTheLastConnectionHadOfThem) {
  ASSERT_EQ(bed.listen(443), 0);
  const Pem own = make_certificate({.issuer = &bed.authority});
  const uint32_t number = bed.add_settings(TlsBed::pair_settings(own));
  std::weak_ptr<const ClientSettings> wanted;
  {
    ClientSettingsTable::Ptr ready;
    ASSERT_EQ(shared().wishes.find(number, ready), Status::kOk);
    wanted = ready;
  }
  const auto near = bed.connect(443, kProto, number);
  const auto far = bed.accept();
  ASSERT_TRUE(near && far);
  EXPECT_EQ(shared().wishes.size(), 0u);
  std::weak_ptr<ServerContext> context = shared().listeners.begin()->second->context;
  ASSERT_EQ(bed.run("tls reload").status, Status::kOk);
  EXPECT_FALSE(wanted.expired());
  EXPECT_FALSE(context.expired()) << "a connection has it still";
  {
    test::HeldControl control(*bed.bed.engine);
    bed.app->ask_worker(0, svm::ToDaemon::kReset, svm::SessionEvent{near->handle, 0});
    bed.app->ask_worker(0, svm::ToDaemon::kReset, svm::SessionEvent{far->handle, 0});
    for (int i = 0; i < 100; ++i) (void)bed.bed.engine->step();
    EXPECT_EQ(bed.stat(kConnections), 0u);
    EXPECT_FALSE(wanted.expired());
    EXPECT_FALSE(context.expired());
    control.run();
  }
  EXPECT_TRUE(wanted.expired());
  EXPECT_TRUE(context.expired());
  EXPECT_EQ(retired().size(), 0u);
}

TEST_F(TlsGiven, AListenerParsesNothingThatSomebodyHasGiven) {
  std::string names;
  std::vector<CredentialsPtr> given;
  for (int i = 0; i < 8; ++i) {
    const std::string name = "host" + std::to_string(i) + ".test";
    const Pem pair = make_certificate({.names = "DNS:" + name, .issuer = &bed.authority});
    const uint32_t number = bed.add_settings(TlsBed::pair_settings(pair), false);
    ClientSettingsTable::Ptr ready;
    ASSERT_EQ(shared().wishes.find(number, ready), Status::kOk);
    given.push_back(ready->own);
    add_setting(names, Setting::kPair, number);
  }
  ASSERT_EQ(bed.listen(443, kProto, bed.add_settings(names)), 0);
  EXPECT_EQ(shared().listeners.begin()->second->context->sites, given);
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

TEST(TlsTrust, AFolderOfMoreNamesThanAreReadIsRefused) {
  char name[] = "/tmp/hostloom-tls-test-XXXXXX";
  const std::string folder = mkdtemp(name);
  const Pem authority = make_certificate({.names = "", .is_authority = true});
  const auto put = [&](const std::string& file) {
    FILE* f = std::fopen((folder + "/" + file).c_str(), "w");
    ASSERT_TRUE(f);
    std::fwrite(authority.certificate.data(), 1, authority.certificate.size(), f);
    std::fclose(f);
  };
  char hashed[32];
  std::snprintf(hashed, sizeof hashed, "%08lx.0", X509_subject_name_hash(authority.x509.get()));
  put(hashed);
  put("other");
  Config c;
  c.ca = folder;
  c.most_of_folder = 2;
  EXPECT_TRUE(make_store(c));
  put("one more");
  const auto refused = make_store(c);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("has more than 2 names"), std::string::npos)
      << refused.error().message;
  std::filesystem::remove_all(folder);
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
