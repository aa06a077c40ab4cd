// Commands about the daemon itself: show version, show plugins, plugin load, show log, set log
// level.
#pragma once
#include <string>

#include <hostloom/host.h>
#include <hostloom/status.h>

namespace loom {

class CliTree;
class DaemonLog;
class PluginLoader;

struct BuiltinParts {
  DaemonLog& log;
  PluginLoader& plugins;
};

constexpr const char* kProgramName = "hostloom";
const char* program_version();  // "0.1.0"

// `parts` outlives the tree.
Result<void> register_builtin_commands(CliTree& tree, BuiltinParts& parts);

}  // namespace loom
