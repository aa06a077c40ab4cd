// Registration of the performance client and the servers.
#include <hostloom/plugin.h>

#include "perf.h"

namespace loom::perf {
namespace {

Perf* perf = nullptr;  // made by init; lives as long as the process, like the commands

Result<void> init(Host& host) noexcept {
  perf = new Perf(host);
  if (auto done = register_commands(host, *perf); !done) return done;
  return add_api(host, *perf);
}

void end_all(Host&) noexcept {
  perf->stop_runs();
  if (perf->held) perf->held->end();
  perf->servers.remove_all();
}

}  // namespace
}  // namespace loom::perf

extern "C" LOOM_EXPORT const loom::PluginInfo hostloom_plugin = {
    .name = "perf",
    .version = "0.1.0",
    .summary = "Performance client and server, and echo server, inside the daemon",
    .init = loom::perf::init,
    .stop = loom::perf::end_all,
};
