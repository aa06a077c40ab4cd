// Registration and life-cycle; see udp.h.
#include "udp.h"

#include <utility>

#include "cli.h"
#include "groups.h"
#include "hearers.h"
#include "path_news.h"

namespace loom::udp {

Shared& shared() noexcept {
  static Shared s;
  return s;
}

namespace {
constexpr ConfigStanza kStanza{
    .name = "udp",
    .help = kConfigHelp,
    .context = nullptr,
    .apply = [](void*, const ConfigNode& n) { return apply_config(&shared().config, n); }};

Result<void> add_nodes(Host& host) {
  for (const NodeInfo* node : {&kUdp4Input, &kUdp6Input, &kUdp4Error, &kUdp6Error})
    if (auto r = host.add_node(*node); !r) return r.error();
  Shared& s = shared();
  for (const auto& [node, id] :
       {std::pair(&kUdp4Output, &s.output4), std::pair(&kUdp6Output, &s.output6),
        std::pair(&kUdpGroup, &s.group), std::pair(&kUdpHearer, &s.hearer),
        std::pair(&kUdpPathMtu, &s.path_mtu)}) {
    auto added = host.add_node(*node);
    if (!added) return added.error();
    *id = *added;
  }
  for (const bool is_ip6 : {false, true}) {
    const NodeInfo& input = is_ip6 ? kUdp6Input : kUdp4Input;
    const NodeInfo& errors = is_ip6 ? kUdp6Error : kUdp4Error;
    if (auto r = host.add_ip_protocol(kProtoUdp, is_ip6, input.name); !r) return r;
    if (auto r = host.add_icmp_error_handler(kProtoUdp, is_ip6, errors.name); !r) return r;
  }
  return {};
}
}  // namespace

Result<void> init(Host& host) noexcept {
  Shared& s = shared();
  s = Shared{};
  s.host = &host;
  s.local_ports = std::make_unique<LocalPorts>();
  if (auto r = add_nodes(host); !r) return r;
  auto transport = host.add_transport(kTransportOps);
  if (!transport) return transport.error();
  s.transport = *transport;
  s.worker_slot = host.allocate_worker_slot();
  if (auto r = add_commands(host); !r) return r;
  return host.add_config_stanza(kStanza);
}

Result<void> start(Host& host) noexcept {
  Shared& s = shared();
  s.n_workers = host.n_workers();
  host.run_on_all_workers(
      [&s](Worker& w) { w.plugin_data[s.worker_slot] = new UdpWorker(w, s.config); });
  return {};
}

void stop(Host& host) noexcept {
  host.run_on_all_workers([](Worker& w) {
    delete static_cast<UdpWorker*>(w.plugin_data[shared().worker_slot]);
    w.plugin_data[shared().worker_slot] = nullptr;
  });
}

}  // namespace loom::udp
