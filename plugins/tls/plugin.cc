// The plugin's descriptor.
#include <hostloom/plugin.h>

#include "tls.h"

extern "C" LOOM_EXPORT const loom::PluginInfo hostloom_plugin = {
    .abi = loom::kPluginAbi,
    .struct_size = sizeof(loom::PluginInfo),
    .name = "tls",
    .version = "1.0",
    .summary = "TLS 1.2 and 1.3 (RFC 5246, 8446) over any stream transport",
    .needs = "",
    .init = loom::tls::init,
    .start = loom::tls::start,
    .stop = loom::tls::stop,
};
