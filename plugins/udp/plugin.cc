// The plugin's descriptor.
#include <hostloom/plugin.h>

#include "api.h"
#include "udp.h"

namespace {
loom::Result<void> init(loom::Host& host) noexcept {
  if (auto done = loom::udp::init(host); !done) return done;
  return loom::udp::add_api(host);
}
}  // namespace

extern "C" LOOM_EXPORT const loom::PluginInfo hostloom_plugin = {
    .abi = loom::kPluginAbi,
    .struct_size = sizeof(loom::PluginInfo),
    .name = "udp",
    .version = "1.0",
    .summary = "UDP (RFC 768)",
    .needs = "",
    .init = init,
    .start = loom::udp::start,
    .stop = loom::udp::stop,
};
