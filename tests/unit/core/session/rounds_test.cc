// The order within one round of many sessions: sixteen are told, what they write is sent, and so
// on. Whoever wants to send more comes once a round all the same.
#include "tests/unit/core/session/in_process_bed.h"

namespace loom::test {
namespace {

constexpr uint32_t kTold = 16;  // so many before something is sent

struct Rounds : testing::Test {
  // The pipe, with an eye on who is asked what it may send.
  static void watch(SessionBed& b) {
    static TransportOps ops;
    static decltype(ops.send_window) inner;
    ops = b.pipe.ops();
    inner = ops.send_window;
    ops.send_window = [](Worker& w, ConnId c, uint32_t queued) noexcept {
      if (self->visited) self->visited(c);
      ++self->visits[c];
      return inner(w, c, queued);
    };
    b.pipe.id = b.transports.add(ops).value();
  }
  Rounds() { self = this; }

  // Connections whose server has something to read, and says nothing yet.
  void open(uint32_t n) {
    server.listen(80);
    for (uint32_t i = 0; i < n; ++i) {
      near.push_back(client.connect(80));
      far.push_back(server.accepted);
      client.write(near.back(), "?");
    }
    client.told();
    server.told();
    bed.pipe.segment = 1;
    visits.clear();
  }
  // As if each had got a packet: it is told in the next round.
  void packets_for_all() {
    for (const SessionId s : far) worker().sessions->rx_tell(worker(), s);
  }
  // What the server does when it is told of its n-th session of this round.
  void when_told(std::function<void(uint32_t, AppSession)> fn) {
    server.on["readable"] = [this, fn](AppSession s) { fn(n_told++, s); };
  }
  void step() { (void)bed.engine->step(0); }
  static uint32_t write(AppSession s, std::string_view text) {
    return s.write(std::as_bytes(std::span(text)));
  }
  Worker& worker() { return bed.engine->worker(0); }
  session::SessionWorker& sessions() { return *bed.layer->impl().workers[0]; }
  uint32_t visits_of(SessionId id) { return visits[sessions().pool.at(id).conn]; }
  uint32_t all_visits() const {
    uint32_t n = 0;
    for (const auto& [c, v] : visits) n += v;
    return n;
  }

