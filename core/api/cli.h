// Commands about the binary API: show api [clients|messages|trace], api trace on|off|save|replay.
// Control thread.
#pragma once
#include <memory>

#include <hostloom/host.h>
#include <hostloom/status.h>

#include "api/registry.h"

namespace loom {

class ApiServer;

// What the commands look at. The server comes later than the commands: null until then.
struct ApiCommands {
  const std::unique_ptr<ApiServer>& server;
  ApiRegistry& registry;
  bool is_replaying = false;
};

// `commands` outlives the command tree.
Result<void> register_api_commands(Host& host, ApiCommands& commands);

}  // namespace loom
