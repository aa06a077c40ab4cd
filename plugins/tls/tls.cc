// Registration, life-cycle, and what workers have; see tls.h and connection.h.
#include "tls.h"

#include <new>

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
    {"crypto-steps"},
    {"crypto-held"},
    {"crypto-taken-back"},
    {"crypto-under-way", StatKind::kGauge},
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

Result<void> start(Host& host) {
  Shared& s = shared();
  auto store = make_store(s.config);
  if (!store) return error(Status::kInvalid, store.error().message);
  s.store = std::move(*store);
  // What is configured must be usable, before somebody needs it.
  if (!s.config.certificates.empty()) {
    if (const auto c = make_server_context(s.config, {}, s.store.get()); !c)
      return error(Status::kInvalid, c.error().message);
  }
  auto clients = make_clients(s.config, s.store.get());
  if (!clients) return clients.error();
  s.clients = std::move(*clients);
  // The control thread has not been put in its place yet: these are the daemon's cores.
  s.crypto_threads = s.config.crypto_threads.value_or(threads_for(n_cores(), host.n_workers()));
  if (s.crypto_threads != 0) s.pool = std::make_unique<CryptoPool>(host);
  if (auto r = s.start(kLowerOps); !r) return r;
  if (auto r = dtls::start(); !r) return r;
  return {};
}

void start_threads() noexcept {
  Shared& s = shared();
  if (!s.pool || s.pool->is_running()) return;
  const auto started = s.pool->start(s.crypto_threads);
  const bool is_news = started.has_value() == s.lacks_threads;
  s.lacks_threads = !started;
  if (is_news) try {
      s.host->log(started ? LogLevel::kNotice : LogLevel::kWarn, "tls",
                  started ? "crypto-threads are there now, and do the handshakes"
                          : started.error().message + "; the workers do the handshakes themselves");
    } catch (const std::bad_alloc&) {}
}

void stop(Host& host) {
  Shared& s = shared();
  s.reload.stop();
  s.early_sweep.stop();
  dtls::stop();
  s.end_application();
  host.run_on_all_workers([&s](Worker& w) {
    if (w.plugin_data[s.worker_slot]) w.timer_stop(tls_worker(w).idle_timer);
  });
  if (s.pool) s.pool->stop();
  s.host->run_on_all_workers([](Worker& w) {  // behind what the pool has posted
    if (w.plugin_data[shared().worker_slot]) tls_worker(w).share.finish_all();
  });
  dtls::end();
  s.end_workers();  // behind the last `next_round`
  s.pool.reset();
  s.listeners.clear();
  s.wishes.retire();
  s.clients = {};
  s.store.reset();
}

}  // namespace loom::tls