  static inline Rounds* self = nullptr;
  SessionBed bed{{}, SessionBed::Network::kNone, 1, watch};
  Recorder server{bed, "server"}, client{bed, "client"};
  std::vector<SessionId> near, far;
  std::map<ConnId, uint32_t> visits;
  std::function<void(ConnId)> visited;
  uint32_t n_told = 0;
  const std::string much = std::string(60'000, 'x');  // 32 bytes a visit
};

TEST_F(Rounds, WhatSixteenWriteIsSentBeforeOthersAreTold) {
  open(40);
  when_told([&](uint32_t n, AppSession s) {
    EXPECT_EQ(all_visits(), n / kTold * kTold);
    write(s, "!");
  });
  packets_for_all();
  step();
  EXPECT_EQ(n_told, 40u);
  for (const SessionId s : far) EXPECT_EQ(visits_of(s), 1u);
  for (const SessionId s : near) EXPECT_EQ(client.session(s).unread(), 1u);
}

TEST_F(Rounds, WhoHasMuchWaitsUntilAllAreTold) {
  open(255);
  write(client.session(near[0]), much);
  when_told([&](uint32_t n, AppSession s) {
    EXPECT_EQ(visits_of(near[0]), n < 255 ? 0u : 1u) << "before number " << n;
    write(s, "!");
  });
  packets_for_all();
  step();
  EXPECT_EQ(n_told, 256u);  // the last is the one it sends to
  EXPECT_EQ(visits_of(near[0]), 1u);
}

TEST_F(Rounds, WhoBeginsToSendMuchIsVisitedOnceARound) {
  open(255);
  when_told([&](uint32_t n, AppSession s) { write(s, n == 0 ? much : "!"); });
  for (uint32_t round = 1; round <= 3; ++round) {
    packets_for_all();
    step();
    EXPECT_EQ(visits_of(far[0]), round);
    EXPECT_FALSE(session::may_sleep(sessions()));
  }
  server.on.clear();
  bed.pump();  // until all has gone
  EXPECT_EQ(visits_of(far[0]), (much.size() + 2 + 31) / 32);
}

TEST_F(Rounds, WithoutBuffersEachTriesOnceARound) {
  open(200);
  std::vector<Buffer*> taken;
  while (Buffer* b = worker().alloc()) taken.push_back(b);
  when_told([&](uint32_t, AppSession s) { write(s, "!"); });
  packets_for_all();
  const uint64_t before = bed.counter("no-buffers");
  for (uint32_t round = 1; round <= 2; ++round) {
    step();
    EXPECT_EQ(bed.counter("no-buffers") - before, round * 200);
  }
  for (Buffer* b : taken) worker().free(b);
  bed.pump();
  for (const SessionId s : near) EXPECT_EQ(client.session(s).unread(), 1u);
}

TEST_F(Rounds, WhoWritesFromOutsideIsLookedAtAgainInTheNextRound) {
  TestApp outside(bed);
  open(40);
  auto c = outside.connect(80);
  ASSERT_TRUE(c);
  server.told();
  const auto id = static_cast<SessionId>(c->handle);
  visits.clear();
  ASSERT_EQ(c->tx.enqueue(svm::bytes_of("x", 1)), 1u);
  when_told([&](uint32_t n, AppSession) {
    if (n == 0) worker().sessions->tx_schedule(worker(), id);
  });
  packets_for_all();
  for (const uint32_t n : {1u, 2u, 2u}) {
    step();
    EXPECT_EQ(visits_of(id), n);
  }
}

TEST_F(Rounds, SleepersOutsideAreWokenBeforeAnybodySends) {
  TestApp outside(bed);
  open(40);
  auto c = outside.connect(80);
  ASSERT_TRUE(c);
  server.told();
  while (!outside.no_event()) {}
  ASSERT_TRUE(outside.events.prepare_sleep());
  const auto is_woken = [&] {
    pollfd p{outside.eventfd, POLLIN, 0};
    return ::poll(&p, 1, 0) == 1;
  };
  ASSERT_FALSE(is_woken());
  visited = [&](ConnId) { EXPECT_TRUE(is_woken()); };
  when_told([&](uint32_t, AppSession s) { write(s, "!"); });
  worker().sessions->rx_tell(worker(), static_cast<SessionId>(c->handle));
  packets_for_all();
  step();
  EXPECT_EQ(n_told, 40u);
  EXPECT_EQ(all_visits(), 40u);
  outside.events.finish_sleep();
}

TEST_F(Rounds, AWorkerIsAloneWhileAllItsApplicationsSleep) {
  EXPECT_TRUE(session::is_alone(sessions()));
  std::vector<std::unique_ptr<TestApp>> outside;
  const auto fall_asleep = [](TestApp& a) {
    while (!a.no_event()) {}
    EXPECT_TRUE(a.events.prepare_sleep());
  };
  for (std::size_t i = 0; i < session::kMostAsked; ++i) {
    outside.push_back(std::make_unique<TestApp>(bed));
    EXPECT_FALSE(session::is_alone(sessions())) << i << " sleep, one has just come";
    fall_asleep(*outside.back());
    EXPECT_TRUE(session::is_alone(sessions())) << i + 1 << " sleep";
  }
  outside.front()->events.finish_sleep();
  EXPECT_FALSE(session::is_alone(sessions()));
  outside.push_back(std::make_unique<TestApp>(bed));
  fall_asleep(*outside.front());
  fall_asleep(*outside.back());
  EXPECT_FALSE(session::is_alone(sessions())) << "of many one is awake";
}

TEST_F(Rounds, WhatSendingFreesIsNotToldAnyMore) {
  TestApp outside(bed);
  open(20);
  auto c = outside.connect(80);
  ASSERT_TRUE(c);
  const SessionId other = server.accepted;
  outside.close(*c);
  server.told();
  session::Session& going = sessions().pool.at(static_cast<SessionId>(c->handle));
  ASSERT_EQ(going.state, session::State::kClosing);
  when_told([&](uint32_t n, AppSession s) {
    if (s.id() == other) return;                                 // of its end
    if (n == 0) write(AppSession(worker(), other), "too late");  // and the pipe ends both
    EXPECT_EQ(going.state == session::State::kFree, n >= kTold);
    write(s, "!");
  });
  packets_for_all();
  session::notify(sessions(), going, session::kNotifyRx);
  step();
  EXPECT_EQ(n_told, 21u);
  EXPECT_EQ(going.state, session::State::kFree);
}

}  // namespace
}  // namespace loom::test
