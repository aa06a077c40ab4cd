// What DTLS has for itself: registration, life-cycle, and what workers have; see dtls.h.
#include "dtls.h"

#include "tls.h"

namespace loom::tls::dtls {

Shared& shared() noexcept {
  static Shared s;
  return s;
}

const StatInfo kStats[kStatCount] = {
    {"server-handshakes"},
    {"client-handshakes"},
    {"handshakes-failed"},
    {"handshakes-timed-out"},
    {"refused"},
    {"hellos"},
    {"hellos-dropped"},
    {"put-off"},
    {"put-off-dropped"},
    {"bound-again"},
    {"binds-failed"},
    {"retransmissions"},
    {"records-dropped"},
    {"too-long"},
    {"empty"},
    {"unsent"},
    {"rcvbuf-full"},
    {"alerts-received"},
    {"verify-failed"},
    {"handshakes-under-way", StatKind::kGauge},
    {"connections", StatKind::kGauge},
};

DtlsWorker::~DtlsWorker() {
  for (const auto& c : connections)
    if (c) SSL_free(c->ssl);
}

Connection* DtlsWorker::open() noexcept {
  try {
    auto c = std::make_unique<Connection>();
    if (free.empty()) {
      free.reserve(connections.size() + 1);  // forget() gives back without asking for memory
      connections.push_back(nullptr);
      free.push_back(static_cast<ConnId>(connections.size() - 1));
    }
    c->self = free.back();
    c->at = this;
    c->wire.w = &w;
    free.pop_back();
    Connection* const raw = c.get();
    connections[raw->self] = std::move(c);
    ++stats[kConnections];
    return raw;
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}

void DtlsWorker::forget(Connection& c) noexcept {
  w.timer_stop(c.timer);
  SSL_free(c.ssl);
  retired().let_go(w, c.context);
  retired().let_go(w, c.wanted);
  const ConnId id = c.self;
  connections[id] = nullptr;
  free.push_back(id);
  --stats[kConnections];
}

namespace {

constexpr StatSet kStatSet{.prefix = "/sys/dtls",
                           .stats = kStats,
                           .read = [](void*, uint32_t worker, std::span<uint64_t> out) noexcept {
                             const DtlsWorker* t = shared().workers[worker].get();
                             for (std::size_t i = 0; i < out.size(); ++i) out[i] = t->stats[i];
                           }};

}  // namespace

Result<void> init(Host& host) {
  Shared& s = shared();
  std::destroy_at(&s);
  std::construct_at(&s);
  s.host = &host;
  auto transport = host.add_transport(kTransportOps);
  if (!transport) return transport.error();
  s.transport = *transport;
  s.worker_slot = host.allocate_worker_slot();
  return host.add_stats(kStatSet);
}

Config datagram_config() {
  Config config = tls::shared().config;
  config.datagrams = true;
  return config;
}

Result<void> start(Host& host) {
  Shared& s = shared();
  auto fresh = read_again(tls::shared().store.get());
  if (!fresh) return fresh.error();
  s.client = std::move(fresh->client);
  s.workers.resize(host.n_workers());
  host.run_on_all_workers([&s](Worker& w) {
    s.workers[w.index] = std::make_unique<DtlsWorker>(w);
    w.plugin_data[s.worker_slot] = s.workers[w.index].get();
  });
  const auto app = host.add_application(kLowerOps);
  if (!app) return app.error();
  s.app = *app;
  return {};
}

void stop(Host& host) {
  Shared& s = shared();
  if (s.app) host.remove_application(std::exchange(s.app, nullptr));
  for (const auto& [id, l] : s.listeners) {  // those of nobody went with the application
    host.run_on_worker(l->worker, [l = l](Worker& w) {
      w.timer_stop(l->again);
      w.timer_stop(l->next_round);
    });
    delete l;
  }
  s.listeners.clear();
  host.run_on_all_workers([&s](Worker& w) { w.plugin_data[s.worker_slot] = nullptr; });
  s.workers.clear();
  s.client.reset();
}

}  // namespace loom::tls::dtls
