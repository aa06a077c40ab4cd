// How much of a round a session may receive.
#include "turns.h"

#include "tls_bed.h"

namespace loom::tls {
namespace {

constexpr uint32_t kRecord = 16'384;

struct TlsTurns : testing::Test {
  Turns turns;
  TimeNs round = 1;
  // What a session with no end of bytes gets of this round.
  uint32_t take(Turns::Turn& t, uint32_t most = ~0u) {
    turns.begin(t, round);
    const uint32_t before = t.spent;
    while (!turns.is_over(t) && t.spent - before < most) turns.spend(t, kRecord);
    return t.spent - before;
  }
};

TEST_F(TlsTurns, OneThatIsAloneHasARoundForItself) {
  Turns::Turn a;
  EXPECT_EQ(take(a), Turns::kMost);
  EXPECT_EQ(take(a), 0u);  // in the same round
  ++round;
  EXPECT_EQ(take(a), Turns::kMost);
}

TEST_F(TlsTurns, TwoShareIt) {
  Turns::Turn a, b;
  EXPECT_EQ(take(a), Turns::kMost);  // nobody knew of the other
  EXPECT_EQ(take(b), Turns::kLeast);
  for (int i = 0; i < 3; ++i) {
    ++round;
    EXPECT_EQ(take(a), Turns::kMost / 2);
    EXPECT_EQ(take(b), Turns::kMost / 2);
  }
}

TEST_F(TlsTurns, ManyHaveTheLeast) {
  Turns::Turn all[10];
  for (int i = 0; i < 3; ++i, ++round)
    for (Turns::Turn& t : all)
      EXPECT_EQ(take(t), &t == all && i == 0 ? Turns::kMost : Turns::kLeast);
}

TEST_F(TlsTurns, ThoseWithLittleTakeNothingFromOneWithMuch) {
  Turns::Turn small[3], large;
  for (int i = 0; i < 3; ++i, ++round) {
    for (Turns::Turn& t : small) EXPECT_EQ(take(t, kRecord), kRecord);
    EXPECT_EQ(take(large), Turns::kMost - 3 * kRecord);
  }
}

TEST_F(TlsTurns, OneThatIsAloneAgainHasItAll) {
  Turns::Turn a, b;
  for (int i = 0; i < 2; ++i, ++round) take(a), take(b);
  take(a);
  ++round;
  EXPECT_EQ(take(a), Turns::kMost);
}

// Each turn wakes the application, so its length is part of what a stream costs.
struct TlsTurn : testing::Test {
  TlsBed bed;
  Peer peer{Peer::Role::kClient};
  TlsBed::Link link, far;
  void SetUp() override {
    svm::AttachRequest r{};
    r.rx_fifo_size = r.tx_fifo_size = 1u << 20;
    r.segment_size_mb = 32;
    bed.app.reset();
    bed.bed.pump();
    bed.app = std::make_unique<test::TestApp>(bed.bed, r);
    ASSERT_EQ(bed.listen(443), 0);
    link = bed.connect(443, test::PipeTransport::kProto);
    peer.exchange(*bed.app, *link);
    far = bed.accept();
    ASSERT_TRUE(far);
  }
};

TEST_F(TlsTurn, OfASenderIsLongWhenItIsAlone) {
  const std::string text = pattern(Turns::kMost + Turns::kLeast);
  ASSERT_EQ(far->tx.enqueue(svm::bytes_of(text.data(), text.size())), text.size());
  const svm::SessionEvent written{far->handle, 0};
  ASSERT_EQ(bed.app->requests.push(svm::ToDaemon::kTx, written), svm::MqProducer::Push::kOk);
  uint64_t most = 0, before = bed.stat(kBytesOut);
  for (int rounds = 0; rounds < 50; ++rounds) {
    bed.bed.engine->step(0);
    ++bed.bed.now;  // another round has another time
    most = std::max(most, bed.stat(kBytesOut) - std::exchange(before, bed.stat(kBytesOut)));
  }
  EXPECT_GT(most, 3 * Turns::kLeast);
  EXPECT_LE(most, Turns::kMost + 2 * kMaxPlain);
  std::string back;
  for (int i = 0; i < 100 && back.size() < text.size(); ++i) {
    peer.feed(bed.app->read(*link));
    back += peer.read();
  }
  EXPECT_TRUE(back == text);
}

TEST_F(TlsTurn, IsLongForAStreamThatIsAlone) {
  // The upper fifo is full, and the rest waits in the lower one until the application has read.
  const std::string text = pattern(7 * (1u << 18));
  for (std::size_t at = 0; at < text.size(); at += 1u << 18) {
    peer.write(text.substr(at, 1u << 18));
    bed.app->write(*link, peer.records());
    for (int i = 0; i < 20; ++i) bed.bed.pump(kMicrosecond);
  }
  std::string got(far->rx.refresh(), 0);
  ASSERT_GT(got.size(), (1u << 20) - kMaxPlain);
  (void)far->rx.dequeue(std::as_writable_bytes(std::span(got)));
  ASSERT_TRUE(far->rx.should_notify());
  const svm::SessionEvent drained{far->handle, 0};
  ASSERT_EQ(bed.app->requests.push(svm::ToDaemon::kRxSpace, drained), svm::MqProducer::Push::kOk);
  uint32_t had = 0, most = 0;
  for (int rounds = 0; rounds < 50; ++rounds) {
    bed.bed.engine->step(0);
    ++bed.bed.now;  // another round has another time
    const uint32_t has = far->rx.refresh();
    most = std::max(most, has - std::exchange(had, has));
  }
  EXPECT_GT(most, 3 * Turns::kLeast);
  EXPECT_LE(most, Turns::kMost + 2 * kMaxPlain);  // by rx_drained, and a record by readable
  while (got.size() < text.size() && far->rx.refresh() != 0) got += bed.app->read(*far);
  EXPECT_TRUE(got == text);
}

// A reader that has stopped costs nothing until it reads on, however much waits for it below.
TEST(TlsStoppedReader, HasNoTurn) {
  TlsBed bed;
  ASSERT_EQ(bed.listen(443), 0);
  auto link = bed.connect(443, test::PipeTransport::kProto);
  Peer peer(Peer::Role::kClient);
  peer.exchange(*bed.app, *link);
  auto far = bed.accept();
  ASSERT_TRUE(far);
  const std::string text = pattern(4 * Turns::kLeast);
  peer.write(text);
  const std::string records = peer.records();
  for (std::size_t at = 0; at < records.size();) {
    const uint32_t n = bed.app->write(*link, std::string_view(records).substr(at));
    ASSERT_NE(n, 0u);
    at += n;
  }
  const auto last_looked_at = [] {
    const Connection* const c = shared().workers[0]->least_idle;
    return c ? c->active_at : 0;
  };
  bed.bed.pump(kMicrosecond);
  const TimeNs before = last_looked_at();
  for (int rounds = 0; rounds < 10; ++rounds) {
    ++bed.bed.now;
    bed.bed.engine->step(0);
  }
  EXPECT_EQ(last_looked_at(), before) << "in each round";
  std::string got;
  for (std::string more; !(more = bed.app->read(*far)).empty();) got += more;
  EXPECT_TRUE(got == text);
}

}  // namespace
}  // namespace loom::tls
