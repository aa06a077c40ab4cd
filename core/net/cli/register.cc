// Registers the commands of the IP layer, each with its Net as context.
#include "net/cli/net_commands.h"
#include "net/state.h"

namespace loom {

Result<void> register_net_commands(Host& host, Net& net) {
  auto& kept = net.state().cli_commands;  // the command tree keeps pointers to them
  for (const auto group :
       {interface_commands(), sub_interface_commands(), unnumbered_commands(), ip_commands()}) {
    for (CliCommand command : group) {
      command.context = &net;
      kept.push_back(command);
      if (auto ok = host.add_cli_command(kept.back()); !ok) return ok;
    }
  }
  return {};
}

}  // namespace loom
