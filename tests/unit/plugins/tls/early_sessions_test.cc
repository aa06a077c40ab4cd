// Sessions whose tickets may bring early data leave the cache when they have expired.
#include "tls_bed.h"

namespace loom::tls {
namespace {

struct TlsEarlySessions : testing::Test {
  explicit TlsEarlySessions(TimeNs lifetime = 3600 * kSecond)
      : bed([=](Config& c) {
          c.early_data = 16'384;
          c.ticket_lifetime = lifetime;
        }) {
    EXPECT_EQ(bed.listen(443), 0);
  }
  // Each is another session that may be resumed.
  void handshakes(int n) {
    for (; n != 0; --n) {
      auto link = bed.connect(443, test::PipeTransport::kProto);
      Peer peer(Peer::Role::kClient);
      peer.exchange(*bed.app, *link);
      auto far = bed.accept();
      ASSERT_TRUE(far);
      bed.app->close(*far);  // in order: that of a connection that is cut off is good no more
      bed.app->push(svm::ToDaemon::kReset, link->handle);
    }
    bed.bed.pump();
  }
  static ServerContext& context() { return *shared().listeners.begin()->second->context; }
  static EarlySessions& sessions() { return context().early_sessions; }
  static std::size_t cached() {
    return static_cast<std::size_t>(SSL_CTX_sess_number(context().ssl.get()));
  }
  TlsBed bed;
};

TEST_F(TlsEarlySessions, LeaveInTheOrderInWhichTheyHaveCome) {
  handshakes(7);
  EXPECT_EQ(cached(), 7u);
  EXPECT_EQ(sessions().size(), 7u);
  const TimeNs now = steady_now();
  EXPECT_EQ(sessions().drop_expired(now, 100), 0u);
  EXPECT_EQ(sessions().drop_expired(now + 3601 * kSecond, 3), 3u);
  EXPECT_EQ(cached(), 4u);
  EXPECT_EQ(sessions().size(), 4u);
  handshakes(2);
  EXPECT_EQ(sessions().drop_expired(steady_now() + 3601 * kSecond, 100), 6u);
  EXPECT_EQ(cached(), 0u);
  EXPECT_EQ(sessions().size(), 0u);
}

TEST_F(TlsEarlySessions, OneThatIsUsedLeavesAndItsSuccessorTakesItsPlace) {
  auto link = bed.connect(443, test::PipeTransport::kProto);
  Peer first(Peer::Role::kClient);
  first.exchange(*bed.app, *link);
  auto far = bed.accept();
  first.feed(bed.app->read(*link));
  EXPECT_EQ(first.read(), "");
  bed.app->close(*far);
  const std::unique_ptr<SSL_SESSION, void (*)(SSL_SESSION*)> ticket(SSL_get1_session(first.ssl()),
                                                                    SSL_SESSION_free);
  SSL_set_shutdown(first.ssl(), SSL_SENT_SHUTDOWN);
  bed.app->push(svm::ToDaemon::kReset, link->handle);
  EXPECT_EQ(sessions().size(), 1u);
  auto again = bed.connect(443, test::PipeTransport::kProto);
  Peer second(Peer::Role::kClient);
  ASSERT_EQ(SSL_set_session(second.ssl(), ticket.get()), 1);
  second.exchange(*bed.app, *again);
  far = bed.accept();
  ASSERT_TRUE(far);
  EXPECT_EQ(bed.stat(kResumed), 1u);
  EXPECT_EQ(sessions().size(), 1u);
  EXPECT_EQ(cached(), 1u);
  EXPECT_EQ(sessions().drop_expired(steady_now() + 3601 * kSecond, 100), 1u);
  EXPECT_EQ(cached(), 0u);
}

TEST_F(TlsEarlySessions, NoMoreThanTheCacheHasPlacesFor) {
  SSL_CTX_sess_set_cache_size(context().ssl.get(), 3);
  handshakes(6);
  EXPECT_LE(cached(), 3u);
  EXPECT_GE(cached(), 2u);
  EXPECT_EQ(sessions().size(), cached());
}

TEST_F(TlsEarlySessions, AreSweptInTurnsWhileSomebodyTakesEarlyData) {
  EXPECT_TRUE(shared().early_sweep.is_running());
  handshakes(EarlySweep::kMostOfATurn + 5);
  const TimeNs later = steady_now() + 3601 * kSecond;
  shared().early_sweep.turn(steady_now());
  EXPECT_EQ(cached(), EarlySweep::kMostOfATurn + 5u);
  shared().early_sweep.turn(later);
  EXPECT_EQ(cached(), 5u);
  shared().early_sweep.turn(later);
  EXPECT_EQ(cached(), 0u);
  EXPECT_TRUE(shared().early_sweep.is_running());
  bed.app->listener->holders.store(0);
  bed.app->push(svm::ToDaemon::kUnlisten, bed.bound.handle);
  shared().early_sweep.turn(later);
  EXPECT_FALSE(shared().early_sweep.is_running());
  ASSERT_EQ(bed.listen(444), 0);
  EXPECT_TRUE(shared().early_sweep.is_running());
}

struct TlsEarlySessionsOfAMoment : TlsEarlySessions {
  TlsEarlySessionsOfAMoment() : TlsEarlySessions(1) {}
};

TEST_F(TlsEarlySessionsOfAMoment, LeaveAsOthersCome) {
  handshakes(10);
  EXPECT_LE(cached(), 2u);
  EXPECT_LE(sessions().size(), 2u);
}

TEST(TlsEarlySweep, WithoutEarlyDataThereIsNone) {
  TlsBed bed;
  ASSERT_EQ(bed.listen(443), 0);
  EXPECT_FALSE(shared().early_sweep.is_running());
}

}  // namespace
}  // namespace loom::tls
