// The daemon's own messages, memclnt, vpe and vlib: who it is, what it speaks, the CLI over the
// API.
#pragma once
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include <hostloom/host.h>

#include "api/registry.h"

namespace loom {

class CliTree;

// What the handlers ask of the rest of the daemon. Control thread.
struct CoreApiParts {
  Host& host;
  const CliTree& cli;
  std::string version, build_date;
  std::function<double()> uptime_s;
  std::function<uint32_t(const std::string& name)> find_node;  // ~0u: none
  struct Node {
    std::string name;
    std::vector<uint32_t> next;  // by arc; ~0u: to no node
  };
  std::function<std::optional<Node>(uint32_t index)> node;  // none: neither it nor a later one
  struct Thread {
    std::string name, type;
    uint32_t pid;  // Linux thread id
    uint32_t cpu;  // ~0u: not pinned
  };
  std::function<std::vector<Thread>()> threads;
  struct LogLine {
    double time_s;  // since the start
    LogLevel level;
    std::string who, text;
  };
  std::function<std::vector<LogLine>()> log_lines;
  std::function<void(LogLevel, const std::string&)> log = nullptr;  // may be missing
};

// Adds the three modules first, since their numbers are fixed, and their handlers. The parts are
// copied; what they refer to outlives the registry.
Result<void> add_core_modules(ApiRegistry& registry);
void add_core_handlers(ApiRegistry& registry, CoreApiParts parts);

}  // namespace loom
