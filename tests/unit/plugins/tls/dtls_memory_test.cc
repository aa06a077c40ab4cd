// DTLS without memory: OpenSSL gets none at any one place of a handshake or of a record, or the
// application's fifos do not. Nobody else is touched by it, and nothing is left behind.
#include "looking.h"
#include "session/control.h"
#include "tests/unit/plugins/tls/dtls_bed.h"

namespace loom::tls {
namespace {

using Texts = std::vector<std::string>;

// While it is there the allocation of that number fails, once.
struct OneFails {
  explicit OneFails(std::size_t n) { allocations_until_one_fails = n; }
  // So many are left before it: 0, it has failed.
  ~OneFails() { allocations_until_one_fails = 0; }
  std::size_t left() const { return allocations_until_one_fails; }
};

struct DtlsMemory : testing::Test {
  DtlsBed bed;
  const Pem own = make_certificate({.names = "IP:192.0.2.3", .issuer = &bed.tls.authority});

  void end_all() {
    for (int i = 0; i < 3; ++i) bed.tls.bed.pump(10 * kSecond);
    ASSERT_EQ(bed.stat(dtls::kUnderWay), 0u);
  }
  // Ours gets what the peer has sent while `n` counts; true: the allocation has failed.
  bool deliver(DtlsPeer& p, std::size_t& n, uint16_t port, ConnId conn = 0) {
    for (; !p.out.empty(); p.out.pop_front()) {
      OneFails one(n);
      bed.deliver(p.out.front(), port, conn);
      n = one.left();
      if (n == 0) return true;
    }
    return false;
  }
  void expect_good(uint16_t port) {
    DtlsPeer good(true);
    bed.exchange(good, port);
    ASSERT_TRUE(good.is_open());
    auto link = bed.accept();
    ASSERT_TRUE(link);
    good.write("here");
    bed.exchange(good, port);
    EXPECT_EQ(bed.read(*link), (Texts{"here"}));
    bed.tls.app->close(*link);
    bed.exchange(good, port);
  }
};

// Also of what OpenSSL keeps of records that come before their turn.
TEST_F(DtlsMemory, AnyAllocationOfAServersHandshakeMayFail) {
  ASSERT_EQ(bed.listen(), 0);
  expect_good(9);  // what is allocated once is there
  std::size_t n_failed = 0;
  for (std::size_t nth = 1;; ++nth) {
    DtlsPeer peer(true);
    std::size_t n = nth;
    bool has_failed = false;
    for (int flight = 0; flight < 3 && !has_failed; ++flight) {
      peer.step();
      Texts records;
      for (; !peer.out.empty(); peer.out.pop_front())
        for (auto& r : records_of(peer.out.front())) records.push_back(std::move(r));
      if (records.size() > 1) std::rotate(records.begin(), records.end() - 1, records.end());
      peer.out.assign(records.begin(), records.end());  // Finished first
      has_failed = deliver(peer, n, 7);
      for (auto& d : bed.sent()) peer.in.push_back(std::move(d));
    }
    // It is over, or the peer brings it to its end.
    bed.exchange(peer);
    if (auto link = bed.accept()) bed.tls.app->push(svm::ToDaemon::kReset, link->handle);
    end_all();
    ASSERT_EQ(bed.stat(dtls::kConnections), 0u) << nth;
    if (!has_failed) {
      EXPECT_TRUE(peer.is_open());
      break;
    }
    ++n_failed;
  }
  EXPECT_GT(n_failed, 200u);
  expect_good(9);
}

TEST_F(DtlsMemory, AnyAllocationOfAClientsHandshakeMayFail) {
  std::size_t n_failed = 0;
  for (std::size_t nth = 1;; nth += 3) {
    DtlsPeer peer(false, [&](SSL_CTX* c) {
      SSL_CTX_use_certificate(c, own.x509.get());
      SSL_CTX_use_PrivateKey(c, own.pkey.get());
    });
    std::size_t n = nth;
    const std::size_t lower = bed.transport.connections.size();
    {
      OneFails one(n);
      bed.start_connect();
      n = one.left();
    }
    bool has_failed = n == 0;
    const auto conn = static_cast<ConnId>(lower);
    if (bed.transport.connections.size() > lower)
      for (int flight = 0; flight < 4 && !has_failed; ++flight) {
        for (auto& d : bed.sent(443, conn)) peer.in.push_back(std::move(d));
        peer.step();
        has_failed = deliver(peer, n, 443, conn);
      }
    const bool was_open = bed.stat(dtls::kClientHandshakes) != 0;
    if (bed.transport.connections.size() > lower) bed.exchange(peer, 443, conn);
    end_all();
    const auto outcome = bed.tls.outcome();
    if (outcome.status == 0) bed.tls.app->push(svm::ToDaemon::kReset, outcome.handle);
    bed.tls.bed.pump();
    ASSERT_EQ(bed.stat(dtls::kConnections), 0u) << nth;
    if (!has_failed) {
      EXPECT_TRUE(was_open);
      break;
    }
    ++n_failed;
  }
  EXPECT_GT(n_failed, 100u);
}

TEST_F(DtlsMemory, RecordsOfAnOpenConnectionNeedNone) {
  ASSERT_EQ(bed.listen(), 0);
  DtlsPeer peer(true);
  bed.exchange(peer);
  auto link = bed.accept();
  ASSERT_TRUE(link);
  std::size_t n = 1;
  for (int i = 0; i < 3; ++i) {
    peer.write("a question");
    EXPECT_FALSE(deliver(peer, n, 7));
    EXPECT_EQ(bed.read(*link), (Texts{"a question"}));
    OneFails one(1);
    bed.write(*link, "an answer");
    EXPECT_EQ(one.left(), 1u);
  }
  bed.exchange(peer);
  EXPECT_EQ(peer.got.size(), 3u);
}

// The session layer ends such a connection in the midst of the report that it is open.
TEST_F(DtlsMemory, AClientsApplicationHasNoneForItsFifos) {
  DtlsPeer peer(false, [&](SSL_CTX* c) {
    SSL_CTX_use_certificate(c, own.x509.get());
    SSL_CTX_use_PrivateKey(c, own.pkey.get());
  });
  bed.start_connect();
  for (const auto& app : bed.tls.bed.layer->impl().apps) {
    if (!app || app->owner->in_this_process) continue;
    for (uint32_t size = 1u << 20; size >= 16; size /= 2)
      while (app->arena.alloc_object(size).ptr) {}
  }
  dtls::shared().workers[0]->connections[0]->shut =
      true;  // as an application may have it meanwhile
  bed.exchange(peer, 443);
  EXPECT_EQ(static_cast<Status>(bed.tls.outcome().status), Status::kNoMemory);
  EXPECT_EQ(bed.stat(dtls::kConnections), 0u);
  EXPECT_TRUE(SSL_get_shutdown(peer.ssl()) & SSL_RECEIVED_SHUTDOWN);
}

}  // namespace
}  // namespace loom::tls
