// Registration, and the descriptor that the daemon looks for.
#include <hostloom/plugin.h>

#include "connection.h"

namespace line_echo {

Shared& shared() noexcept {
  static Shared s;
  return s;
}

namespace {

Result<void> init(Host& host) {
  Shared& s = shared();
  s.host = &host;
  s.worker_slot = host.allocate_worker_slot();
  s.ip4_lookup = host.find_node("ip4-lookup");
  if (auto node = host.add_node(kInputNode); !node) return node.error();
  if (auto r = add_messages(host); !r) return r;
  return add_commands(host);
}

// When a plugin is loaded into a daemon that runs, the workers run too. What makes them call us
// therefore comes last: first our data is there, then applications find us, then packets.
Result<void> start(Host& host) {
  Shared& s = shared();
  host.run_on_all_workers([&](Worker& w) { w.plugin_data[s.worker_slot] = new LineWorker(w); });
  auto transport = host.add_transport(kTransport);
  if (!transport) return transport.error();
  s.transport = *transport;
  return host.add_ip_protocol(kIpProtocol, /*is_ip6=*/false, kInputNode.name);
}

void stop(Host& host) {
  host.run_on_all_workers([](Worker& w) {
    delete static_cast<LineWorker*>(std::exchange(w.plugin_data[shared().worker_slot], nullptr));
  });
}

}  // namespace
}  // namespace line_echo

extern "C" LOOM_EXPORT const loom::PluginInfo hostloom_plugin = {
    .name = "line-echo",
    .version = "1.0",
    .summary = "lines of text over IP protocol 253, one packet at a time",
    .init = line_echo::init,
    .start = line_echo::start,
    .stop = line_echo::stop,
};
