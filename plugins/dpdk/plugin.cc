// Registration of the DPDK driver.
#include <hostloom/plugin.h>

#include "devices.h"

namespace loom::dpdk {
namespace {

Devices* all = nullptr;  // made by init; as long-lived as the registered commands

Result<void> init(Host& host) noexcept {
  all = new Devices(host);
  if (auto node = host.add_node(kInputNode); !node) return node.error();
  if (auto done = register_commands(host, *all); !done) return done;
  if (auto done = add_api(host, *all); !done) return done;
  return host.add_config_stanza({
      .name = "dpdk",
      .help = kStanzaHelp,
      .context = all,
      .apply =
          [](void* devices, const ConfigNode& stanza) {
            return read_stanza(stanza, static_cast<Devices*>(devices)->config);
          },
  });
}

Result<void> start(Host&) noexcept { return all->start(); }
void stop(Host&) noexcept { all->remove_all(); }

}  // namespace
}  // namespace loom::dpdk

extern "C" LOOM_EXPORT const loom::PluginInfo hostloom_plugin = {
    .name = "dpdk",
    .version = "0.1.0",
    .summary = "DPDK's devices: network cards and the software ones, packets in our own buffers",
    .init = loom::dpdk::init,
    .start = loom::dpdk::start,
    .stop = loom::dpdk::stop,
};
