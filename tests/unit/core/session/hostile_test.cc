// An application that writes whatever it likes into the memory it shares with the daemon. The
// daemon must not crash, and another application must not notice.
#include <random>

#include "tests/unit/core/session/test_app.h"

namespace loom::test {
namespace {

struct Hostile : testing::Test {
  SessionBed bed;
  TestApp good{bed};
  std::unique_ptr<TestApp> bad = std::make_unique<TestApp>(bed);
  std::unique_ptr<TestApp::Connection> a, b;

  void SetUp() override {
    ASSERT_EQ(good.listen(80).status, 0);
    a = good.connect(80);
    b = good.accept();
    ASSERT_TRUE(a && b);
  }
  void expect_good_is_well() {
    good.write(*a, "still here");
    EXPECT_EQ(good.read(*b), "still here");
  }
};

TEST_F(Hostile, ATailBeyondTheFifoEndsThatApplication) {
  ASSERT_EQ(bad->listen(81).status, 0);
  auto c = bad->connect(81);
  auto s = bad->accept();
  bad->write(*c, "fine so far");
  c->shared->tx_producer.tail.store(0x7fffffff);
  ASSERT_EQ(bad->requests.push(svm::ToDaemon::kTx, svm::SessionEvent{c->handle, 0}),
            svm::MqProducer::Push::kOk);
  bed.pump();
  EXPECT_EQ(bed.counter("app-violation"), 1u);
  EXPECT_NE(bed.log.find("ended"), std::string::npos);
  expect_good_is_well();
}

TEST_F(Hostile, AHeadBeyondTheTailEndsThatApplication) {
  ASSERT_EQ(bad->listen(81).status, 0);
  auto c = bad->connect(81);
  auto s = bad->accept();
  s->shared->rx_consumer.head.store(12345);
  bad->write(*c, "x");
  bad->write(*c, "y");
  EXPECT_GE(bed.counter("app-violation"), 1u);
  expect_good_is_well();
}

TEST_F(Hostile, AnotherApplicationsSessionCannotBeTouched) {
  for (const auto type :
       {svm::ToDaemon::kClose, svm::ToDaemon::kReset, svm::ToDaemon::kShutdown, svm::ToDaemon::kTx})
    bad->push(type, a->handle);
  EXPECT_EQ(bed.counter("stale-handle"), 4u);
  svm::AttachRequest r{};
  r.version = svm::kProtocolVersion;
  r.op = svm::AttachOp::kGetSegment;
  r.segment_id = good.reply.segments[0].id;
  EXPECT_EQ(static_cast<Status>(bad->ask(r).status), Status::kNotFound);
  expect_good_is_well();
}

TEST_F(Hostile, RandomBytesInEveryRequest) {
  std::mt19937_64 rng(1);
  for (int i = 0; i < 3000; ++i) {
    std::byte payload[sizeof(svm::MqSlot::payload)];
    for (auto& x : payload) x = static_cast<std::byte>(rng());
    if (rng() % 2) payload[4] = std::byte{0};  // a transport that exists
    (void)bad->requests.push(static_cast<uint32_t>(rng() % 14), payload, sizeof payload);
    svm::MqEvent e;
    while (bad->events.pop(e)) {}
    if (i % 16 == 0) bed.pump();
    if (i % 500 == 0) expect_good_is_well();
  }
  expect_good_is_well();
}

TEST_F(Hostile, RandomBytesInSharedMemory) {
  for (uint64_t seed = 1; seed <= 30; ++seed) {
    std::mt19937_64 rng(seed);
    TestApp evil(bed);
    ASSERT_EQ(evil.reply.status, 0) << evil.reply.message;
    const auto port = static_cast<uint16_t>(1000 + seed);
    ASSERT_EQ(evil.listen(port).status, 0);
    auto c = evil.connect(port);
    auto s = evil.accept();
    ASSERT_TRUE(c && s);
    evil.write(*c, std::string(9000, 'e'));
    // Everything that the daemon may look at: the session, the listener, the queues, the chunks.
    std::pair<std::byte*, std::size_t> targets[] = {
        {reinterpret_cast<std::byte*>(c->shared), sizeof *c->shared},
        {reinterpret_cast<std::byte*>(s->shared), sizeof *s->shared},
        {reinterpret_cast<std::byte*>(evil.listener), sizeof *evil.listener + 1024},
        {reinterpret_cast<std::byte*>(evil.requests.shared()), 8192},
        {reinterpret_cast<std::byte*>(evil.events.shared()), 8192},
        {evil.segments[1]->base(), 64 << 10},
        {evil.segments[0]->base(), 64 << 10},
    };
    for (int i = 0; i < 200; ++i) {
      auto& [base, size] = targets[rng() % std::size(targets)];
      const std::size_t at = rng() % (size / 4) * 4;
      const uint32_t values[] = {0,
                                 1,
                                 0xffffffff,
                                 0x80000000,
                                 static_cast<uint32_t>(rng()),
                                 static_cast<uint32_t>(rng() % 70000)};
      std::memcpy(base + at, &values[rng() % std::size(values)], 4);
      (void)evil.requests.push(static_cast<svm::ToDaemon>(3 + rng() % 9),
                               svm::SessionEvent{rng() % 2 ? c->handle : s->handle, 0});
      bed.pump();
    }
    evil.die();
    bed.pump();
    expect_good_is_well();
  }
  EXPECT_EQ(bed.buffers_in_use(), 0u);
}

}  // namespace
}  // namespace loom::test
