// `tls reload` in the turns of the control thread's loop: what is shown meanwhile, what may change
// meanwhile, and that all of it holds from one moment on, or nothing.
#include <filesystem>
#include <fstream>

#include "listing.h"
#include "tls_bed.h"

namespace loom::tls {
namespace {

struct TlsReload : testing::Test {
  explicit TlsReload(const std::function<void(Config&)>& more = {}) : bed(more) {}

  // Its turns are the test's to make: the bed goes on meanwhile.
  void ask() {
    if (held) rest();
    outcome.reset();
    const uint64_t before = bed.bed.next_watch;
    shared().reload.ask([this](const Result<void>& r) { outcome = r; });
    ASSERT_NE(bed.bed.next_watch, before);
    held = bed.bed.watches.extract(bed.bed.next_watch);
  }
  void turns(int n) {
    for (; n > 0; --n) held.mapped().second();
  }
  int turns_until_over() {
    int n = 0;
    for (; !outcome && n < 1000; ++n) turns(1);
    return n;
  }
  // A few more: it frees what there was.
  void rest() { turns(200); }
  void write_pair(long serial) {
    const Pem p = make_certificate({.issuer = &bed.authority, .serial = serial});
    bed.write("server.pem", p.certificate);
    bed.write("server.key", p.key);
  }
  std::vector<std::string> subjects() {
    std::vector<std::string> all;
    for (const auto& [id, l] : shared().listeners) all.push_back(describe(*l).subject);
    return all;
  }
  static std::vector<std::string> holders(std::size_t n, int serial) {
    return std::vector<std::string>(n, "CN=holder " + std::to_string(serial));
  }
  // What a client is shown on the wire.
  std::string shown(uint16_t port) {
    auto link = bed.connect(port, test::PipeTransport::kProto);
    Peer peer(Peer::Role::kClient);
    peer.exchange(*bed.app, *link);
    X509* const x = SSL_get0_peer_certificate(peer.ssl());
    if (!x) return "";
    char text[64] = "";
    X509_NAME_get_text_by_NID(X509_get_subject_name(x), NID_commonName, text, sizeof text);
    bed.app->push(svm::ToDaemon::kReset, link->handle);
    (void)bed.accept();
    return text;
  }

