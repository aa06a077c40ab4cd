// The session layer on one, two and four workers, with threads: many short connections of
// in-process applications, whose segments take detours over other workers, while listeners come
// and go, and sessions move from worker to worker. Nothing waits for time to pass.
#include <hostloom/app.h>

#include <atomic>

#include "session/control.h"
#include "tests/unit/core/session/workers_bed.h"

namespace loom::test {
namespace {

constexpr uint32_t kConnections = 400;  // opened by each worker
constexpr uint32_t kAtOnce = 16;
constexpr uint16_t kSteadyPort = 80, kFirstFleeting = 81, kFleeting = 3;

class WorkersTest : public testing::TestWithParam<std::pair<uint32_t, bool>>, protected WorkersBed {
 protected:
  WorkersTest() : WorkersBed(GetParam().first, GetParam().second), spread(GetParam().second) {}

  const bool spread;
};

// --- The applications. A client sends a number of bytes, ends its direction, and must read the
// same bytes back; the server echoes.

void echo(Worker& w, SessionId id, void*) noexcept {
  AppSession s(w, id);
  std::span<const std::byte> views[4];
  while (const uint32_t n = s.peek(views)) {
    uint32_t bytes = 0;
    for (uint32_t i = 0; i < n; ++i) {
      EXPECT_EQ(s.write(views[i]), views[i].size());  // fifos are larger than any message
      bytes += static_cast<uint32_t>(views[i].size());
    }
    s.consume(bytes);
  }
  if (s.eof()) s.close();
}

struct Clients;
struct Client {  // one connection
  Clients* all = nullptr;
  uint16_t port = 0;
  uint32_t length = 0, got = 0;
  bool failed = false;
};

struct Clients {
  Application* app = nullptr;
  std::atomic<uint32_t> left{0};  // to be opened; more follow until one has moved
  std::atomic<uint32_t> opened{0}, moved{0};
  bool must_move = false;
  std::atomic<uint32_t> running{0};  // each is followed by the next one
  std::atomic<uint32_t> served{0}, refused{0}, reset{0}, broken{0};
  ControlQueue* control = nullptr;

  static std::byte byte_at(uint32_t i, uint32_t length) {
    return static_cast<std::byte>(i * 7 + i / 251 + length);
  }

