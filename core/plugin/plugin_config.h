// What the start-up file says about plugins, as data. The `plugins` stanza:
//
//   plugins { path DIR  plugin default { enable|disable }  plugin NAME { enable|disable|required }
//   }
//
// NAME is the file's name with or without ".so", or the name in the plugin's own descriptor, which
// is known only of files that the file's name and the default allow to open. Control thread.
#pragma once
#include <map>
#include <string>
#include <vector>

#include <hostloom/config.h>

namespace loom {

enum class PluginChoice : uint8_t {
  kEnable,
  kDisable,
  kRequired,  // the start fails when it is missing or refused
};

struct PluginConfig {
  std::vector<std::string> paths;  // scanned in this order; empty = the built-in directory
  PluginChoice default_choice = PluginChoice::kEnable;       // never kRequired
  std::map<std::string, PluginChoice, std::less<>> choices;  // keys without ".so"

  // For a file stem or a plugin's name.
  PluginChoice choice_for(std::string_view name) const {
    const auto it = choices.find(name);
    return it == choices.end() ? default_choice : it->second;
  }
};

// Reads the stanza. `path` may be given several times and may hold several directories separated by
// ':'. Errors name file, line and the nearest known word. The last word about a plugin counts.
Result<PluginConfig> parse_plugin_config(const ConfigNode& stanza);

}  // namespace loom
