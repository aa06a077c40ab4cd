// Commands about the daemon itself: show version, show plugins, plugin load, show log, show api.
#pragma once
#include <functional>
#include <string>

#include <hostloom/host.h>
#include <hostloom/status.h>

namespace loom {

class ApiServer;
class CliTree;
class DaemonLog;
class PluginLoader;

struct BuiltinParts {
  const DaemonLog& log;
  PluginLoader& plugins;
  std::function<const ApiServer*()> api;  // null before it is there
};

constexpr const char* kProgramName = "hostloom";
const char* program_version();  // "0.1.0"

// `parts` outlives the tree.
Result<void> register_builtin_commands(CliTree& tree, BuiltinParts& parts);

}  // namespace loom
