// What the plugin has, and what its commands and messages have done. Control thread.
#pragma once
#include <deque>
#include <memory>

#include <hostloom/cli.h>

#include "client.h"
#include "held.h"
#include "server.h"

namespace loom::perf {

struct Perf {
  explicit Perf(Host& h) : host(h), servers(h) {}
  // Checks and starts; `done` is called when the run is over, or never when this fails.
  Result<std::shared_ptr<Run>> begin(RunConfig config, Run::Done done);
  void stop_runs();

  Host& host;
  Servers servers;
  std::deque<std::shared_ptr<Run>> runs;  // the newest last; those that are over, up to kKept
  uint32_t n_runs = 0;
  std::shared_ptr<Held> held;  // `perf sessions`; null: never
  static constexpr std::size_t kKept = 8;
};

Result<void> register_commands(Host&, Perf&);
// `perf client`. context: the Perf.
Result<void> client_command(Host&, void* context, CliArgs&, CliReply&);
Result<void> add_api(Host&, Perf&);

}  // namespace loom::perf
