// The plugin's descriptor.
#include <hostloom/plugin.h>

#include "udp.h"

extern "C" LOOM_EXPORT const loom::PluginInfo hostloom_plugin = {
    .abi = loom::kPluginAbi,
    .struct_size = sizeof(loom::PluginInfo),
    .name = "udp",
    .version = "1.0",
    .summary = "UDP (RFC 768)",
    .needs = "",
    .init = loom::udp::init,
    .start = loom::udp::start,
    .stop = loom::udp::stop,
};
