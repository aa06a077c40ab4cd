// Handshakes by threads of the pool without memory: there is none for a job, OpenSSL gets none at
// any one place of a step, or what the step has written cannot be kept. It is the end of that
// handshake and of nothing else.
#include <signal.h>

#include "looking.h"
#include "pool_bed.h"

namespace loom::tls {
namespace {

const std::string kFiller(1024, '.');

struct TlsPoolMemory : TlsPool {
  void SetUp() override {
    ASSERT_EQ(bed.listen(443), 0);
    expect_good();  // what is allocated once is there
  }
  void expect_good() {
    auto link = raw();
    Peer peer(Peer::Role::kClient);
    exchange(peer, link);
    const auto far = accepted();
    bed.app->write(*far, "here");
    peer.feed(bed.app->read(*link));
    EXPECT_EQ(peer.read(), "here");
    end(link);
  }
  void end(TlsBed::Link& link) {
    bed.app->push(svm::ToDaemon::kReset, link->handle);
    (void)bed.accept();
    until([&] { return bed.stat(kConnections) == 0; });
    EXPECT_EQ(bed.stat(kUnderWay), 0u);
  }
};

TEST_F(TlsPoolMemory, AnyAllocationOfAStepMayFail) {
  for (const int flight : {0, 1}) {
    std::size_t n_failed = 0;
    bool has_failed = true;
    for (std::size_t nth = 1; has_failed; nth += 3) {
      auto link = raw();
      Peer peer(Peer::Role::kClient);
      (void)peer.shake();
      if (flight == 1) {
        bed.app->write(*link, peer.records());
        settle();
        peer.feed(bed.app->read(*link));
        ASSERT_TRUE(peer.shake());
      }
      const std::string records = peer.records();
      allocations_until_one_fails = nth;
      bed.app->write(*link, records);
      settle();
      has_failed = std::exchange(allocations_until_one_fails, 0) == 0;
      n_failed += has_failed;
      exchange(peer, link);
      end(link);
      if (HasFailure()) return;
    }
    EXPECT_GT(n_failed, flight == 0 ? 50u : 10u);
  }
  expect_good();
}

TEST_F(TlsPoolMemory, WithoutAJobTheHandshakeFails) {
  TlsWorker& t = *shared().workers[0];
  const uint64_t failed = bed.stat(kHandshakesFailed);
  for (std::size_t nth = 1; nth <= 3; ++nth) {
    auto link = raw();
    Peer peer(Peer::Role::kClient);
    (void)peer.shake();
    Connection* held = nullptr;
    for (const auto& one : t.connections)
      if (one) held = one.get();
    ASSERT_TRUE(held);
    t.share.hold(*held);  // as if the worker had its share there
    bed.app->write(*link, peer.records());
    take_back(*held);
    news_until_one_fails = nth;
    handshake(*held);
    news_until_one_fails = 0;
    settle();
    EXPECT_EQ(bed.stat(kHandshakesFailed), failed + std::min<std::size_t>(nth, 2));
    EXPECT_EQ(held->state == Connection::State::kHandshake, nth == 3);  // which has all it needs
    end(link);
  }
  expect_good();
}

// Without memory for threads the workers go on with the handshakes, and threads may come later.
TEST(TlsPoolThreadsMemory, WithoutItThereAreNone) {
  sigset_t before, after;
  pthread_sigmask(SIG_SETMASK, nullptr, &before);
  for (std::size_t nth = 1; nth <= 3; ++nth) {  // their places, and the state of each
    PoolBed b;
    news_until_one_fails = nth;
    start_threads();
    EXPECT_EQ(std::exchange(news_until_one_fails, 0), 0u);
    EXPECT_FALSE(b.pool().is_running());
    pthread_sigmask(SIG_SETMASK, nullptr, &after);
    EXPECT_EQ(sigismember(&after, SIGTERM), sigismember(&before, SIGTERM));
    ASSERT_EQ(b.bed.listen(443), 0);
    EXPECT_TRUE(b.pool().is_running());
    auto link = b.raw();
    Peer peer(Peer::Role::kClient);
    b.exchange(peer, link);
    EXPECT_TRUE(b.accepted());
  }
}

void lacks_the_next(const SSL*, int, int) noexcept { news_until_one_fails = 1; }

TEST_F(TlsPoolMemory, WithoutRoomForWhatItWritesTheHandshakeFails) {
  const uint64_t failed = bed.stat(kHandshakesFailed);
  SSL_CTX_set_info_callback(server(), lacks_the_next);
  auto link = raw();
  Peer peer(Peer::Role::kClient);
  (void)peer.shake();
  bed.app->write(*link, peer.records());
  settle();
  EXPECT_EQ(bed.stat(kHandshakesFailed), failed + 1);
  SSL_CTX_set_info_callback(server(), nullptr);
  end(link);
}

// It finds none below either: somebody else's bytes have filled the fifo meanwhile.
TEST_F(TlsPoolMemory, WithoutRoomForWhatCouldNotBeSentTheHandshakeFails) {
  TlsWorker& t = *shared().workers[0];
  const uint64_t failed = bed.stat(kHandshakesFailed);
  Gate gate(server());
  auto link = raw();
  Peer peer(Peer::Role::kClient);
  (void)peer.shake();
  gate.shut();
  bed.app->write(*link, peer.records());
  gate.wait();
  Connection* c = nullptr;
  for (const auto& one : t.connections)
    if (one && one->is_server) c = one.get();
  ASSERT_TRUE(c && c->job);
  AppSession lower = c->below();
  for (; lower.space() != 0;
       bed.bed.pump(0))  // until the application that does not read has enough
    while (lower.space() != 0) (void)lower.write(svm::bytes_of(kFiller.data(), kFiller.size()));
  gate.open();
  std::array<Blocked, 2> behind;  // when both have begun the step has been posted
  for (Blocked& b : behind) pool().submit(b);
  for (Blocked& b : behind) b.begun.wait();
  news_until_one_fails = 1;
  bed.bed.engine->step(0);
  EXPECT_EQ(std::exchange(news_until_one_fails, 0), 0u);
  EXPECT_EQ(bed.stat(kHandshakesFailed), failed + 1);
  EXPECT_EQ(bed.stat(kUnderWay), 0u);
  for (Blocked& b : behind) b.may_end.count_down();
  until([&] { return behind[0].came_back && behind[1].came_back; });
  // Nothing follows the hole, and the peer hears of the end.
  std::string got;
  for (std::string part; !(part = bed.app->read(*link)).empty();) got += part;
  EXPECT_EQ(got.find_first_not_of('.'), got.npos);
  EXPECT_TRUE(link->rx.eof());
  end(link);
  SSL_CTX_set_info_callback(server(), nullptr);
  expect_good();
}

}  // namespace
}  // namespace loom::tls
