// What the plugin has, for its commands. Control thread.
#pragma once
#include <deque>
#include <memory>

#include "client.h"
#include "server.h"

namespace loom::perf {

struct Perf {
  explicit Perf(Host& host) : servers(host) {}
  Servers servers;
  std::deque<std::shared_ptr<Run>> runs;  // the newest last; those that are over, up to kKept
  uint32_t n_runs = 0;
  static constexpr std::size_t kKept = 8;
};

Result<void> register_commands(Host&, Perf&);

}  // namespace loom::perf
