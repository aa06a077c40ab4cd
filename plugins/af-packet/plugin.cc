// Registration of the af-packet driver.
#include <hostloom/plugin.h>

#include "host_interfaces.h"

namespace loom::af_packet {
namespace {

HostInterfaces* all = nullptr;  // made by init; as long-lived as the registered commands

Result<void> init(Host& host) noexcept {
  all = new HostInterfaces(host);
  if (auto node = host.add_node(kInputNode); !node) return node.error();
  if (auto done = register_commands(host, *all); !done) return done;
  return add_api(host, *all);
}

void stop(Host&) noexcept { all->remove_all(); }

}  // namespace
}  // namespace loom::af_packet

extern "C" LOOM_EXPORT const loom::PluginInfo hostloom_plugin = {
    .name = "af-packet",
    .version = "0.1.0",
    .summary =
        "The kernel's interfaces through packet sockets, with checksum and segmentation offload",
    .init = loom::af_packet::init,
    .stop = loom::af_packet::stop,
};
