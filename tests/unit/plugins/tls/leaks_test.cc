// Connections that have ended leave nothing: of two batches that are alike the second one has no
// more blocks in use at its end than the first, OpenSSL's and the program's own. Clients and
// servers are ours, with and without threads for the handshakes.
#include <thread>

#include "looking.h"
#include "tls_bed.h"

namespace loom::tls {
namespace {

struct InUse {
  std::size_t blocks = blocks_in_use, bytes = bytes_in_use;
};

struct TlsLeaks : testing::TestWithParam<std::tuple<int, uint32_t>> {
  static constexpr int kWarm = 200, kBatch = 700;  // connections
  static constexpr std::size_t kFew = 16;          // blocks: of queues, which end anywhere in one
  enum End : uint8_t { kByClient, kByServer, kByReset, kOfAnotherName, kOfNoProtocol, kEnds };

  TlsBed bed{[](Config& c) {
    c.least_version = c.most_version = std::get<int>(GetParam());
    c.crypto_threads = std::get<uint32_t>(GetParam());
  }};
  uint32_t another_name = 0, no_protocol = 0;  // settings

  uint32_t settings(Setting type, std::string_view value) {
    std::string s;
    add_setting(s, type, value);
    return bed.add_settings(s, false);
  }
  void SetUp() override {
    ASSERT_EQ(bed.listen(443, kProto, settings(Setting::kAlpn, "\x02h2")), 0);
    another_name = settings(Setting::kServerName, "another.test");
    no_protocol = settings(Setting::kAlpn, "\x04smtp");
  }
  void connect(End end) {
    const bool is_refused = end == kOfAnotherName || end == kOfNoProtocol;
    const uint32_t refused = end == kOfAnotherName ? another_name : no_protocol;
    bed.start_connect(443, kProto, is_refused ? refused : 0);
    for (; bed.stat(kUnderWay) != 0; std::this_thread::yield()) bed.bed.pump(0);
    const auto c = bed.outcome();
    ASSERT_EQ(c.status != 0, is_refused);
    // The server's handshake may have been done before its client looked.
    if (is_refused) {
      if (const auto far = bed.accept()) bed.app->close(*far);
      return;
    }
    const auto near = bed.app->connection(c.handle, c.session);
    const auto far = bed.accept();
    ASSERT_TRUE(far);
    bed.app->write(*far, "behind the tickets");
    ASSERT_EQ(bed.app->read(*near), "behind the tickets");
    bed.app->write(*near, "and back");
    ASSERT_EQ(bed.app->read(*far), "and back");
    if (end == kByReset)
      bed.app->push(svm::ToDaemon::kReset, near->handle);
    else
      bed.app->close(end == kByClient ? *near : *far);
    bed.app->close(end == kByServer ? *near : *far);
  }
  // Half of them find a session to resume.
  InUse batch(int n) {
    for (int i = 0; i < n && !HasFatalFailure(); ++i) {
      if (i % (2 * kEnds) < kEnds) shared().workers[0]->sessions = {};
      connect(static_cast<End>(i % kEnds));
    }
    for (int i = 0; bed.stat(kConnections) != 0 && i < 1000; ++i) bed.bed.pump(kSecond);
    EXPECT_EQ(bed.stat(kConnections), 0u);
    for (const auto& e : bed.bed.pipe.ends) EXPECT_FALSE(e->open);
    bed.bed.pipe.ends.clear();  // the test's own
    for (svm::MqEvent e{}; bed.app->events.pop(e);) {}
    return {};
  }
};

TEST_P(TlsLeaks, NoConnectionLeavesABlock) {
  batch(kWarm);
  const uint64_t servers = bed.stat(kServerHandshakes), resumed = bed.stat(kResumed);
  const InUse first = batch(kBatch), second = batch(kBatch);
  EXPECT_GE(bed.stat(kServerHandshakes) - servers, 2 * kBatch * 3 / 5u);
  EXPECT_GE(bed.stat(kResumed) - resumed, 2 * kBatch / 5u);  // both ends count
  EXPECT_LT(second.blocks, first.blocks + kFew);
  EXPECT_LT(second.bytes, first.bytes + 4 * kBatch);  // nor do any grow; malloc rounds up
}

INSTANTIATE_TEST_SUITE_P(, TlsLeaks,
                         testing::Combine(testing::Values(TLS1_2_VERSION, TLS1_3_VERSION),
                                          testing::Values(0u, 1u)),
                         [](const auto& p) {
                           return std::string(std::get<int>(p.param) == TLS1_2_VERSION ? "Tls12"
                                                                                       : "Tls13") +
                                  (std::get<uint32_t>(p.param) ? "ByAThread" : "");
                         });

}  // namespace
}  // namespace loom::tls
