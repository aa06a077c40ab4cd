// Registration, life-cycle, and what workers have; see tls.h and connection.h.
#include "tls.h"

#include "dtls.h"

namespace loom::tls {

Shared& shared() noexcept {
  static Shared s;
  return s;
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

void TlsWorker::forget(Connection& c) noexcept {
  forget_buffers(c);
  if (c.lingers) --lingering;
  give_back(c);
}

namespace {

constexpr ConfigStanza kStanza{
    .name = "tls",
    .help = kConfigHelp,
    .context = nullptr,
    .apply = [](void*, const ConfigNode& n) { return apply_config(&shared().config, n); }};

}  // namespace

Result<void> init(Host& host) {
  Shared& s = shared();
  std::destroy_at(&s);
  std::construct_at(&s);
  if (auto r = s.add_to(host, kTransportOps); !r) return r;
  if (auto r = register_commands(host); !r) return r;
  if (auto r = add_api(host); !r) return r;
  if (auto r = dtls::init(host); !r) return r;
  if (auto r = s.add_stats("/sys/tls", kStats); !r) return r;
  return host.add_config_stanza(kStanza);
}

Result<void> start(Host&) {
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
  if (auto r = s.start(kLowerOps); !r) return r;
  return dtls::start();
}

void stop(Host& host) {
  dtls::stop();
  Shared& s = shared();
  s.end_application();
  host.run_on_all_workers([&s](Worker& w) {
    if (w.plugin_data[s.worker_slot]) w.timer_stop(tls_worker(w).idle_timer);
  });
  s.end_workers();
  s.listeners.clear();
  s.wishes.retire();
  s.client.reset();
  s.store.reset();
}

}  // namespace loom::tls
