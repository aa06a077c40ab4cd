// A plugin in order, with a command that throws.
#include <hostloom/plugin.h>

#include <stdexcept>

namespace {

using namespace loom;

Result<void> answer(Host&, void* context, CliArgs&, CliReply& reply) {
  if (context) throw std::out_of_range("no answer");
  reply.line("42");
  return {};
}

Result<void> init(Host& host) {
  static int there;
  if (auto r = host.add_cli_command({.path = "answers good", .run = answer}); !r) return r;
  return host.add_cli_command({.path = "answers bad", .context = &there, .run = answer});
}

}  // namespace

extern "C" LOOM_EXPORT const loom::PluginInfo hostloom_plugin = {.name = "answers", .init = init};
