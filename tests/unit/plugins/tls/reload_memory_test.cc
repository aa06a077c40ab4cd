// `tls reload` without memory at any one place: all of it holds or nothing, and whoever has asked
// is told. What changes meanwhile without memory lets it fail, and is as it was changed to.
#include "listing.h"
#include "looking.h"
#include "tls_bed.h"

namespace loom::tls {
namespace {

struct TlsReloadMemory : testing::Test {
  TlsReloadMemory() {
    EXPECT_EQ(bed.listen(443), 0);
    EXPECT_EQ(bed.listen(444), 0);
    std::string bytes;
    add_setting(bytes, Setting::kTrust, bed.authority.certificate);
    add_setting(bytes, Setting::kServerName, "server.test");
    settings = bed.add_settings(bytes, false);
    EXPECT_NE(settings, 0u);
  }
  ~TlsReloadMemory() override { shared().reload.stop(); }

  // Whatever files there are show this one from now on.
  void write_pair() {
    const Pem p = make_certificate({.issuer = &bed.authority, .serial = ++serial});
    bed.write("server.pem", p.certificate);
    bed.write("server.key", p.key);
  }
  // Its turns are the test's to make; so many at most.
  template <class F>
  void turn_until(F&& is_so, int most = 1000) {
    for (; most > 0 && !is_so(); --most) {
      const auto at = bed.bed.watches.find(bed.bed.next_watch);
      if (at == bed.bed.watches.end()) return;
      const auto turn = at->second.second;  // it may end its own watch
      turn();
    }
  }
  void rest() {
    turn_until([] { return false; });
  }
  struct Answer {
    int n = 0;
    bool is_good = false;
    Reload::Done listens() {
      return [this](const Result<void>& r) {
        ++n;
        is_good = r.has_value();
      };
    }
  };
  // By news that fail, the nth of the call. True: it has been reached.
  template <class F>
  static bool lacks(std::size_t nth, F&& call) {
    news_until_one_fails = nth;
    call();
    return std::exchange(news_until_one_fails, 0) == 0;
  }
  static std::vector<std::shared_ptr<const void>> contexts() {
    std::vector<std::shared_ptr<const void>> all{shared().clients.usual,
                                                 dtls::shared().clients.usual};
    for (const auto& [id, l] : shared().listeners) all.push_back(l->context);
    EXPECT_EQ(SSL_CTX_get_cert_store(shared().clients.usual.get()), shared().store.get());
    return all;
  }
  // How many are others now.
  static std::size_t n_changed(const std::vector<std::shared_ptr<const void>>& before) {
    const auto now = contexts();
    std::size_t n = 0;
    for (std::size_t i = 0; i < now.size(); ++i) n += now[i] != before[i];
    return n;
  }

