// Registration of the packet generator.
#include <hostloom/plugin.h>

#include "pg.h"

namespace loom::pg {
namespace {

Pg* pg = nullptr;  // made by init; lives as long as the process, like the registered commands

Result<void> init(Host& host) {
  pg = new Pg(host);
  if (auto done = pg->streams.init(); !done) return done;
  return register_commands(host, *pg);
}

void stop(Host&) { pg->stop(); }

}  // namespace
}  // namespace loom::pg

extern "C" LOOM_EXPORT const loom::PluginInfo hostloom_plugin = {
    .name = "pg",
    .version = "0.1.0",
    .summary = "Packet generator: streams of described or captured packets, and captures",
    .init = loom::pg::init,
    .stop = loom::pg::stop,
};
