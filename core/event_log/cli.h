// The commands of the event log.
#pragma once
#include <string>

#include <hostloom/host.h>

namespace loom {

class Engine;

// Control thread. What the commands need; it outlives them.
struct EventLogCommands {
  Engine& engine;
  std::string directory;  // where files are saved
};
Result<void> register_event_log_commands(Host&, EventLogCommands&);

}  // namespace loom
