// Registers a command and throws, while the workers stand still for it.
#include <hostloom/plugin.h>

#include <stdexcept>

namespace {

using namespace loom;

Result<void> init(Host& host) {
  if (auto r = host.add_cli_command(
          {.path = "throws",
           .run = [](Host&, void*, CliArgs&, CliReply&) -> Result<void> { return {}; }});
      !r)
    return r;
  host.with_barrier([] { throw std::runtime_error("the disk is made of cheese"); });
  return {};
}

}  // namespace

extern "C" LOOM_EXPORT const loom::PluginInfo hostloom_plugin = {.name = "throws", .init = init};
