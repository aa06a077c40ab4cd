// The one symbol that a plugin exports: `hostloom_plugin`. Plain data; the loader checks abi and
// struct_size before it reads the rest.
#pragma once
#include <hostloom/host.h>

#define LOOM_EXPORT __attribute__((visibility("default")))

namespace loom {

// major << 16 | minor. The major must match; the host's minor may be newer.
constexpr uint32_t kPluginAbi = 1u << 16 | 1;
constexpr const char* kPluginSymbol = "hostloom_plugin";

struct PluginInfo {
  uint32_t abi = kPluginAbi;
  uint32_t struct_size = sizeof(PluginInfo);
  const char* name = nullptr;
  const char* version = "";
  const char* summary = "";
  const char* needs =
      "";  // names of plugins that must be there, comma separated; they are initialised first
  // Registers nodes, transports, commands, stanzas. Configuration has not been read. An error
  // refuses the plugin.
  Result<void> (*init)(Host&) noexcept = nullptr;
  // Configuration is applied, the graph and the workers exist but do not run yet. An error refuses the
  // plugin; kInvalid says that a configured value cannot be (a name that no plugin registered), and the
  // daemon does not start. May be null.
  Result<void> (*start)(Host&) noexcept = nullptr;
  // The daemon goes down; workers have stopped. May be null.
  void (*stop)(Host&) noexcept = nullptr;
};

}  // namespace loom