  TlsBed bed;
  uint32_t settings = 0;
  long serial = 10;
  // As far as the first listener's context: of the store two, the clients', and their settings'.
  static constexpr int kToFirst = 5;
};

TEST_F(TlsReloadMemory, AnyAllocationMayFailAndAllHoldsOrNothing) {
  Reload& reload = shared().reload;
  write_pair();
  std::size_t n_failed = 0, n_all = 0;
  bool has_failed = true;
  for (std::size_t nth = 1; has_failed; ++nth) {
    const auto before = contexts();
    const uint32_t generation = shared().generation;
    Answer first, behind;
    const auto first_listens = first.listens(), behind_listens = behind.listens();
    has_failed = lacks(nth, [&] {
      reload.ask(first_listens);
      reload.ask(behind_listens);
      turn_until([&] { return first.n != 0 && behind.n != 0; });
    });
    n_failed += has_failed;
    ASSERT_EQ(first.n, 1) << nth;
    ASSERT_EQ(behind.n, 1) << nth;
    ASSERT_EQ(shared().generation, generation + first.is_good + behind.is_good) << nth;
    const std::size_t changed = n_changed(before);
    ASSERT_EQ(changed, first.is_good || behind.is_good ? before.size() : 0u) << nth;
    ASSERT_TRUE(has_failed || (first.is_good && behind.is_good));
    n_all += changed != 0;
    ASSERT_EQ(shared().wishes.size(), 1u);
    rest();
  }
  EXPECT_GT(n_failed, 50u);
  EXPECT_GT(n_all, 0u);
  EXPECT_TRUE(bed.connect(443, kProto, settings));
}

// Beside what came last.
TEST_F(TlsReloadMemory, WhatThereWasNoMemoryToKeepIsNotKept) {
  const auto asked = [&](const std::string& name) {
    std::string bytes;
    add_setting(bytes, Setting::kServerName, name);
    return bed.add_settings(bytes, false);
  };
  const uint32_t first = asked("first.test");
  std::vector<uint32_t> others;
  for (std::size_t i = 0; i < ClientSettingsTable::kMostKept; ++i)
    others.push_back(asked("other" + std::to_string(i) + ".test"));
  std::size_t n_failed = 0;
  bool has_failed = true;
  for (std::size_t nth = 1; has_failed; ++nth) {
    ClientSettingsTable table;
    has_failed = lacks(nth, [&] {
      try {
        table.given(*shared().host, first, shared().store.get());
      } catch (const std::bad_alloc&) {}
    });
    n_failed += has_failed;
    for (const uint32_t other : others) table.given(*shared().host, other, shared().store.get());
    const std::size_t n_entries = table.size();
    std::size_t n = 0;
    while (table.retire_some()) ++n;
    ASSERT_EQ(n, n_entries + ClientSettingsTable::kMostKept) << nth;
  }
  EXPECT_GT(n_failed, 5u);
}

// With nobody behind it a failure at its end has changed nothing.
TEST_F(TlsReloadMemory, WhoIsToldThatThereWasNoMemoryHasWhatThereWas) {
  std::size_t n_failed = 0;
  bool has_failed = true;
  for (std::size_t nth = 1; has_failed; ++nth) {
    const auto before = contexts();
    Answer one;
    const auto listens = one.listens();
    has_failed = lacks(nth, [&] {
      shared().reload.ask(listens);
      turn_until([&] { return one.n != 0; });
    });
    ASSERT_EQ(one.n, 1) << nth;
    ASSERT_EQ(n_changed(before), one.is_good ? before.size() : 0u) << nth;
    n_failed += !one.is_good;
    rest();
  }
  EXPECT_GT(n_failed, 25u);
}

TEST_F(TlsReloadMemory, AListenerThatChangesMeanwhileIsAsItWasChangedTo) {
  const Pem own = make_certificate({.issuer = &bed.authority, .serial = 9});
  const uint32_t number = bed.add_settings(TlsBed::pair_settings(own), false);
  const std::string before = describe(*shared().listeners.at(0)).subject;
  int n_changed_alone = 0;
  bool has_failed = true;
  for (std::size_t nth = 1; has_failed; ++nth) {
    ASSERT_EQ(use_settings(0, 0), Status::kOk);
    Answer one;
    shared().reload.ask(one.listens());
    turn_until([] { return false; }, kToFirst + 1);
    Status status{};
    has_failed = lacks(nth, [&] { status = use_settings(0, number); });
    ASSERT_EQ(status == Status::kOk || has_failed, true);
    turn_until([&] { return one.n != 0; });
    ASSERT_EQ(one.n, 1);
    ASSERT_EQ(describe(*shared().listeners.at(0)).subject,
              status == Status::kOk ? "CN=holder 9" : before)
        << nth;
    if (!has_failed) {
      EXPECT_TRUE(one.is_good);
    }
    n_changed_alone += status == Status::kOk && !one.is_good;
    rest();
  }
  EXPECT_GT(n_changed_alone, 3);
}

TEST_F(TlsReloadMemory, SettingsThatAreGivenMeanwhileLetItFail) {
  int n_failed = 0;
  bool has_failed = true;
  for (std::size_t nth = 1; has_failed; ++nth) {
    Answer one;
    shared().reload.ask(one.listens());
    turn_until([] { return false; }, kToFirst);
    has_failed = lacks(nth, [&] { shared().reload.settings_given(settings); });
    turn_until([&] { return one.n != 0; });
    ASSERT_EQ(one.n, 1);
    n_failed += !one.is_good;
    ASSERT_TRUE(one.is_good || has_failed);
    ClientSettingsTable::Ptr found;
    ASSERT_EQ(shared().wishes.find(settings, found), Status::kOk);
    rest();
  }
  EXPECT_GT(n_failed, 1);
}

// What a done throws is its own.
TEST_F(TlsReloadMemory, OneThatCannotListenKeepsTheAnswerFromNobodyElse) {
  Answer first, last;
  Reload& reload = shared().reload;
  reload.ask([](const Result<void>&) {});
  reload.ask(first.listens());
  reload.ask([](const Result<void>&) { throw std::bad_alloc(); });
  reload.ask(last.listens());
  turn_until([&] { return last.n != 0; });
  EXPECT_EQ(first.n, 1);
  EXPECT_EQ(last.n, 1);
  EXPECT_TRUE(last.is_good);
  rest();
}

decltype(HostOps::with_barrier) real_barrier = nullptr;
std::size_t n_freed_within = 0, n_barriers = 0;

TEST_F(TlsReloadMemory, WhileTheWorkersStandStillPointersAreExchanged) {
  std::vector<uint32_t> numbers;
  for (int i = 0; i < 4; ++i) {
    std::string bytes;
    add_setting(bytes, Setting::kTrust, bed.authority.certificate);
    add_setting(bytes, Setting::kServerName, "server" + std::to_string(i) + ".test");
    numbers.push_back(bed.add_settings(bytes, false));
  }
  Answer one;
  shared().reload.ask(one.listens());
  turn_until([] { return false; }, kToFirst + 1);  // some of them are made, and some are not
  auto held = bed.bed.watches.extract(bed.bed.next_watch);  // the bed goes on meanwhile
  for (std::size_t i : {0, 1, 3}) EXPECT_EQ(bed.app->remove_settings(numbers[i]), Status::kOk);
  bed.bed.watches.insert(std::move(held));
  HostOps ops = *bed.host.ops;
  real_barrier = ops.with_barrier;
  n_freed_within = n_barriers = 0;
  ops.with_barrier = [](Host& h, void (*fn)(void*), void* arg) {
    struct Call {
      void (*fn)(void*);
      void* arg;
    } call{fn, arg};
    real_barrier(
        h,
        [](void* of) {
          const std::size_t before = n_frees;
          const auto& c = *static_cast<Call*>(of);
          c.fn(c.arg);
          n_freed_within += n_frees - before;
          ++n_barriers;
        },
        &call);
  };
  const HostOps* const plain = std::exchange(bed.host.ops, &ops);
  turn_until([&] { return one.n != 0; });
  bed.host.ops = plain;
  EXPECT_TRUE(one.is_good);
  EXPECT_EQ(n_barriers, 1u);
  EXPECT_EQ(n_freed_within, 0u);
  EXPECT_EQ(shared().wishes.size(), 2u);
  rest();
}

}  // namespace
}  // namespace loom::tls
