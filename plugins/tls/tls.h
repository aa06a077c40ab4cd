// What all parts of the plugin share, and how it is registered.
//
// The plugin is a transport (TxKind::kInternal) to the session layer, and an application
// (hostloom/app.h) that has one session of another transport for each of its connections. Neither
// is known to the core by name: docs/transports.md explains the way by this plugin.
#pragma once
#include <atomic>
#include <map>
#include <memory>

#include <hostloom/cli.h>
#include <hostloom/host.h>

#include "client_settings.h"
#include "config.h"
#include "connection.h"
#include "context.h"
#include "crypto_pool.h"
#include "reload.h"
#include "trust.h"

namespace loom::tls {

constexpr uint8_t kProto = 3;  // VPPCOM_PROTO_TLS

// Made and destroyed on the control thread; there as long as one of its handshakes is.
struct Listener {
  SessionId upper = kNoSession;
  SessionHandle lower = 0;
  ServerContextPtr context;             // the control thread's
  std::atomic<ServerContext*> shown{};  // the same, for workers, which take a reference at once
  // Workers show `to` from now on, and none of them looks at what was before any more.
  void show(Host& host, ServerContextPtr to) {
    std::swap(context, to);
    shown.store(context.get(), std::memory_order_release);
    host.run_on_all_workers([](Worker&) {});
    retired().take(std::move(to));
  }
  Settings settings;                   // with its own certificates, if it has any: for reload
  std::vector<StatCounter> under_way;  // handshakes, by worker; each its own
};

struct Shared : Transport<TlsWorker> {
  Config config;
  StorePtr store;                    // of all contexts; changed with `clients`
  uint32_t generation = 0;           // of `clients`, that of others' sessions ends
  ClientSettingsTable wishes;        // what applications want of connections to servers
  std::unique_ptr<CryptoPool> pool;  // null: handshakes are the workers' own
  uint32_t crypto_threads = 0;       // that it has, or is to have when somebody needs them
  bool lacks_threads = false;        // the last attempt to start them has failed; control thread
  std::map<ConnId, std::unique_ptr<Listener>> listeners;  // control thread
  Reload reload;                                          // control thread
  EarlySweep early_sweep;                                 // likewise
};
Shared& shared() noexcept;

inline TlsWorker& tls_worker(Worker& w) noexcept {
  return *static_cast<TlsWorker*>(w.plugin_data[shared().worker_slot]);
}
// How lower sessions are opened.
AppEndpoint lower_endpoint(const SocketOptionsView&) noexcept;

extern const TransportOps kTransportOps;  // transport.cc
extern const AppOps kLowerOps;            // lower.cc

// listen.cc. Control thread.
// What a listener of TLS or of DTLS is opened with, or gets later.
struct ListenerParts {
  Settings settings;
  ServerContextPtr context;
};
// By the number of the settings. An error is logged, as of who cannot listen `for_what`.
Status make_parts(uint32_t number, Result<ServerContextPtr> (*make)(const Settings&, X509_STORE*),
                  const char* for_what, ListenerParts& out);
// TransportOps.
Status open_listener(SessionId, const SocketOptionsView&, ConnId*) noexcept;
Status use_settings(ConnId, uint32_t number) noexcept;
void close_listener(ConnId) noexcept;
// With the session layer applications end (hostloom/app.h). When it is enabled again another one
// takes the place of ours. Control thread.
void renew_application() noexcept;
void renew(Application*&, const AppOps&) noexcept;  // that one

// Those of the pool, if they do not run yet: with the first listener, or after the first handshake
// of a client, which the worker does. Where the system does not give them the log says so once, and
// it is tried again by each listener, by each reload, and while handshakes come. Control thread.
void start_threads() noexcept;

Result<void> register_commands(Host&);  // cli.cc
Result<void> add_api(Host&);            // api.cc

Result<void> init(Host&);
Result<void> start(Host&);
void stop(Host&);

}  // namespace loom::tls
