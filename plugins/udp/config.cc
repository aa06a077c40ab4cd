// The stanza `udp { }`.
#include "config.h"

namespace loom::udp {

const char kConfigHelp[] =
    "no-csum-offload              compute checksums in this plugin\n"
    "max-connections N            connected and bound ones of a worker";

Result<void> apply_config(void* context, const ConfigNode& stanza) {
  Config& c = *static_cast<Config*>(context);
  ConfigReader in(stanza);
  while (const ConfigNode* word = in.next()) {
    if (word->word == "no-csum-offload") {
      c.csum_offload = false;
    } else if (word->word == "max-connections") {
      const auto n = in.number(*word, 16, 1u << 24);
      if (!n) return n.error();
      c.max_connections = static_cast<uint32_t>(*n);
    } else {
      return in.unknown(*word, {"no-csum-offload", "max-connections"});
    }
  }
  return {};
}

}  // namespace loom::udp
