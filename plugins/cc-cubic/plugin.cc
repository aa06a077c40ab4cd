// The plugin's descriptor.
#include <hostloom/plugin.h>

#include "cubic.h"

extern "C" LOOM_EXPORT const loom::PluginInfo hostloom_plugin = {
    .abi = loom::kPluginAbi,
    .struct_size = sizeof(loom::PluginInfo),
    .name = "cc-cubic",
    .version = "1.0",
    .summary = "CUBIC congestion control (RFC 9438)",
    .needs = "",
    .init = [](loom::Host& h) noexcept { return h.add_congestion_control(loom::cubic::kOps); },
};
