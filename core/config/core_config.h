// The core's own stanzas of the start-up file, read into typed values. Nothing is started or
// created here: a file that does not read is refused before the daemon does anything. README.md
// lists the keys that are accepted and have no effect.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <hostloom/config.h>
#include <hostloom/host.h>

#include "session/session_config.h"
#include "stats/stats_config.h"

namespace loom::config {

// Empty paths mean "below the runtime directory"; the daemon fills them in.

struct Unix {
  bool nodaemon = false;     // stay in the foreground
  bool interactive = false;  // stay in the foreground with a command line on the terminal
  std::string
      log;  // file; empty = stderr in the foreground, else hostloom.log below the runtime directory
  std::string cli_listen;  // plain text command socket; empty = none
  std::string runtime_dir;
  std::vector<std::string> startup_files;  // startup-config and exec, in the file's order
  std::string pidfile;
  std::optional<uint32_t> gid;  // group of the daemon's sockets
};

struct Sockets {
  std::string api;                  // socksvr { socket-name PATH }
  std::optional<uint32_t> api_gid;  // api-segment { gid GROUP }; unix { gid } when absent
  std::string stats;                // statseg { socket-name PATH }
};

struct Cpu {
  std::optional<uint32_t> main_core;
  uint32_t workers = 1;
  std::vector<uint32_t> worker_cores;  // corelist-workers; as many as workers, or empty
  uint32_t skip_cores = 0;
  bool poll = false;   // workers never sleep
  bool follow = true;  // workers that are not pinned go to who wakes them
  uint32_t spin_us = 50;  // for how long a worker looks on before it sleeps, where that pays
};

struct Buffers {
  uint32_t per_numa = 16384;
  uint32_t data_size = 2048;  // bytes
  uint64_t page_size = 0;     // bytes; 0 = huge pages when there are any
};

struct Logging {
  LogLevel default_level = LogLevel::kInfo;
};

struct Core {
  Unix unix_;
  Sockets sockets;
  StatsConfig stats;
  Cpu cpu;
  Buffers buffers;
  SessionConfig session;  // runtime_dir is the daemon's to fill in
  Logging logging;
};

// Names of the core's stanzas. `plugins` is one, and is read by core/plugin/.
const std::vector<std::string_view>& core_stanzas();
// All words of the stanzas of that name as one stanza; line 0 when there is none.
ConfigNode merged_stanza(const ConfigNode& file, std::string_view name);
// Reads the core's stanzas of a file and leaves the others alone. Errors: "FILE:LINE: ...", with
// the nearest known key or value.
Result<Core> read_core(const ConfigNode& file);

}  // namespace loom::config
