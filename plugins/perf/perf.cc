#include "perf.h"

namespace loom::perf {

Result<std::shared_ptr<Run>> Perf::begin(RunConfig config, Run::Done done) {
  if (auto r = complete(config); !r) return r.error();
  const auto run = std::make_shared<Run>(host, std::move(config), ++n_runs);
  if (auto r = run->start(std::move(done)); !r) return r.error();
  runs.push_back(run);
  std::size_t over = 0;
  for (const auto& r : runs) over += r->is_over();
  for (auto it = runs.begin(); over > kKept && it != runs.end();)
    if ((*it)->is_over()) {
      it = runs.erase(it);
      --over;
    } else {
      ++it;
    }
  return run;
}

void Perf::stop_runs() {
  for (const auto& run : runs) run->stop();
}

}  // namespace loom::perf
