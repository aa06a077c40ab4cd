// Registration, life-cycle, and what workers have; see tls.h and connection.h.
#include "tls.h"

#include "dtls.h"

namespace loom::tls {

Shared& shared() noexcept {
  static Shared s;
  return s;
}

void free_ssl(Connection& c) noexcept {
  SSL_free(std::exchange(c.ssl, nullptr));
  retired().let_go(c.at->w, c.context);
  retired().let_go(c.at->w, c.wanted);
}

const StatInfo kStats[kStatCount] = {
    {"server-handshakes"},
    {"client-handshakes"},
    {"resumed"},
    {"early-data-accepted"},
    {"early-data-refused"},
    {"handshakes-failed"},
    {"handshakes-timed-out"},
    {"refused"},
    {"alerts-received"},
    {"verify-failed"},
    {"truncated"},
    {"bad-records"},
    {"bytes-in"},
    {"bytes-out"},
    {"early-bytes-in"},
    {"handshakes-under-way", StatKind::kGauge},
    {"connections", StatKind::kGauge},
};

TlsWorker::~TlsWorker() {
  for (const auto& c : connections)
    if (c) SSL_free(c->ssl);
}

Connection* TlsWorker::open() noexcept {
  try {
    auto c = std::make_unique<Connection>();
    if (free.empty()) {
      free.reserve(connections.size() + 1);  // forget() gives back without asking for memory
      connections.push_back(nullptr);
      free.push_back(static_cast<ConnId>(connections.size() - 1));
    }
    c->self = free.back();
    c->at = this;
    free.pop_back();
    Connection* const raw = c.get();
    connections[raw->self] = std::move(c);
    ++stats[kConnections];
    return raw;
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}

void TlsWorker::forget(Connection& c) noexcept {
  w.timer_stop(c.timer);
  forget_buffers(c);
  free_ssl(c);
  if (c.lingers) --lingering;
  const ConnId id = c.self;
  connections[id] = nullptr;
  free.push_back(id);
  --stats[kConnections];
}

namespace {

constexpr ConfigStanza kStanza{
    .name = "tls",
    .help = kConfigHelp,
    .context = nullptr,
    .apply = [](void*, const ConfigNode& n) { return apply_config(&shared().config, n); }};

constexpr StatSet kStatSet{.prefix = "/sys/tls",
                           .stats = kStats,
                           .read = [](void*, uint32_t worker, std::span<uint64_t> out) noexcept {
                             const TlsWorker* t = shared().workers[worker].get();
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
  if (auto r = register_commands(host); !r) return r;
  if (auto r = add_api(host); !r) return r;
  if (auto r = dtls::init(host); !r) return r;
  if (auto r = host.add_stats(kStatSet); !r) return r;
  return host.add_config_stanza(kStanza);
}

Result<void> start(Host& host) {
  Shared& s = shared();
  auto store = make_store(s.config);
  if (!store) return error(Status::kInvalid, store.error().message);
  s.store = std::move(*store);
  // What is configured must be usable, before somebody needs it.
  if (!s.config.certificate.empty()) {
    if (const auto c = make_server_context(s.config, {}, s.store.get()); !c)
      return error(Status::kInvalid, c.error().message);
  }
  auto client = make_client_context(s.config, s.store.get());
  if (!client) return client.error();
  s.client = {client->release(), SSL_CTX_free};
  s.workers.resize(host.n_workers());
  host.run_on_all_workers([&s](Worker& w) {
    s.workers[w.index] = std::make_unique<TlsWorker>(w);
    w.plugin_data[s.worker_slot] = s.workers[w.index].get();
  });
  const auto app = host.add_application(kLowerOps);
  if (!app) return app.error();
  s.app = *app;
  return dtls::start(host);
}

void stop(Host& host) {
  dtls::stop(host);
  Shared& s = shared();
  if (s.app) host.remove_application(std::exchange(s.app, nullptr));
  host.run_on_all_workers([&s](Worker& w) {
    if (auto* t = static_cast<TlsWorker*>(std::exchange(w.plugin_data[s.worker_slot], nullptr)))
      w.timer_stop(t->idle_timer);
  });
  s.workers.clear();
  s.listeners.clear();
  s.wishes.retire();
  s.client.reset();
  s.store.reset();
}

}  // namespace loom::tls
