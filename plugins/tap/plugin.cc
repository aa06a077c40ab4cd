// Registration of the tap driver.
#include <hostloom/plugin.h>

#include "taps.h"

namespace loom::tap {
namespace {

Taps* taps = nullptr;  // made by init; lives as long as the process, like the registered commands

Result<void> init(Host& host) noexcept {
  taps = new Taps(host);
  if (auto node = host.add_node(kInputNode); !node) return node.error();
  if (auto done = register_commands(host, *taps); !done) return done;
  return add_api(host, *taps);
}

void stop(Host&) noexcept { taps->remove_all(); }

}  // namespace
}  // namespace loom::tap

extern "C" LOOM_EXPORT const loom::PluginInfo hostloom_plugin = {
    .name = "tap",
    .version = "0.1.0",
    .summary = "Linux TAP interfaces with checksum and segmentation offload",
    .init = loom::tap::init,
    .stop = loom::tap::stop,
};
