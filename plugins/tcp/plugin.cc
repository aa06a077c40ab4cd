// The plugin's descriptor.
#include <hostloom/plugin.h>

#include "api.h"
#include "tcp.h"

namespace {

loom::Result<void> init(loom::Host& host) {
  if (auto done = loom::tcp::init(host); !done) return done;
  return loom::tcp::add_api(host);
}

}  // namespace

extern "C" LOOM_EXPORT const loom::PluginInfo hostloom_plugin = {
    .abi = loom::kPluginAbi,
    .struct_size = sizeof(loom::PluginInfo),
    .name = "tcp",
    .version = "1.0",
    .summary = "TCP (RFC 9293)",
    .needs = "",
    .init = init,
    .start = loom::tcp::start,
    .stop = loom::tcp::stop,
};
