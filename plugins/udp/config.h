// The stanza `udp { }`.
#pragma once
#include <hostloom/config.h>

namespace loom::udp {

struct Config {
  bool csum_offload = true;             // checksums are left to the interface, or to tx-offload
  uint32_t max_connections = 1u << 20;  // of a worker: connected and bound ones
};

// Control thread, before workers start. context: the Config.
Result<void> apply_config(void* context, const ConfigNode& stanza);
extern const char kConfigHelp[];

}  // namespace loom::udp
