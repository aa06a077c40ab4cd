// An application that dies after each step of what applications do: its socket closes, with its
// last request looked at or not. Everything it held comes back, and nobody else notices.
#include <hostloom/net.h>

#include "tests/unit/core/session/raw_attach.h"
#include "tests/unit/core/session/test_app.h"

namespace loom::test {
namespace {

// Every address 10.x is this host's.
const NetOps kNet{.struct_size = sizeof(NetOps),
                  .route = [](Worker&, const IpAddress&, uint32_t,
                              RouteInfo*) noexcept { return Status::kUnreachable; },
                  .is_local = [](Worker&, const IpAddress& a,
                                 uint32_t) noexcept { return a.is_ip4 && a.ip4().bytes[0] == 10; },
                  .generation = nullptr,
                  .route_group = nullptr,
                  .listen_group = nullptr,
                  .hears_group = nullptr};

svm::AttachRequest over_the_network() {
  svm::AttachRequest r{};
  r.flags = svm::kScopeGlobalOnly;
  return r;
}

// What the one that dies has so far. Steps say things; only kLook lets anybody hear them.
struct Dying {
  SessionBed& bed;
  uint16_t peer_port;  // where it connects to
  TestApp app;
  uint64_t listener = 0;
  svm::ListenerShared* queue = nullptr;
  struct Open {
    uint64_t handle;
    svm::SessionLine* line;
    svm::SessionShared* shared;  // nullptr: cut-through
  };
  std::vector<Open> sessions;

  Dying(SessionBed& b, uint16_t port) : bed(b), peer_port(port), app(b) {}

  template <class T>
  void say(svm::ToDaemon type, const T& payload) {
    EXPECT_EQ(app.requests.push(type, payload), svm::MqProducer::Push::kOk);
  }
  void say_of_all(svm::ToDaemon type) {
    for (const Open& s : sessions) say(type, svm::SessionEvent{s.handle, 0});
  }
  void add(uint64_t handle, svm::Ref ref, svm::CutThrough which) {
    Open s{handle, app.table.resolve_as<svm::SessionLine>(ref), nullptr};
    if (which == svm::CutThrough::kNo) s.shared = static_cast<svm::SessionShared*>(s.line);
    sessions.push_back(s);
  }

