#include "plugin/plugin_config.h"

namespace loom {
namespace {

std::string without_suffix(std::string name) {
  if (name.ends_with(".so")) name.resize(name.size() - 3);
  return name;
}

void append_paths(const std::string& text, std::vector<std::string>& out) {
  for (std::size_t at = 0; at <= text.size();) {
    const std::size_t colon = std::min(text.find(':', at), text.size());
    if (colon > at) out.push_back(text.substr(at, colon - at));
    at = colon + 1;
  }
}

// `plugin NAME { choice }`: the choice is the only word of NAME's block.
Result<void> take_plugin(const ConfigNode& key, const ConfigNode* name, PluginConfig& config) {
  if (!name || name->word.empty()) return key.fail("'plugin' needs the name of a plugin");
  if (!name->has_block || name->children.size() != 1)
    return name->fail("'plugin " + name->word + "' needs { enable }, { disable } or { required }");
  const ConfigNode& word = name->children.front();
  PluginChoice choice = PluginChoice::kEnable;
  if (word.word == "disable")
    choice = PluginChoice::kDisable;
  else if (word.word == "required")
    choice = PluginChoice::kRequired;
  else if (word.word != "enable")
    return ConfigReader(*name).unknown(word, {"enable", "disable", "required"});
  if (name->word != "default") {
    config.choices[without_suffix(name->word)] = choice;
    return {};
  }
  if (choice == PluginChoice::kRequired)
    return word.fail("'plugin default' is enable or disable; a plugin is required by its name");
  config.default_choice = choice;
  return {};
}

}  // namespace

Result<PluginConfig> parse_plugin_config(const ConfigNode& stanza) {
  PluginConfig config;
  ConfigReader in(stanza);
  while (const ConfigNode* w = in.next()) {
    if (w->word == "path") {
      const auto path = in.text(*w);
      if (!path) return path.error();
      append_paths(*path, config.paths);
    } else if (w->word == "plugin") {
      const auto taken = take_plugin(*w, in.next(), config);
      if (!taken) return taken.error();
    } else {
      return in.unknown(*w, {"path", "plugin"});
    }
  }
  return config;
}

}  // namespace loom
