// What TLS and DTLS have alike: a worker's connections and counters, registration, life-cycle, and
// the entries of a transport's table that say the same of both.
#pragma once
#include <openssl/ssl.h>

#include <memory>
#include <new>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <hostloom/app.h>
#include <hostloom/host.h>
#include <hostloom/stats.h>

#include "context.h"
#include "retired.h"

namespace loom::tls {

// What transports say of a connection; `out` as TransportOps has it. transport.cc
void describe(const SSL*, std::string& out);
Status property(const SSL*, uint32_t which, std::string& out);

// A connection's SSL, and what that referred to. It has none any more.
template <class C>
void free_ssl(C& c) noexcept {
  SSL_free(std::exchange(c.ssl, nullptr));
  retired().let_go(c.at->w, c.context);
  retired().let_go(c.at->w, c.wanted);
}

// Connections of a worker by number, and its counters, of which `kConnections` is the last.
template <class C, auto kConnections>
struct ConnectionTable {
  explicit ConnectionTable(Worker& worker) : w(worker) {}
  ~ConnectionTable() {
    for (const auto& c : connections)
      if (c) SSL_free(c->ssl);
  }
  C& get(ConnId id) noexcept { return *connections[id]; }
  // With a number; null: no memory.
  C* open() noexcept {
    try {
      auto c = std::make_unique<C>();
      if (free.empty()) {
        free.reserve(connections.size() + 1);  // give_back() asks for no memory
        connections.push_back(nullptr);
        free.push_back(static_cast<ConnId>(connections.size() - 1));
      }
      c->self = free.back();
      c->at = static_cast<decltype(c->at)>(this);
      free.pop_back();
      C* const raw = c.get();
      connections[raw->self] = std::move(c);
      ++stats[kConnections];
      return raw;
    } catch (const std::bad_alloc&) {
      return nullptr;
    }
  }
  // It is gone on return.
  void give_back(C& c) noexcept {
    w.timer_stop(c.timer);
    free_ssl(c);
    const ConnId id = c.self;
    connections[id] = nullptr;
    free.push_back(id);
    --stats[kConnections];
  }

  Worker& w;
  std::vector<std::unique_ptr<C>> connections;  // by number; null: free
  std::vector<ConnId> free;
  StatCounter stats[kConnections + 1];
};

// A transport of the plugin's, which is an application, too. Control thread.
template <class PerWorker>
struct Transport {
  Host* host = nullptr;
  TransportId transport = kNoTransport;
  uint32_t worker_slot = 0;
  std::vector<std::unique_ptr<PerWorker>> workers;  // by index
  Application* app = nullptr;                       // changed only while the workers stand still
  Clients clients;                                  // likewise
  ConnId next_listener = 0;

  Result<void> add_to(Host& to, const TransportOps& ops) {
    host = &to;
    auto added = to.add_transport(ops);
    if (!added) return added.error();
    transport = *added;
    worker_slot = to.allocate_worker_slot();
    return {};
  }
  Result<void> add_stats(const char* prefix, std::span<const StatInfo> names) {
    return host->add_stats(
        {.prefix = prefix,
         .stats = names,
         .context = this,
         .read = [](void* self, uint32_t worker, std::span<uint64_t> out) noexcept {
           const PerWorker& t = *static_cast<Transport*>(self)->workers[worker];
           for (std::size_t i = 0; i < out.size(); ++i) out[i] = t.stats[i];
         }});
  }
  Result<void> start(const AppOps& ops) {
    workers.resize(host->n_workers());
    host->run_on_all_workers([this](Worker& w) {
      workers[w.index] = std::make_unique<PerWorker>(w);
      w.plugin_data[worker_slot] = workers[w.index].get();
    });
    const auto added = host->add_application(ops);
    if (!added) return added.error();
    app = *added;
    return {};
  }
  // Its sessions below have gone on return.
  void end_application() {
    if (app) host->remove_application(std::exchange(app, nullptr));
  }
  void end_workers() {
    host->run_on_all_workers([this](Worker& w) { w.plugin_data[worker_slot] = nullptr; });
    workers.clear();
  }
};

// A transport's table with what is alike. C, kAt: the connection of that number.
template <class C, C& (*kAt)(Worker&, ConnId) noexcept>
constexpr TransportOps common_ops(const char* name, uint8_t proto) noexcept {
  TransportOps o;
  o.name = name;
  o.proto = proto;
  o.ip_protocol = 0;
  o.tx_kind = TxKind::kInternal;
  o.shutdown = [](Worker& w, ConnId conn) noexcept {
    C& c = kAt(w, conn);
    c.shut = true;
    w.sessions->tx_schedule(w, c.upper);
  };
  o.describe = [](Worker& w, ConnId conn, std::string& out) noexcept {
    describe(kAt(w, conn).ssl, out);
  };
  o.property = [](Worker& w, ConnId conn, uint32_t which, std::string& out) noexcept {
    return property(kAt(w, conn).ssl, which, out);
  };
  return o;
}

}  // namespace loom::tls
