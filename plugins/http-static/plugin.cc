// Registration of the static HTTP server.
#include <hostloom/plugin.h>

#include "server.h"

namespace loom::http {
namespace {

Servers* servers = nullptr;  // made by init; lives as long as the process, like the commands

Result<void> init(Host& host) noexcept {
  servers = new Servers(host);
  if (auto done = register_commands(host, *servers); !done) return done;
  return add_api(host, *servers);
}

Result<void> start(Host& host) noexcept {
  servers->totals.start(host.n_workers());
  return add_statistics(host, servers->totals);
}

void stop(Host&) noexcept { servers->remove_all(); }

}  // namespace
}  // namespace loom::http

extern "C" LOOM_EXPORT const loom::PluginInfo hostloom_plugin = {
    .name = "http-static",
    .version = "0.1.0",
    .summary = "Static HTTP server inside the daemon (HTTP/1.1, RFC 9110 and 9112)",
    .init = loom::http::init,
    .start = loom::http::start,
    .stop = loom::http::stop,
};
