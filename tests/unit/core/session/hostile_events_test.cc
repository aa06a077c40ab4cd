// Requests of an application that keeps to no rule: too many, too old, of others', of no type, and
// events that nobody reads. (Random ones: hostile_test.cc, and tests/fuzz/session.)
#include <map>

#include "session/control.h"
#include "tests/unit/core/session/test_app.h"

namespace loom::test {
namespace {

struct HostileEvents : testing::Test {
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
  void TearDown() override {
    good.write(*a, "still here");
    EXPECT_EQ(good.read(*b), "still here");
    bad.reset();
    bed.pump();
    EXPECT_EQ(bed.layer->stats().applications, 1u);
    EXPECT_EQ(bed.layer->stats().per_worker.at(0), 2u);
    EXPECT_EQ(bed.buffers_in_use(), 0u);
  }
  void forget_events() {
    svm::MqEvent e;
    while (bad->events.pop(e)) {}
  }
  // As many as the queue takes.
  template <class T>
  uint32_t push_all(svm::ToDaemon type, const T& payload) {
    uint32_t n = 0;
    while (bad->requests.push(type, payload) == svm::MqProducer::Push::kOk) ++n;
    return n;
  }
};

TEST_F(HostileEvents, AHandleIsStaleOnceItsSessionHasGone) {
  ASSERT_EQ(bad->listen(81).status, 0);
  auto c = bad->connect(81);
  auto s = bad->accept();
  ASSERT_TRUE(c && s);
  const uint64_t old = c->handle;
  bad->close(*c);
  bad->close(*s);
  forget_events();
  ASSERT_EQ(bed.layer->stats().per_worker.at(0), 2u);
  // Its place is taken again, by others and by its own.
  auto next = good.connect(80);
  auto far = good.accept();
  auto again = bad->connect(81);
  ASSERT_TRUE(next && far && again);
  const uint64_t before = bed.counter("stale-handle");
  forget_events();
  uint64_t n = 0;
  for (const auto type : {svm::ToDaemon::kTx, svm::ToDaemon::kRxSpace, svm::ToDaemon::kShutdown,
                          svm::ToDaemon::kClose, svm::ToDaemon::kReset, svm::ToDaemon::kClaim,
                          svm::ToDaemon::kSetOption, svm::ToDaemon::kGetInfo}) {
    bad->push(type, old);
    ++n;
  }
  EXPECT_EQ(bed.counter("stale-handle"), before + n);
  EXPECT_EQ(static_cast<Status>(bad->expect<svm::InfoEvent>(svm::ToApp::kInfo).status),
            Status::kNotConnected);
  EXPECT_EQ(bed.layer->stats().per_worker.at(0), 5u + 1u);  // and one in bad's accept queue
  good.close(*next);
  good.close(*far);
}

TEST_F(HostileEvents, AListenerIsStaleOnceItHasGoneAndIsNobodyElses) {
  const auto bound = bad->listen(81);
  ASSERT_EQ(bound.status, 0);
  const auto close = [&](uint64_t handle) { bad->push(svm::ToDaemon::kUnlisten, handle); };
  close(good.listener->handle);
  EXPECT_EQ(bed.layer->stats().listeners, 2u);
  bad->listener->holders.store(0);
  close(bound.handle);
  EXPECT_EQ(bed.layer->stats().listeners, 1u);
  ASSERT_EQ(good.listen(82).status, 0);  // in its place
  close(bound.handle);
  EXPECT_EQ(bed.layer->stats().listeners, 2u);
  bad->push(svm::ToDaemon::kAcceptPass, bound.handle);
  bad->push(svm::ToDaemon::kAcceptPass, good.listener->handle);
  EXPECT_EQ(bed.counter("stale-handle"), 2u);
}

TEST_F(HostileEvents, WhatNoRequestIsCountsAsSuch) {
  ASSERT_EQ(bad->listen(81).status, 0);
  auto c = bad->connect(81);
  ASSERT_TRUE(c);
  for (const uint32_t type : {0u, 99u, 100u, 1u << 16, 0xffffffffu})
    bad->push(static_cast<svm::ToDaemon>(type), c->handle);
  EXPECT_EQ(bed.counter("bad-request"), 5u);
}

// The control thread has one thing to do after the other; what asks for it waits in its own queue.
TEST_F(HostileEvents, WhoFloodsTheControlThreadWaits) {
  static std::vector<std::pair<void (*)(void*), void*>> tasks;
  tasks.clear();
  bed.engine->set_control_executor(
      [](void*, void (*fn)(void*), void* arg) { tasks.emplace_back(fn, arg); }, nullptr);
  svm::ListenEvent e{};
  e.local = TestApp::end(81);
  e.backlog = 1;
  uint64_t pushed = 0;
  for (int round = 0; round < 200; ++round) {
    pushed += push_all(svm::ToDaemon::kListen, e);
    bed.engine->step();
  }
  EXPECT_GE(tasks.size(), 1u);
  EXPECT_LE(tasks.size(), 256u);
  // Nor is the worker awake for what it does not look at: a timer has it look again.
  session::SessionWorker& worker = *bed.layer->impl().workers[0];
  EXPECT_TRUE(session::may_sleep(worker));
  EXPECT_TRUE(worker.hearing_timer.is_running());
  // Once it has time, the rest is looked at, too.
  uint64_t answered = 0;
  for (bool again = true; again;) {
    again = false;
    for (const auto& [fn, arg] : std::exchange(tasks, {})) fn(arg);
    bed.engine->step();
    svm::MqEvent event;
    for (; bad->events.pop(event); again = true) ++answered;
    again |= !tasks.empty();
  }
  EXPECT_EQ(answered, pushed);
  bed.engine->set_control_executor(nullptr, nullptr);
}

// Nor does a flood of one application keep another's request waiting for more than a round.
TEST_F(HostileEvents, AFloodDoesNotHoldUpOthers) {
  for (int i = 0; i < 50; ++i) {
    push_all(svm::ToDaemon::kTx, svm::SessionEvent{0x123456789, 0});
    ASSERT_EQ(a->tx.enqueue(svm::bytes_of("x", 1)), 1u);
    ASSERT_EQ(good.requests.push(svm::ToDaemon::kTx, svm::SessionEvent{a->handle, 0}),
              svm::MqProducer::Push::kOk);
    bed.engine->step();
    ASSERT_EQ(b->rx.refresh(), static_cast<uint32_t>(i + 1));
  }
  EXPECT_EQ(good.read(*b), std::string(50, 'x'));
}

TEST_F(HostileEvents, WhoNeverReadsItsEventsIsEnded) {
  uint64_t asked = 0;
  while (bed.counter("app-violation") == 0 && asked < (1u << 18)) {
    asked += push_all(svm::ToDaemon::kGetInfo, svm::SessionEvent{a->handle, 0});
    bed.pump(0);
  }
  EXPECT_NE(bed.log.find("ended"), std::string::npos);
  EXPECT_EQ(bed.layer->stats().applications, 1u);
}

// A backlog goes in parts, so that others have their turn.
TEST_F(HostileEvents, ALongBacklogGoesInParts) {
  constexpr uint32_t kQueue = 4096, kMore = 3000, kPart = 1024;
  svm::AttachRequest r{};
  r.event_queue_size = kQueue;
  bad = std::make_unique<TestApp>(bed, r);
  for (uint32_t i = 0; i < kQueue + kMore; ++i) {
    ASSERT_EQ(bad->requests.push(svm::ToDaemon::kGetInfo, svm::SessionEvent{a->handle, 0}),
              svm::MqProducer::Push::kOk);
    if (i % 64 == 0) bed.pump(0);
  }
  bed.pump(0);
  const auto take_all = [&] {
    svm::MqEvent e;
    uint32_t n = 0;
    while (bad->events.pop(e)) ++n;
    return n;
  };
  ASSERT_EQ(take_all(), kQueue);
  uint32_t n = 0;
  for (int i = 0; i < 100 && n < kMore; ++i) {
    bed.now += 100 * kMillisecond;
    bed.engine->step();
    const uint32_t part = take_all();
    EXPECT_LE(part, kPart);
    n += part;
  }
  EXPECT_EQ(n, kMore);
}

TEST_F(HostileEvents, AContradictionThatIsMetByTheBacklogEndsTheApplication) {
  for (int i = 0; i < 3; ++i) {
    push_all(svm::ToDaemon::kGetInfo, svm::SessionEvent{a->handle, 0});
    bed.pump(0);
  }
  ASSERT_GT(bed.counter("event-overflow"), 0u);
  bad->events.shared()->head.store(1000);  // beyond all that was written
  bed.pump(100 * kMillisecond);
  EXPECT_EQ(bed.counter("app-violation"), 1u);
  EXPECT_NE(bed.log.find("ended"), std::string::npos);
}

// What happens to sessions waits in the sessions: it costs nothing beyond them, and ends nobody.
TEST_F(HostileEvents, WhoDoesNotReadForAWhileIsToldOfEachSessionOnce) {
  constexpr uint32_t kSessions = 300;  // its queue has 64 places
  ASSERT_EQ(bad->listen(81, 512).status, 0);
  std::vector<std::unique_ptr<TestApp::Connection>> far, near;
  for (uint32_t i = 0; i < kSessions; ++i) {
    far.push_back(good.connect(81));
    near.push_back(bad->accept());
    ASSERT_TRUE(far.back() && near.back());
    forget_events();
  }
  for (int round = 0; round < 3; ++round)
    for (uint32_t i = 0; i < kSessions; ++i) {
      near[i]->rx.arm(near[i]->rx.refresh());
      good.write(*far[i], "news");
    }
  EXPECT_EQ(bed.counter("event-overflow"), 0u);
  // The first ones three times, as they asked again; the others once.
  std::map<uint64_t, int> told;
  for (int quiet = 0; quiet < 3; ++quiet) {
    svm::MqEvent e;
    for (; bad->events.pop(e); quiet = 0) {
      EXPECT_EQ(static_cast<svm::ToApp>(e.type), svm::ToApp::kRx);
      ++told[e.as<svm::SessionEvent>().handle];
    }
    bed.pump(100 * kMillisecond);
  }
  EXPECT_EQ(told.size(), kSessions);
  EXPECT_EQ(told[near.back()->handle], 1);
  for (auto& c : far) good.close(*c);
}

// A process that has been stopped is told nothing, but another one takes its sessions over.
TEST_F(HostileEvents, WhatWaitsForAProcessGoesToItsSuccessor) {
  ASSERT_EQ(bad->listen(81, 512).status, 0);
  TestApp child(bed, *bad);
  std::vector<std::unique_ptr<TestApp::Connection>> far, near;
  for (int i = 0; i < 100; ++i) {
    far.push_back(good.connect(81));
    near.push_back(bad->accept());
    ASSERT_TRUE(far.back() && near.back());
    near.back()->shared->holders.store(1ull << bad->reply.worker_index |
                                       1ull << child.reply.worker_index);
    forget_events();
  }
  for (int i = 0; i < 100; ++i) {
    near[i]->rx.arm(near[i]->rx.refresh());
    good.write(*far[i], "news");
  }
  // One says so, the rest come with the death of the stopped one.
  near.back()->shared->owner.store(child.reply.worker_index);
  child.push(svm::ToDaemon::kClaim, near.back()->handle);
  EXPECT_EQ(child.expect<svm::SessionEvent>(svm::ToApp::kRx).handle, near.back()->handle);
  bad->die();
  bed.per_clock_look = kMillisecond;  // in many slices
  bed.pump();
  bed.per_clock_look = 0;
  std::map<uint64_t, int> told;
  for (int quiet = 0; quiet < 3; ++quiet) {
    svm::MqEvent e;
    for (; child.events.pop(e); quiet = 0) ++told[e.as<svm::SessionEvent>().handle];
    bed.pump(100 * kMillisecond);
  }
  EXPECT_GE(told.size(), 99u);
  child.die();
  for (auto& c : far) good.close(*c);
}

// What is kept for an application that does not read is bounded, however many processes it has.
TEST_F(HostileEvents, AllProcessesOfAnApplicationShareItsOverflow) {
  std::vector<std::unique_ptr<TestApp>> processes;
  for (int i = 0; i < 7; ++i) processes.push_back(std::make_unique<TestApp>(bed, *bad));
  uint64_t asked = 0;
  while (bed.counter("app-violation") == 0 && asked < (1u << 20)) {
    for (auto& p : processes)
      for (int i = 0; i < 64; ++i)
        asked += p->requests.push(svm::ToDaemon::kGetInfo, svm::SessionEvent{a->handle, 0}) ==
                 svm::MqProducer::Push::kOk;
    bed.engine->step();
  }
  EXPECT_GT(asked, 1u << 16);
  EXPECT_LT(asked, (1u << 16) + 7 * 3 * 64);  // what is in the queues besides
  bed.pump();
}

TEST_F(HostileEvents, WhoNeverReadsItsBytesHoldsNothingButItsFifo) {
  ASSERT_EQ(bad->listen(81).status, 0);
  auto c = good.connect(81);
  ASSERT_TRUE(c);
  const std::string piece(10'000, 'p');
  for (int i = 0; i < 30; ++i) good.write(*c, piece);
  // Both fifos are full: what was sent is in bad's, the rest in good's own.
  EXPECT_EQ(good.write(*c, piece), 0u);
  EXPECT_EQ(bed.buffers_in_use(), 0u);
  bad->die();
  bed.pump();
  EXPECT_TRUE(c->rx.reset());
  good.close(*c);
}

}  // namespace
}  // namespace loom::test