  TlsBed bed;
  std::optional<Result<void>> outcome;
  decltype(bed.bed.watches)::node_type held;
  // As far as the first listener's context, and not the second's: of the store two, and the
  // clients'.
  static constexpr int kToFirst = 4;
};

TEST_F(TlsReload, ATurnMakesALittleAndAllOfItHoldsAtTheEnd) {
  constexpr int kListeners = 20;
  for (uint16_t i = 0; i < kListeners; ++i)
    ASSERT_EQ(bed.listen(static_cast<uint16_t>(1000 + i)), 0);
  write_pair(7);
  ask();
  const auto before = holders(kListeners, 1);
  int n = 0;
  for (; !outcome && n < 1000; ++n) {
    ASSERT_EQ(subjects(), before);
    if (n == kListeners / 2) {
      ASSERT_EQ(shown(1000), "holder 1");
    }
    turns(1);
  }
  EXPECT_TRUE(*outcome) << outcome->error().message;
  EXPECT_EQ(n, kToFirst + kListeners);
  EXPECT_EQ(subjects(), holders(kListeners, 7));
  EXPECT_EQ(shown(1000), "holder 7");
  EXPECT_FALSE(shared().reload.is_under_way());
}

TEST_F(TlsReload, WhatThereWasIsFreedInTurnsToo) {
  constexpr int kListeners = 5;
  std::vector<std::weak_ptr<ServerContext>> had;
  for (uint16_t i = 0; i < kListeners; ++i)
    ASSERT_EQ(bed.listen(static_cast<uint16_t>(1000 + i)), 0);
  for (const auto& [id, l] : shared().listeners) had.push_back(l->context);
  const auto n_left = [&] {
    return std::ranges::count_if(had, [](const auto& p) { return !p.expired(); });
  };
  ask();
  turns_until_over();
  ASSERT_EQ(n_left(), kListeners);
  for (auto left = n_left(); left != 0; left = n_left()) {
    turns(1);
    EXPECT_GE(n_left(), left - 1);
    if (HasFailure()) return;
  }
  rest();
}

TEST_F(TlsReload, AFailureAtTheEndChangesNothing) {
  const Pem own = make_certificate({.issuer = &bed.authority, .serial = 9});
  ASSERT_EQ(bed.listen(443, kProto, bed.add_settings(TlsBed::pair_settings(own))), 0);
  ASSERT_EQ(bed.listen(444), 0);
  write_pair(7);
  bed.write("server.key", "rubbish");
  Shared& s = shared();
  const auto state = [&s] {
    return std::tuple(s.store.get(), s.clients.usual.get(), s.generation,
                      s.listeners[0]->context.get(), s.listeners[1]->context.get(),
                      dtls::shared().clients.usual.get());
  };
  const auto before = state();
  ask();
  EXPECT_GE(turns_until_over(), kToFirst + 1);
  EXPECT_FALSE(*outcome);
  EXPECT_TRUE(state() == before);
  rest();
  EXPECT_EQ(shown(443), "holder 9");
  EXPECT_EQ(shown(444), "holder 1");
  write_pair(8);
  ask();
  turns_until_over();
  EXPECT_TRUE(*outcome);
  EXPECT_EQ(shown(443), "holder 9");
  EXPECT_EQ(shown(444), "holder 8");
}

TEST_F(TlsReload, ListenersMayComeGoAndChangeMeanwhile) {
  for (const uint16_t port : {443, 444, 445}) ASSERT_EQ(bed.listen(port), 0);
  write_pair(7);
  ask();
  turns(kToFirst + 1);  // the first two have theirs
  const Pem own = make_certificate({.issuer = &bed.authority, .serial = 9});
  ASSERT_EQ(use_settings(0, bed.add_settings(TlsBed::pair_settings(own))), Status::kOk);
  EXPECT_EQ(shown(443), "holder 9");
  const auto changed = shared().listeners.at(0)->context;
  close_listener(1);
  bed.write("server.pem", "rubbish");  // who comes now gets what was read before
  turns_until_over();
  EXPECT_TRUE(*outcome) << outcome->error().message;
  EXPECT_EQ(shown(443), "holder 9");
  EXPECT_EQ(shown(445), "holder 7");
  // It was made anew after it had changed, with keys for tickets of its own.
  EXPECT_NE(shared().listeners.at(0)->context, changed);
  write_pair(8);
  ask();
  turns(kToFirst);
  ASSERT_EQ(bed.listen(446), 0);
  ASSERT_EQ(use_settings(0, 0), Status::kOk);
  turns_until_over();
  for (const uint16_t port : {443, 445, 446}) EXPECT_EQ(shown(port), "holder 8");
  rest();
}

TEST_F(TlsReload, SettingsMayBeGivenAndTakenAwayMeanwhile) {
  const Pem own = make_certificate({.serial = 9});  // nobody has signed it
  ASSERT_EQ(bed.listen(443, kProto, bed.add_settings(TlsBed::pair_settings(own))), 0);
  const auto trusting = [&](const Pem& p) {
    std::string bytes;
    add_setting(bytes, Setting::kTrust, p.certificate);
    add_setting(bytes, Setting::kServerName, "server.test");
    return bytes;
  };
  const uint32_t before = bed.add_settings(trusting(own), false);
  const uint32_t gone = bed.add_settings(trusting(bed.authority), false);
  const std::size_t n = shared().wishes.size();
  ask();
  turns(kToFirst);
  const std::string late_bytes = trusting(own) + std::string();
  const uint32_t late = bed.add_settings(late_bytes, false);
  EXPECT_EQ(bed.app->remove_settings(gone), Status::kOk);
  turns_until_over();
  ASSERT_TRUE(*outcome) << outcome->error().message;
  EXPECT_EQ(shared().wishes.size(), n);
  EXPECT_TRUE(bed.connect(443, kProto, before));
  EXPECT_TRUE(bed.connect(443, kProto, late));
  rest();
}

TEST_F(TlsReload, OneThatIsAskedForMeanwhileReadsWhatIsThereThen) {
  ASSERT_EQ(bed.listen(443), 0);
  write_pair(7);
  ask();
  turns(kToFirst);
  write_pair(8);
  int n_told = 0;
  for (int i = 0; i < 2; ++i)
    shared().reload.ask([&](const Result<void>& r) {
      EXPECT_TRUE(r);
      EXPECT_EQ(subjects(), holders(1, 8));
      ++n_told;
    });
  turns_until_over();
  EXPECT_EQ(subjects(), holders(1, 7));
  EXPECT_EQ(n_told, 0);
  for (int i = 0; i < 100 && n_told == 0; ++i) turns(1);
  EXPECT_EQ(n_told, 2);
  rest();
}

TEST_F(TlsReload, WhoCannotWaitHasItAtOnceBehindWhatIsUnderWay) {
  ASSERT_EQ(bed.listen(443), 0);
  write_pair(7);
  ask();
  turns(kToFirst);
  write_pair(8);
  EXPECT_TRUE(bed.run("tls reload").status == Status::kOk);
  EXPECT_TRUE(outcome && *outcome);
  EXPECT_EQ(subjects(), holders(1, 8));
}

TEST_F(TlsReload, ACommandIsAnsweredWhenItIsOver) {
  ASSERT_EQ(bed.listen(443), 0);
  const auto run = [&] {
    CliOutcome answer;
    bool is_there = false;
    bed.cli.run(bed.host, "tls reload", [&](CliOutcome o) {
      answer = std::move(o);
      is_there = true;
    });
    EXPECT_FALSE(is_there);
    bed.bed.pump(0);
    EXPECT_TRUE(is_there);
    return answer.status;
  };
  EXPECT_EQ(run(), Status::kOk);
  bed.write("server.pem", "rubbish");
  EXPECT_NE(run(), Status::kOk);
}

TEST_F(TlsReload, ItEndsWithTheDaemon) {
  for (const uint16_t port : {443, 444, 445}) ASSERT_EQ(bed.listen(port), 0);
  ask();
  turns(kToFirst + 1);
  shared().reload.stop();  // as when the plugin stops; what it has made leaks nowhere
  EXPECT_FALSE(outcome);
}

TEST_F(TlsReload, WithoutADescriptorItHasOneTurn) {
  ASSERT_EQ(bed.listen(443), 0);
  write_pair(7);
  bed.bed.watches_left = 0;
  bool is_over = false;
  shared().reload.ask([&](const Result<void>& r) { is_over = r.has_value(); });
  EXPECT_TRUE(is_over);
  EXPECT_EQ(subjects(), holders(1, 7));
}

TimeNs reader_now = 0, per_look = 0;
TimeNs reader_clock() noexcept { return reader_now += per_look; }

// By the clock, as a name takes the longer the more are there: it is looked at before the first of
// a step and after each.
struct TlsStoreReader : testing::Test {
  static constexpr int kNames = 100;
  TlsStoreReader() : folder(mkdtemp(name)) {
    const Pem authority = make_certificate({.names = "", .is_authority = true});
    for (int i = 0; i < kNames; ++i)
      std::ofstream(folder + "/0123abcd." + std::to_string(i)) << authority.certificate;
  }
  ~TlsStoreReader() override { std::filesystem::remove_all(folder); }
  int n_steps(TimeNs a_look) {
    per_look = a_look;
    Config c;
    c.ca = folder;
    StoreReader reader(c, reader_clock);
    int n = 1;
    for (auto done = reader.step(); done && !*done; done = reader.step()) ++n;
    EXPECT_TRUE(reader.take());
    return n;
  }
  char name[34] = "/tmp/hostloom-tls-test-XXXXXX";
  std::string folder;
};

TEST_F(TlsStoreReader, AFolderIsReadInPiecesOfAMillisecond) {
  constexpr int kStoreAndList = 2;
  EXPECT_EQ(n_steps(kMillisecond / 10), kStoreAndList + kNames / 10);
  EXPECT_EQ(n_steps(kMillisecond / 4), kStoreAndList + kNames / 4);
  EXPECT_EQ(n_steps(5 * kMillisecond), kStoreAndList + kNames);  // one in any case
  EXPECT_EQ(n_steps(0), kStoreAndList + 1);
}

}  // namespace
}  // namespace loom::tls