  void say_listen() {
    svm::ListenEvent e{};
    e.local = TestApp::end(81);
    e.backlog = 4;
    say(svm::ToDaemon::kListen, e);
  }
  void say_connect(uint16_t port) {
    svm::ConnectEvent e{};
    e.remote = TestApp::end(port);
    e.local.is_ip4 = 1;
    say(svm::ToDaemon::kConnect, e);
  }
  void look() { bed.pump(); }
  void take_events() {
    svm::MqEvent e;
    while (app.events.pop(e)) {
      if (static_cast<svm::ToApp>(e.type) == svm::ToApp::kBound) {
        const auto b = e.as<svm::BoundEvent>();
        listener = b.handle;
        queue = app.table.resolve_as<svm::ListenerShared>(b.listener);
      } else if (static_cast<svm::ToApp>(e.type) == svm::ToApp::kConnected) {
        const auto c = e.as<svm::ConnectedEvent>();
        EXPECT_EQ(c.status, 0);
        add(c.handle, c.session, c.cut_through);
      }
    }
  }
  void take_from_queue() {
    svm::AcceptedSession a;
    ASSERT_TRUE(svm::AcceptConsumer(*queue, queue->capacity).pop(a));
    add(a.handle, a.session, a.cut_through);
  }
  void hold() {
    for (const Open& s : sessions) s.line->holders.store(1ull << app.reply.worker_index);
  }
  void let_go() {
    for (const Open& s : sessions) s.line->holders.store(0);
  }
  void write_without_a_word() {
    const std::vector<std::byte> data(10'000);
    for (const Open& s : sessions)
      if (s.shared) {
        svm::AppFifoProducer fifo(s.shared->tx(), app.arena, s.shared->tx_size);
        EXPECT_EQ(fifo.enqueue(svm::ByteView(data)), data.size());
      }
  }
  void read_a_part() {
    std::vector<std::byte> data(5000);
    for (const Open& s : sessions)
      if (s.shared) {
        svm::AppFifoConsumer fifo(s.shared->rx(), app.table, s.shared->rx_size);
        (void)fifo.dequeue(data);
      }
  }
  // Died in the middle of it: the bytes are in place, the cursor is not.
  void begin_a_write() {
    for (const Open& s : sessions)
      if (s.shared) {
        svm::AppFifoProducer fifo(s.shared->tx(), app.arena, s.shared->tx_size);
        svm::MutableByteView views[4];
        (void)fifo.reserve(9000, views);
      }
  }
};

using Step = void (*)(Dying&);
const std::pair<const char*, Step> kSteps[] = {
    {"attached", [](Dying&) {}},
    {"said listen", [](Dying& d) { d.say_listen(); }},
    {"listens", [](Dying& d) { d.look(); }},
    {"has heard so", [](Dying& d) { d.take_events(); }},
    {"said connect", [](Dying& d) { d.say_connect(d.peer_port); }},
    {"the connect is under way", [](Dying& d) { d.bed.engine->step(); }},
    {"is connected", [](Dying& d) { d.look(); }},
    {"has heard so", [](Dying& d) { d.take_events(); }},
    {"was connected to", [](Dying& d) { d.say_connect(81), d.look(), d.take_events(); }},
    {"took one from its queue", [](Dying& d) { d.take_from_queue(); }},
    {"holds it", [](Dying& d) { d.hold(); }},
    {"claimed it", [](Dying& d) { d.say_of_all(svm::ToDaemon::kClaim); }},
    {"the claims are heard", [](Dying& d) { d.look(); }},
    {"wrote", [](Dying& d) { d.write_without_a_word(); }},
    {"said so", [](Dying& d) { d.say_of_all(svm::ToDaemon::kTx); }},
    {"some bytes are through", [](Dying& d) { d.bed.engine->step(); }},
    {"all are", [](Dying& d) { d.look(); }},
    {"read a part", [](Dying& d) { d.read_a_part(); }},
    {"said so", [](Dying& d) { d.say_of_all(svm::ToDaemon::kRxSpace); }},
    {"is in the middle of a write", [](Dying& d) { d.begin_a_write(); }},
    {"said shutdown", [](Dying& d) { d.say_of_all(svm::ToDaemon::kShutdown); }},
    {"it is heard", [](Dying& d) { d.look(); }},
    {"does not hold them", [](Dying& d) { d.let_go(); }},
    {"said close", [](Dying& d) { d.say_of_all(svm::ToDaemon::kClose); }},
    {"it is heard", [](Dying& d) { d.look(); }},
    {"said reset of what is gone", [](Dying& d) { d.say_of_all(svm::ToDaemon::kReset); }},
    {"does not hold its listener", [](Dying& d) { d.queue->holders.store(0); }},
    {"said unlisten",
     [](Dying& d) {
       d.say(svm::ToDaemon::kUnlisten, svm::SessionEvent{d.listener, 0});
     }},
    {"it is heard", [](Dying& d) { d.look(); }},
};

struct HostileDeath : testing::Test {
  SessionBed bed;
  TestApp honest{bed, over_the_network()};  // through the transport whatever the others do
  TestApp peer{bed};                        // the one that the dying one connects to
  std::unique_ptr<TestApp::Connection> a, b;
  uint64_t written = 0;