  // False: all have been opened.
  bool open_one(Worker& w) {
    uint32_t number = left.load();
    while (number != 0 && !left.compare_exchange_weak(number, number - 1)) {}
    if (number == 0 && (!must_move || moved != 0)) return false;
    ++opened;
    auto* c = new Client{.all = this};
    // Every other one goes where listeners come and go.
    c->port = number % 2 ? kSteadyPort : kFirstFleeting + number / 2 % kFleeting;
    c->length = 1 + number * 37 % 9000;
    AppEndpoint to;
    to.address = IpAddress::parse("10.0.0.1").value();
    to.port = c->port;
    EXPECT_TRUE(AppSession::connect(w, *app, to, c).has_value());
    return true;
  }
  static void connected(Worker& w, SessionId id, Status status, void* context) noexcept {
    auto& c = *static_cast<Client*>(context);
    if (status != Status::kOk) {
      c.failed = true;
      EXPECT_NE(c.port, kSteadyPort);
      ++c.all->refused;
      return;
    }
    std::vector<std::byte> data(c.length);
    for (uint32_t i = 0; i < c.length; ++i) data[i] = byte_at(i, c.length);
    AppSession s(w, id);
    // Nothing when it was reset meanwhile, which is told next.
    const uint32_t written = s.write(data);
    EXPECT_TRUE(written == c.length || (written == 0 && c.port != kSteadyPort)) << written;
    s.shutdown();
  }
  static void readable(Worker& w, SessionId id, void* context) noexcept {
    auto& c = *static_cast<Client*>(context);
    AppSession s(w, id);
    std::span<const std::byte> views[4];
    while (const uint32_t n = s.peek(views)) {
      uint32_t bytes = 0;
      for (uint32_t i = 0; i < n; ++i)
        for (const std::byte b : views[i])
          if (b != byte_at(c.got + bytes++, c.length)) ++c.all->broken;
      c.got += bytes;
      s.consume(bytes);
    }
    if (s.eof()) s.close();
  }
  static void was_reset(Worker&, SessionId, ResetReason, void* context) noexcept {
    auto& c = *static_cast<Client*>(context);
    c.failed = true;
    EXPECT_NE(c.port, kSteadyPort);
    ++c.all->reset;
  }
  static void has_moved(Worker&, SessionId, void* context) noexcept {
    ++static_cast<Client*>(context)->all->moved;
  }
  static void closed(Worker& w, SessionId, void* context) noexcept {
    const std::unique_ptr<Client> c(static_cast<Client*>(context));
    Clients& all = *c->all;
    if (!c->failed) {
      if (c->got == c->length)
        ++all.served;
      else
        ++all.broken;
    }
    if (all.open_one(w)) return;
    if (all.running.fetch_sub(1) == 1)  // wakes the control thread
      ControlQueue::post(
          all.control, [](void*) {}, nullptr);
  }
};

// Sends every open session of the worker to the next one.
void move_all(SessionLayer& layer, uint32_t worker, uint32_t to) {
  session::for_each_session(
      layer.impl(), worker,
      [&](session::SessionWorker& sw, session::Session& s) { (void)session::migrate(sw, s, to); });
}

TEST_P(WorkersTest, ManyShortConnectionsWhileListenersComeAndGo) {
  AppOps server_ops;
  server_ops.name = "server";
  server_ops.accepted = [](Worker&, SessionId, SessionId, void**) noexcept { return true; };
  server_ops.readable = echo;
  const auto moved = [](Worker&, SessionId, void*) noexcept {};
  server_ops.moved = moved;
  Application* server = layer->add_application(server_ops, {}).value();
  AppOps client_ops;
  client_ops.name = "client";
  client_ops.connected = Clients::connected;
  client_ops.readable = Clients::readable;
  client_ops.reset = Clients::was_reset;
  client_ops.closed = Clients::closed;
  client_ops.moved = Clients::has_moved;
  wire->refuse_every = 10;
  wire->dawdle_every = 50;
  if (spread)
    wire->accepts_on = [&](const Endpoints& e) {
      return layer->impl().flows->spread(session::key4_of(e, wire->kIpProtocol), n_workers);
    };
  Clients clients;
  clients.app = layer->add_application(client_ops, {}).value();
  clients.control = &control;

  const auto listen = [&](uint16_t port) {
    AppEndpoint at;
    at.address = IpAddress::parse("10.0.0.1").value();
    at.port = port;
    return layer->listen(*server, at, nullptr).value();
  };
  (void)listen(kSteadyPort);
  const uint32_t workers = n_workers;
  clients.left = workers * kConnections;
  clients.running = workers * kAtOnce;
  clients.must_move = workers > 1;
  for (uint32_t i = 0; i < workers; ++i)
    engine->run_on_worker(i, [&](Worker& w) {
      for (uint32_t n = 0; n < kAtOnce; ++n) EXPECT_TRUE(clients.open_one(w));
    });
  uint32_t turns = 0;
  std::array<SessionHandle, kFleeting> fleeting{};
  while (clients.running.load() != 0) {
    SessionHandle& h = fleeting[turns++ % kFleeting];
    if (h != 0)
      EXPECT_EQ(layer->unlisten(*server, std::exchange(h, 0)), Status::kOk);
    else
      h = listen(static_cast<uint16_t>(kFirstFleeting + (turns - 1) % kFleeting));
    if (workers > 1) move_all(*layer, turns % workers, (turns / workers) % workers);
    control.run_all();
  }
  EXPECT_EQ(clients.broken.load(), 0u);
  EXPECT_EQ(wire->misplaced.load(), 0u);
  EXPECT_EQ(clients.served + clients.refused + clients.reset, clients.opened);
  EXPECT_GE(clients.opened.load(), workers * kConnections);
  EXPECT_GE(clients.served.load(), workers * kConnections / 2);

  layer->remove_application(*server);
  layer->remove_application(*clients.app);
  // Segments that are still on their way end nowhere; when they have, nothing is left.
  for (bool quiet = false; !quiet;) {
    quiet = true;
    for (uint32_t i = 0; i < workers; ++i)
      engine->run_on_worker(i, [&](Worker& w) { quiet &= session::of(w).pool.in_use() == 0; });
    control.run_all();
  }
  const SessionStats stats = layer->stats();
  EXPECT_EQ(stats.established + stats.half_open, 0u);
  EXPECT_EQ(stats.listeners, 0u);
  EXPECT_EQ(stats.applications, 0u);
  if (workers > 1) {
    EXPECT_GT(wire->count("handed-off"), 0u);
    EXPECT_GT(wire->count("dawdled"), 0u);
    EXPECT_GT(engine->stats().counter("session-queue", "migrated"), 0u);
  }
}

INSTANTIATE_TEST_SUITE_P(On, WorkersTest,
                         testing::Values(std::pair(1, false), std::pair(2, false),
                                         std::pair(4, false), std::pair(4, true)),
                         [](const auto& info) {
                           return std::to_string(info.param.first) + "Workers" +
                                  (info.param.second ? "Spread" : "");
                         });

}  // namespace
}  // namespace loom::test
