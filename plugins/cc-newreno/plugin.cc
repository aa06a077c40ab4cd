// The plugin's descriptor.
#include <hostloom/plugin.h>

#include "newreno.h"

extern "C" LOOM_EXPORT const loom::PluginInfo hostloom_plugin = {
    .abi = loom::kPluginAbi,
    .struct_size = sizeof(loom::PluginInfo),
    .name = "cc-newreno",
    .version = "1.0",
    .summary = "NewReno congestion control (RFC 5681, RFC 6582)",
    .needs = "",
    .init = [](loom::Host& h) noexcept { return h.add_congestion_control(loom::newreno::kOps); },
};