  void SetUp() override {
    ASSERT_EQ(honest.listen(80).status, 0);
    a = honest.connect(80);
    b = honest.accept();
    ASSERT_TRUE(a && b);
    ASSERT_EQ(peer.listen(82).status, 0);
  }
  void expect_honest_is_well() {
    const std::string text = "byte " + std::to_string(written++);
    honest.write(*a, text);
    EXPECT_EQ(honest.read(*b), text);
  }
  // What the peer has of the dead one's.
  void peer_closes_all() {
    svm::AcceptedSession s;
    while (svm::AcceptConsumer(*peer.listener, peer.listener->capacity).pop(s))
      peer.push(svm::ToDaemon::kClose, s.handle);
    svm::MqEvent e;
    while (peer.events.pop(e)) {}
  }
  void die_after_each_step() {
    const std::size_t n = std::size(kSteps);
    // Once, so that what is kept for the next one is there.
    die_after(n);
    const std::size_t descriptors = open_descriptors();
    for (std::size_t steps = 1; steps <= n; ++steps) {
      SCOPED_TRACE(std::string("died when it ") + kSteps[steps - 1].first + ", step " +
                   std::to_string(steps));
      die_after(steps);
      EXPECT_EQ(open_descriptors(), descriptors);
      if (HasFailure()) return;
    }
  }
  void die_after(std::size_t steps) {
    {
      Dying d(bed, 82);
      for (std::size_t i = 0; i < steps; ++i) kSteps[i].second(d);
      d.app.die();
    }
    bed.pump();
    peer_closes_all();
    expect_honest_is_well();
    for (int i = 0; i < 3; ++i) bed.pump(6 * kSecond);  // pairs are reaped when they were idle
    EXPECT_EQ(bed.layer->stats().applications, 2u);
    EXPECT_EQ(bed.layer->stats().listeners, 2u);
    EXPECT_EQ(bed.layer->stats().per_worker.at(0), 2u);
    EXPECT_EQ(bed.buffers_in_use(), 0u);
    EXPECT_EQ(bed.counter("app-violation"), 0u);
  }
};

TEST_F(HostileDeath, ThroughTheTransport) { die_after_each_step(); }

TEST_F(HostileDeath, ByCutThrough) {
  bed.engine->worker(0).net = &kNet;
  die_after_each_step();
}

// Ending one of its sessions frees the other end of it, which may be the next to be ended.
TEST_F(HostileDeath, ConnectedToItself) {
  auto self = std::make_unique<TestApp>(bed, over_the_network());
  ASSERT_EQ(self->listen(81).status, 0);
  for (int i = 0; i < 3; ++i) {
    auto near = self->connect(81);
    auto far = self->accept();
    ASSERT_TRUE(near && far);
    self->write(*near, "never read");
    self->push(svm::ToDaemon::kClose, near->handle);
    bed.pump();
  }
  self->die();
  bed.pump();
  EXPECT_EQ(bed.layer->stats().applications, 2u);
  EXPECT_EQ(bed.layer->stats().per_worker.at(0), 2u);
  expect_honest_is_well();
}

// What it has written is sent after its death, and contradicts itself on the way.
TEST_F(HostileDeath, LeavesAContradiction) {
  auto bad = std::make_unique<TestApp>(bed, over_the_network());
  auto c = bad->connect(82);
  auto s = peer.accept();
  ASSERT_TRUE(c && s);
  const std::string much(1 << 16, 'x');
  while (bad->write(*c, much) != 0) {}  // until both fifos are full
  bad->die();
  bed.pump();
  c->shared->tx_producer.tail.fetch_sub(1);  // a child that it had forked still has the memory
  while (!peer.read(*s).empty()) {}
  peer.close(*s);
  bed.pump();
  EXPECT_EQ(bed.layer->stats().applications, 2u);
  EXPECT_EQ(bed.layer->stats().per_worker.at(0), 2u);
  EXPECT_GE(bed.counter("app-violation"), 1u);
  expect_honest_is_well();
}

// Its other workers go on, with the sessions that they hold.
TEST_F(HostileDeath, OneOfTwoWorkers) {
  auto parent = std::make_unique<TestApp>(bed);
  ASSERT_EQ(parent->listen(81).status, 0);
  auto c = parent->connect(81);
  auto s = parent->accept();
  ASSERT_TRUE(c && s);
  TestApp child(bed, *parent);
  c->shared->holders.fetch_or(1ull << child.reply.worker_index);
  parent->die();
  bed.pump();
  EXPECT_EQ(bed.layer->stats().applications, 3u);
  EXPECT_EQ(c->shared->owner.load(), child.reply.worker_index);
  EXPECT_EQ(bed.layer->stats().per_worker.at(0), 4u);  // c, and what is left of s: it was not read
  expect_honest_is_well();
  child.die();
  bed.pump();
  EXPECT_EQ(bed.layer->stats().applications, 2u);
  EXPECT_EQ(bed.layer->stats().per_worker.at(0), 2u);
}

}  // namespace
}  // namespace loom::test
