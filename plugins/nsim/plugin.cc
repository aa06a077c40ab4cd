// Registration of the network simulator.
#include <hostloom/plugin.h>

#include "nsim.h"

namespace loom::nsim {
namespace {

Nsim* nsim = nullptr;  // made by init; lives as long as the process, like the registered commands

Result<void> init(Host& host) {
  nsim = new Nsim(host);
  if (auto done = nsim->init(); !done) return done;
  if (auto done = register_commands(host, *nsim); !done) return done;
  return add_api(host, *nsim);
}

Result<void> start(Host&) { return nsim->start(); }
void stop(Host&) { nsim->stop(); }

}  // namespace
}  // namespace loom::nsim

extern "C" LOOM_EXPORT const loom::PluginInfo hostloom_plugin = {
    .name = "nsim",
    .version = "0.1.0",
    .summary =
        "Network simulator: delay, bandwidth, loss and reordering of what an interface sends",
    .init = loom::nsim::init,
    .start = loom::nsim::start,
    .stop = loom::nsim::stop,
};
