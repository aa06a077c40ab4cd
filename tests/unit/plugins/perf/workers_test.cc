// Perf servers and clients on two and four workers, with threads: whose sessions are spread, whose
// numbers agree, and which end at any moment. Nothing waits for time to pass.
#include "perf.h"
#include "session/control.h"
#include "tests/unit/core/session/workers_bed.h"

namespace loom::perf {
namespace {

constexpr uint32_t kPerWorker = 25;  // clients
constexpr const char* kUri = "tcp://10.0.0.1/80";
constexpr const char* kOther = "tcp://10.0.0.1/81";

using PerfRun = Run;  // gtest has one, too

class PerfWorkers : public testing::TestWithParam<uint32_t>, protected test::WorkersBed {
 protected:
  PerfWorkers() : WorkersBed(GetParam()) {
    use_host();
    perf = std::make_unique<Perf>(host);
  }
  ~PerfWorkers() override {
    perf->stop_runs();
    perf->servers.remove_all();
    expect_nothing_left();
    perf.reset();
  }

  // A run of round trips; more than will ever be made, unless it says how many.
  std::shared_ptr<PerfRun> begin(const char* uri, uint32_t n_clients,
                                 uint64_t requests = 1ull << 40) {
    RunConfig c;
    c.uri = uri;
    c.n_clients = n_clients;
    c.requests = requests;
    c.request = 100;
    c.response = 3000;
    c.verify = true;
    auto run = perf->begin(std::move(c), [this](const PerfRun&) { ++n_over; });
    EXPECT_TRUE(run) << (run ? "" : run.error().message);
    return run ? *run : nullptr;
  }
  void serve(const char* uri) { ASSERT_TRUE(perf->servers.add(ServerKind::kPerf, uri, 0)); }
  const Server& server(std::size_t i = 0) { return *perf->servers.list().at(i); }
  void wait_until_over(const PerfRun& run) {
    while (!run.is_over()) control.run_one(true);
  }
  // As long as it takes: workers do it, and each is asked once in a turn.
  template <class Is>
  void wait_until(Is&& is) {
    while (!is()) {
      for (uint32_t i = 0; i < n_workers; ++i) engine->run_on_worker(i, [](Worker&) {});
      control.run_all();
    }
  }
  uint32_t sessions() {
    uint32_t n = 0;
    for (uint32_t i = 0; i < n_workers; ++i)
      engine->run_on_worker(i, [&](Worker& w) { n += session::of(w).pool.in_use(); });
    return n;
  }
  // The last segments end nowhere.
  void expect_nothing_left() {
    wait_until([&] { return sessions() == 0; });
    const SessionStats stats = layer->stats();
    EXPECT_EQ(stats.established + stats.half_open, 0u);
    EXPECT_EQ(stats.listeners, 0u);
    EXPECT_EQ(stats.applications, 0u);
  }

  const uint32_t n_clients = n_workers * kPerWorker + 1;  // one worker has one more
  Host host;
  std::unique_ptr<Perf> perf;
  uint32_t n_over = 0;

 private:
  void use_host() {
    ops_.struct_size = sizeof ops_;
    ops_.n_workers = [](Host& h) { return of(h).engine->n_workers(); };
    ops_.run_on_worker = [](Host& h, uint32_t i, void (*fn)(Worker&, void*), void* arg) {
      of(h).engine->run_on_worker(i, [&](Worker& w) { fn(w, arg); });
    };
    ops_.add_application = [](Host& h, const AppOps* a, const AppConfig* c, Application** out,
                              std::string*) {
      const auto app = of(h).layer->add_application(*a, *c);
      if (app) *out = *app;
      return app ? Status::kOk : app.error().code;
    };
    ops_.remove_application = [](Host& h, Application* a) { of(h).layer->remove_application(*a); };
    ops_.app_listen = [](Host& h, Application* a, const AppEndpoint* e, void* context,
                         SessionHandle* out, std::string*) {
      const auto listener = of(h).layer->listen(*a, *e, context);
      if (listener) *out = *listener;
      return listener ? Status::kOk : listener.error().code;
    };
    host.ops = &ops_;
    host.impl = this;
  }
  static PerfWorkers& of(Host& h) { return *static_cast<PerfWorkers*>(h.impl); }

