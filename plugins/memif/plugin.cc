// Registration of the memif driver.
#include <hostloom/plugin.h>

#include "memifs.h"

namespace loom::memif {
namespace {

Memifs* memifs = nullptr;  // made by init; lives as long as the process, like registered commands

Result<void> init(Host& host) noexcept {
  memifs = new Memifs(host);
  if (auto node = host.add_node(kInputNode); !node) return node.error();
  if (auto done = register_commands(host, *memifs); !done) return done;
  return add_api(host, *memifs);
}

void stop(Host&) noexcept { memifs->remove_all(); }

}  // namespace
}  // namespace loom::memif

extern "C" LOOM_EXPORT const loom::PluginInfo hostloom_plugin = {
    .name = "memif",
    .version = "0.1.0",
    .summary = "Packet interfaces in shared memory (memif protocol 2.0)",
    .init = loom::memif::init,
    .stop = loom::memif::stop,
};
