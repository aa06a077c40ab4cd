// A store of trusted certificates that was replaced is freed by the control thread, whoever had it
// last: of thousands it takes tens of milliseconds, for which no worker has the time.
#include "dtls_pool_bed.h"

namespace loom::tls {
namespace {

class Freed {
 public:
  // The store that is used now.
  Freed() { EXPECT_EQ(X509_STORE_set_ex_data(shared().store.get(), index(), this), 1); }
  ~Freed() { EXPECT_EQ(n, 1); }
  int n = 0;

 private:
  static int index() {
    static const int i =
        CRYPTO_get_ex_new_index(CRYPTO_EX_INDEX_X509_STORE, 0, nullptr, nullptr, nullptr,
                                [](void*, void* mine, CRYPTO_EX_DATA*, int, long, void*) {
                                  if (mine) ++static_cast<Freed*>(mine)->n;
                                });
    return i;
  }
};

// `end` lets the last of those go that have it, on the worker.
template <class F>
void expect_freed_by_control(test::PluginBed& bed, Freed& store, F&& end) {
  ASSERT_EQ(bed.run("tls reload").text, "");
  bed.bed.pump();
  EXPECT_EQ(store.n, 0) << "somebody has it still";
  test::HeldControl control(*bed.bed.engine);
  end();
  for (int i = 0; i < 100; ++i) (void)bed.bed.engine->step(0);
  EXPECT_EQ(store.n, 0);
  control.run();
  EXPECT_EQ(store.n, 1);
}

TEST_F(TlsPool, AReplacedStoreOfOpenSessionsIsFreedByTheControlThread) {
  ASSERT_EQ(bed.listen(443), 0);
  Freed store;
  bed.start_connect(443);
  const auto near = connected(), far = accepted();
  ASSERT_TRUE(near && far);
  settle();
  expect_freed_by_control(bed, store, [&] {
    for (const auto* c : {near.get(), far.get()})
      bed.app->ask_worker(0, svm::ToDaemon::kReset, svm::SessionEvent{c->handle, 0});
    for (int i = 0; i < 100; ++i) (void)bed.bed.engine->step(0);
    EXPECT_EQ(bed.stat(kConnections), 0u);
  });
}

TEST_F(TlsPool, AReplacedStoreOfAStepIsFreedByTheControlThread) {
  ASSERT_EQ(bed.listen(443), 0);
  Freed store;
  auto link = raw();
  Peer peer(Peer::Role::kClient);
  (void)peer.shake();
  block();
  bed.app->write(*link, peer.records());
  expect_freed_by_control(bed, store, [&] {
    bed.app->ask_worker(0, svm::ToDaemon::kReset, svm::SessionEvent{link->handle, 0});
    for (int i = 0; i < 100; ++i) (void)bed.bed.engine->step(0);
    EXPECT_EQ(bed.stat(kCryptoTakenBack), 1u);
    EXPECT_EQ(bed.stat(kCryptoUnderWay), 0u);
  });
  release();
}

TEST_F(DtlsPool, AReplacedStoreOfASessionAndOfAStepIsFreedByTheControlThread) {
  ASSERT_EQ(bed.listen(), 0);
  Freed store;
  DtlsPeer open(true), late(true);
  exchange(open, 8);
  auto far = accepted();
  greet(late);
  block();
  carry_out(late);
  expect_freed_by_control(bed.tls, store, [&] {
    const auto& below = bed.transport.connections.at(0);
    EXPECT_EQ(session::reset_session(bed.tls.bed.layer->impl(),
                                     bed.worker().sessions->handle(bed.worker(), below.session)),
              Status::kOk);
    for (int i = 0; i < 100; ++i) (void)bed.tls.bed.engine->step(0);
    EXPECT_EQ(stat(dtls::kConnections), 0u);
    EXPECT_EQ(stat(dtls::kCryptoTakenBack), 1u);
  });
  release();
}

}  // namespace
}  // namespace loom::tls