  HostOps ops_{};
};

TEST_P(PerfWorkers, SessionsAreSpreadAndBothEndsCountTheSame) {
  serve(kUri);
  constexpr uint64_t kRequests = 20, kHeader = 24;
  const auto run = begin(kUri, n_clients, kRequests);
  ASSERT_TRUE(run);
  wait_until_over(*run);
  EXPECT_EQ(n_over, 1u);
  const Outcome& o = run->outcome();
  EXPECT_TRUE(run->success());
  EXPECT_EQ(o.totals.connections, n_clients);
  EXPECT_EQ(o.totals.failed + o.totals.reset + o.totals.unfinished + o.totals.mismatched, 0u);
  EXPECT_EQ(o.connect.count, n_clients);
  EXPECT_EQ(o.round_trip.count, n_clients * kRequests);
  EXPECT_EQ(run->sum(&Counters::round_trips), n_clients * kRequests);
  EXPECT_EQ(run->sum(&Counters::sent), n_clients * (kHeader + kRequests * 100));
  EXPECT_EQ(run->sum(&Counters::received), n_clients * kRequests * 3000);
  EXPECT_EQ(run->sum(&Counters::closed), n_clients);
  wait_until([&] { return server().sum(&Counters::closed) == run->sum(&Counters::opened); });
  EXPECT_EQ(server().sum(&Counters::opened), n_clients);
  EXPECT_EQ(server().sum(&Counters::received), run->sum(&Counters::sent));
  EXPECT_EQ(server().sum(&Counters::sent), run->sum(&Counters::received));
  // Each worker has some of the server's sessions: where their SYN came to. All on three of four,
  // by chance, once in 10^12 runs.
  for (uint32_t i = 0; i < n_workers; ++i)
    EXPECT_GT(server().counters[i].opened.load(), 0u) << "worker " << i;
}

TEST_P(PerfWorkers, ARunThatIsStoppedIsOverAndTheOthersGoOn) {
  serve(kUri);
  serve(kOther);
  const auto stopped = begin(kUri, n_clients), other = begin(kOther, n_clients, 200);
  ASSERT_TRUE(stopped && other);
  wait_until([&] { return stopped->sum(&Counters::round_trips) > n_clients; });
  stopped->stop();
  stopped->stop();  // says nothing new
  wait_until_over(*stopped);
  const Totals& t = stopped->outcome().totals;
  EXPECT_EQ(t.connections + t.failed, n_clients);
  EXPECT_EQ(t.mismatched, 0u);
  wait_until_over(*other);
  EXPECT_EQ(n_over, 2u);
  EXPECT_EQ(other->outcome().totals.connections, n_clients);
  EXPECT_EQ(other->outcome().totals.reset + other->outcome().totals.unfinished, 0u);
  EXPECT_EQ(other->sum(&Counters::received), n_clients * 200ull * 3000);
  wait_until([&] {
    return server(0).sum(&Counters::closed) == server(0).sum(&Counters::opened) &&
           server(1).sum(&Counters::closed) == other->sum(&Counters::opened);
  });
  EXPECT_EQ(server(1).sum(&Counters::sent), other->sum(&Counters::received));
}

TEST_P(PerfWorkers, AServerThatGoesResetsItsClientsAndTheRunIsOver) {
  serve(kUri);
  const auto run = begin(kUri, n_clients);
  ASSERT_TRUE(run);
  wait_until([&] { return run->sum(&Counters::round_trips) > n_clients; });
  ASSERT_TRUE(perf->servers.remove(ServerKind::kPerf, kUri));
  wait_until_over(*run);
  const Totals& t = run->outcome().totals;
  EXPECT_EQ(t.connections + t.failed, n_clients);
  EXPECT_EQ(t.reset, t.connections) << "nobody was served to the end";
  EXPECT_EQ(t.mismatched, 0u);
}

TEST_P(PerfWorkers, BothEndsMayGoWhileConnectionsOpen) {
  for (uint32_t turn = 0; turn < 20; ++turn) {
    serve(kUri);
    const auto run = begin(kUri, n_clients);
    ASSERT_TRUE(run);
    // Sooner and later: with none, some and all of the connections open.
    wait_until([&] { return run->sum(&Counters::opened) >= turn * n_clients / 20; });
    if (turn % 2 == 0) run->stop();
    ASSERT_TRUE(perf->servers.remove(ServerKind::kPerf, kUri));
    run->stop();
    wait_until_over(*run);
    const Totals& t = run->outcome().totals;
    EXPECT_EQ(t.connections + t.failed, n_clients);
    EXPECT_EQ(t.mismatched, 0u);
  }
  EXPECT_EQ(n_over, 20u);
}

INSTANTIATE_TEST_SUITE_P(On, PerfWorkers, testing::Values(2u, 4u),
                         [](const auto& info) { return std::to_string(info.param) + "Workers"; });

}  // namespace
}  // namespace loom::perf
