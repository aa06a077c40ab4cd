// Threads of the pool that the system does not give: it is tried again, not too often, and said
// once.
#include <pthread.h>

#include "dtls_pool_bed.h"

namespace loom::tls {
namespace {

// While it is there pthread_create fails with EAGAIN: there is no room for such a stack.
class NoThreads {
 public:
  NoThreads() {
    EXPECT_EQ(pthread_getattr_default_np(&before_), 0);
    pthread_attr_t none;
    pthread_attr_init(&none);
    EXPECT_EQ(pthread_attr_setstacksize(&none, std::size_t{1} << 46), 0);
    EXPECT_EQ(pthread_setattr_default_np(&none), 0);
    pthread_attr_destroy(&none);
  }
  ~NoThreads() {
    EXPECT_EQ(pthread_setattr_default_np(&before_), 0);
    pthread_attr_destroy(&before_);
  }
  NoThreads(const NoThreads&) = delete;
  NoThreads& operator=(const NoThreads&) = delete;

 private:
  pthread_attr_t before_;
};

std::size_t n_times(const std::string& text, std::string_view what) {
  std::size_t n = 0;
  for (std::size_t at = 0; (at = text.find(what, at)) != text.npos; ++at) ++n;
  return n;
}

struct TlsNoThreads : TlsPool {
  void SetUp() override {
    no_threads.emplace();
    ASSERT_EQ(bed.listen(443), 0);
    ASSERT_FALSE(pool().is_running());
  }
  // By the worker, when there are no threads.
  void expect_handshake() {
    bed.start_connect(443);
    const auto near = connected(), far = accepted();
    ASSERT_TRUE(near && far);
    bed.app->close(*near);
    bed.app->close(*far);
    settle();
  }
  std::size_t n_missing() { return n_times(bed.log, "the workers do the handshakes themselves"); }
  std::size_t n_there() { return n_times(bed.log, "crypto-threads are there now"); }
  std::optional<NoThreads> no_threads;
};

TEST_F(TlsNoThreads, AreTriedForAgainWhileHandshakesComeAndNotTooOften) {
  EXPECT_NE(bed.log.find("crypto-threads 2: "), std::string::npos) << bed.log;
  for (int i = 0; i < 3; ++i) expect_handshake();
  bed.bed.pump(CryptoShare::kThreadsAgain);
  expect_handshake();  // it is tried, in vain
  EXPECT_EQ(bed.stat(kCryptoSteps), 0u);
  EXPECT_EQ(n_missing(), 1u);
  no_threads.reset();
  expect_handshake();
  EXPECT_FALSE(pool().is_running());
  bed.bed.pump(CryptoShare::kThreadsAgain / 2);
  expect_handshake();
  EXPECT_FALSE(pool().is_running());
  bed.bed.pump(CryptoShare::kThreadsAgain / 2);
  EXPECT_FALSE(pool().is_running());  // nobody needs them
  expect_handshake();
  EXPECT_TRUE(pool().is_running());
  expect_handshake();
  EXPECT_NE(bed.stat(kCryptoSteps), 0u);
  EXPECT_EQ(n_missing(), 1u);
  EXPECT_EQ(n_there(), 1u);
}

TEST_F(TlsNoThreads, AreTriedForAgainByAReload) {
  ASSERT_EQ(bed.run("tls reload").text, "");
  EXPECT_FALSE(pool().is_running());
  no_threads.reset();
  ASSERT_EQ(bed.run("tls reload").text, "");
  EXPECT_TRUE(pool().is_running());
  EXPECT_EQ(n_missing(), 1u);
  EXPECT_EQ(n_there(), 1u);
}

TEST_F(TlsNoThreads, AreTriedForAgainByTheNextListener) {
  no_threads.reset();
  ASSERT_EQ(bed.listen(444), 0);
  EXPECT_TRUE(pool().is_running());
}

// Nor does a reload start any for nobody.
TEST_F(TlsPool, ReloadStartsNoThreadsForNobody) {
  ASSERT_EQ(bed.run("tls reload").text, "");
  EXPECT_FALSE(pool().is_running());
}

TEST(DtlsNoThreads, AreTriedForAgainWhileHandshakesCome) {
  DtlsPoolBed b;
  {
    const NoThreads none;
    ASSERT_EQ(b.bed.listen(), 0);
    DtlsPeer peer(true);
    b.exchange(peer);
    EXPECT_TRUE(peer.is_open());
    EXPECT_FALSE(b.pool().is_running());
  }
  b.pump(CryptoShare::kThreadsAgain);
  DtlsPeer peer(true);
  b.exchange(peer, 8);
  EXPECT_TRUE(peer.is_open());
  EXPECT_TRUE(b.pool().is_running());
}

}  // namespace
}  // namespace loom::tls
