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
    {"crypto-steps"},
    {"crypto-held"},
    {"crypto-taken-back"},
    {"crypto-under-way", StatKind::kGauge},
    {"handshakes-under-way", StatKind::kGauge},
    {"connections", StatKind::kGauge},
};

Connection* DtlsWorker::open() noexcept {
  Connection* const c = ConnectionTable::open();
  if (c) c->wire.w = &w;
  return c;
}

Result<void> init(Host& host) {
  Shared& s = shared();
  std::destroy_at(&s);
  std::construct_at(&s);
  if (auto r = s.add_to(host, kTransportOps); !r) return r;
  return s.add_stats("/sys/dtls", kStats);
}

Config datagram_config() {
  Config config = tls::shared().config;
  config.datagrams = true;
  return config;
}

Result<void> start() {
  Shared& s = shared();
  auto clients = make_clients(datagram_config(), tls::shared().store.get());
  if (!clients) return clients.error();
  s.clients = std::move(*clients);
  return s.start(kLowerOps);
}

void stop() {
  Shared& s = shared();
  s.end_application();
  for (const auto& [id, l] : s.listeners) {  // those of nobody went with the application
    s.host->run_on_worker(l->worker, [l = l](Worker& w) {
      w.timer_stop(l->again);
      w.timer_stop(l->next_round);
    });
    delete l;
  }
  s.listeners.clear();
  s.clients = {};
}

void end() { shared().end_workers(); }

}  // namespace loom::tls::dtls
