// Who reads which top-level stanza of the start-up file. The core's stanzas are read into typed
// structs before anything starts (core_config.h); plugins add theirs while they are initialised,
// and have them applied afterwards. Control thread.
#pragma once
#include <string_view>
#include <vector>

#include <hostloom/config.h>

namespace loom {

class StanzaRegistry {
 public:
  // kExists when the name is taken, by the core too. The stanza must live as long as the registry.
  Result<void> add(const ConfigStanza& stanza);
  // Finds a reader for every stanza of the file; the first that has none is named with its line and
  // the nearest known name. Applies nothing.
  Result<void> check(const ConfigNode& file) const;
  // Hands every plugin stanza to its reader, in the file's order; a stanza given twice is read
  // twice.
  Result<void> apply(const ConfigNode& file) const;
  const std::vector<const ConfigStanza*>& stanzas() const { return stanzas_; }

 private:
  const ConfigStanza* find(std::string_view name) const;
  std::vector<const ConfigStanza*> stanzas_;
};

}  // namespace loom
