// Handshakes of DTLS by threads of the pool without memory: for a job and what it reads a datagram
// is lost, as it could be on its way, and comes again; of OpenSSL's it is the end of that handshake
// and of nothing else.
#include "dtls_pool_bed.h"
#include "looking.h"

namespace loom::tls {
namespace {

struct DtlsPoolMemory : DtlsPool {
  void SetUp() override {
    ASSERT_EQ(bed.listen(), 0);
    expect_good();  // what is allocated once is there
  }
  void expect_good() {
    DtlsPeer peer(true);
    exchange(peer, 9);
    ASSERT_TRUE(peer.is_open());
    end(9);
  }
  void end(uint16_t port) {
    if (auto far = bed.accept()) bed.tls.app->push(svm::ToDaemon::kReset, far->handle);
    settle();
    pump(11 * kSecond);
    EXPECT_EQ(stat(dtls::kConnections), 0u);
    EXPECT_EQ(stat(dtls::kUnderWay), 0u);
    EXPECT_EQ(worker().kept, 0u);
    (void)bed.sent(port);
  }
};

TEST_F(DtlsPoolMemory, AnyAllocationOfAStepMayFail) {
  for (const int flight : {0, 1}) {
    std::size_t n_failed = 0;
    bool has_failed = true;
    for (std::size_t nth = 1; has_failed; nth += 3) {
      DtlsPeer peer(true);
      flight == 0 ? greet(peer) : come_to_last_flight(peer);
      allocations_until_one_fails = nth;
      carry_out(peer);
      settle();
      has_failed = std::exchange(allocations_until_one_fails, 0) == 0;
      n_failed += has_failed;
      carry_in(peer);
      exchange(peer);
      if (!has_failed) {
        EXPECT_TRUE(peer.is_open());
      }
      end(7);
      if (HasFailure()) return;
    }
    EXPECT_GT(n_failed, flight == 0 ? 50u : 10u);
  }
  expect_good();
}

TEST_F(DtlsPoolMemory, WithoutAJobTheDatagramIsLostAndComesAgain) {
  for (const int flight : {0, 1}) {
    bool has_failed = true;
    std::size_t n_lost = 0;
    for (std::size_t nth = 1; has_failed; ++nth) {
      openssl_now = &kStill;
      DtlsPeer peer(true);
      flight == 0 ? greet(peer) : come_to_last_flight(peer);
      const uint64_t before = stat(dtls::kPutOffDropped);
      bed.enqueue(peer.out.front());
      peer.out.clear();
      news_until_one_fails = nth;
      bed.tls.bed.engine->step(0);
      has_failed = std::exchange(news_until_one_fails, 0) == 0;
      settle();
      n_lost += stat(dtls::kPutOffDropped) - before;
      openssl_now = &kLater;  // the peer's timer brings its flight again
      carry_in(peer);
      exchange(peer);
      EXPECT_TRUE(peer.is_open()) << flight << " " << nth;
      end(7);
      if (HasFailure()) return;
    }
    EXPECT_EQ(n_lost, flight == 0 ? 1u : 2u);  // for the job, and for what it reads
  }
  expect_good();
}

TEST_F(DtlsPoolMemory, WithoutRoomForWhatComesMeanwhileItIsLost) {
  DtlsPeer peer(true);
  greet(peer);
  const std::string hello = peer.out.front();
  block();
  carry_out(peer);
  std::size_t n_lost = 0;
  for (std::size_t nth = 1; nth <= 2; ++nth) {
    bed.enqueue(hello);
    const uint64_t before = stat(dtls::kPutOffDropped);
    news_until_one_fails = nth;
    bed.tls.bed.engine->step(0);
    news_until_one_fails = 0;
    n_lost += stat(dtls::kPutOffDropped) - before;
  }
  EXPECT_GE(n_lost, 1u);
  release();
  settle();
  EXPECT_EQ(worker().kept, 0u);
  carry_in(peer);
  exchange(peer);
  EXPECT_TRUE(peer.is_open());
}

// In the step alone: the count is the thread's, which may have the next one, too.
void lacks_its_next(const SSL*, int where, int) noexcept {
  news_until_one_fails = where & SSL_CB_EXIT ? 0 : 1;
}

// Of what the step writes a datagram is lost, which is sent again.
TEST_F(DtlsPoolMemory, WithoutRoomForWhatItWritesADatagramIsLost) {
  SSL_CTX_set_info_callback(server(), lacks_its_next);
  DtlsPeer peer(true);
  greet(peer);
  carry_out(peer);
  settle();
  SSL_CTX_set_info_callback(server(), nullptr);
  news_until_one_fails = 0;  // this thread's
  EXPECT_GE(stat(dtls::kUnsent), 1u);
  carry_in(peer);
  pump(1100 * kMillisecond);
  EXPECT_EQ(stat(dtls::kRetransmissions), 1u);
  carry_in(peer);
  exchange(peer);
  EXPECT_TRUE(peer.is_open());
}

}  // namespace
}  // namespace loom::tls
