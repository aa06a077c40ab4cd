#include "config/stanza_registry.h"

#include <algorithm>
#include <string>

#include "config/core_config.h"

namespace loom {

const ConfigStanza* StanzaRegistry::find(std::string_view name) const {
  const auto it = std::ranges::find_if(stanzas_, [&](auto* s) { return name == s->name; });
  return it == stanzas_.end() ? nullptr : *it;
}

Result<void> StanzaRegistry::add(const ConfigStanza& stanza) {
  if (stanza.struct_size < sizeof(ConfigStanza) || !stanza.name || !*stanza.name || !stanza.apply)
    return error(Status::kInvalid, "a stanza needs a name and an apply function");
  const auto& core = config::core_stanzas();
  if (find(stanza.name) || std::ranges::find(core, stanza.name) != core.end())
    return error(Status::kExists, "stanza '" + std::string(stanza.name) + "' is taken");
  stanzas_.push_back(&stanza);
  return {};
}

Result<void> StanzaRegistry::check(const ConfigNode& file) const {
  std::vector<std::string_view> known = config::core_stanzas();
  for (const auto* stanza : stanzas_) known.push_back(stanza->name);
  for (const ConfigNode& node : file.children) {
    if (std::ranges::find(known, node.word) == known.end()) {
      const auto near = nearest_name(node.word, known);
      return node.fail("unknown stanza '" + node.word + "'" +
                       (near.empty() ? "; is the plugin that reads it loaded?"
                                     : "; did you mean '" + std::string(near) + "'?"));
    }
    if (!node.has_block) return node.fail("'" + node.word + "' needs a block: { ... }");
  }
  return {};
}

Result<void> StanzaRegistry::apply(const ConfigNode& file) const {
  for (const ConfigNode& node : file.children) {
    const ConfigStanza* stanza = find(node.word);
    if (!stanza) continue;
    auto applied = stanza->apply(stanza->context, node);
    if (!applied) return applied;
  }
  return {};
}

}  // namespace loom
