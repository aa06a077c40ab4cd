// The plugin's commands.
#pragma once
#include <hostloom/host.h>

namespace loom::udp {

Result<void> add_commands(Host&);

}  // namespace loom::udp
