// Registration and life-cycle; see tcp.h.
#include "tcp.h"

#include <sys/random.h>

#include <memory>
#include <utility>

#include "tcp_worker.h"

namespace loom::tcp {

Shared& shared() noexcept {
  static Shared s;
  return s;
}

namespace {
constexpr ConfigStanza kStanza{
    .name = "tcp",
    .help = kConfigHelp,
    .context = nullptr,
    .apply = [](void*, const ConfigNode& n) { return apply_config(&shared().config, n); }};

Result<void> add_nodes(Host& host) {
  for (const NodeInfo* node :
       {&kTcp4Established, &kTcp6Established, &kTcp4SynSent, &kTcp6SynSent, &kTcp4RcvProcess,
        &kTcp6RcvProcess, &kTcp4Listen, &kTcp6Listen, &kTcp4Reset, &kTcp6Reset})
    if (auto r = host.add_node(*node); !r) return r.error();
  Shared& s = shared();
  for (const auto& [node, id] :
       {std::pair(&kTcp4Input, &s.input4), std::pair(&kTcp6Input, &s.input6),
        std::pair(&kTcp4Output, &s.output4), std::pair(&kTcp6Output, &s.output6)}) {
    auto added = host.add_node(*node);
    if (!added) return added.error();
    *id = *added;
  }
  if (auto r = host.add_ip_protocol(kProtoTcp, false, kTcp4Input.name); !r) return r;
  return host.add_ip_protocol(kProtoTcp, true, kTcp6Input.name);
}
}  // namespace

Result<void> init(Host& host) noexcept {
  Shared& s = shared();
  s = Shared{};
  s.host = &host;
  if (getrandom(&s.key, sizeof s.key, 0) != sizeof s.key)
    return error(Status::kIo, "getrandom gave no key for initial sequence numbers");
  if (auto r = add_nodes(host); !r) return r;
  auto transport = host.add_transport(kTransportOps);
  if (!transport) return transport.error();
  s.transport = *transport;
  s.worker_slot = host.allocate_worker_slot();
  if (auto r = host.add_config_stanza(kStanza); !r) return r;
  if (auto r = add_statistics(host); !r) return r;
  return add_cli_commands(host);
}

Result<void> start(Host& host) noexcept {
  Shared& s = shared();
  if (!host.set_default_congestion_control(s.config.cc_algo.c_str()))
    return error(Status::kInvalid,
                 "tcp: cc-algo '" + s.config.cc_algo + "' is not registered by any plugin");
  s.default_cc = host.find_congestion_control("");
  s.workers.resize(host.n_workers());
  host.run_on_all_workers([&s](Worker& w) {
    auto* t = new TcpWorker(w, s.config);
    w.plugin_data[s.worker_slot] = t;
    s.workers[w.index] = t;
  });
  return {};
}

void stop(Host& host) noexcept {
  host.run_on_all_workers([](Worker& w) {
    delete static_cast<TcpWorker*>(w.plugin_data[shared().worker_slot]);
    w.plugin_data[shared().worker_slot] = nullptr;
  });
}

}  // namespace loom::tcp
