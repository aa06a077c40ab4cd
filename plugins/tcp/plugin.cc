// The plugin's descriptor.
#include <hostloom/plugin.h>

#include "tcp.h"

extern "C" LOOM_EXPORT const loom::PluginInfo hostloom_plugin = {
    .abi = loom::kPluginAbi,
    .struct_size = sizeof(loom::PluginInfo),
    .name = "tcp",
    .version = "1.0",
    .summary = "TCP (RFC 9293)",
    .needs = "",
    .init = loom::tcp::init,
    .start = loom::tcp::start,
    .stop = loom::tcp::stop,
};
