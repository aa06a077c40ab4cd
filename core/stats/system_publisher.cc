// /sys/...: the daemon as a whole and the load of its workers.
//
// What VPP calls "per worker" is one row with a column for each worker, and so it is here:
//   vector_rate_per_worker   packets per call of internal nodes, in the last interval
//   loops_per_worker         rounds per second, in the last interval; 0 = it sleeps
//   rounds_per_worker, busy_rounds_per_worker, sleeps_per_worker, asleep_ns_per_worker
//                            ours, since the start
#include <algorithm>
#include <ctime>

#include "graph/engine.h"
#include "stats/publisher.h"

namespace loom {
namespace {

enum PerWorker { kVectorRate, kLoops, kRounds, kBusyRounds, kSleeps, kAsleep, kPerWorkerCount };
constexpr const char* kPerWorkerNames[kPerWorkerCount] = {
    "/sys/vector_rate_per_worker", "/sys/loops_per_worker",  "/sys/rounds_per_worker",
    "/sys/busy_rounds_per_worker", "/sys/sleeps_per_worker", "/sys/asleep_ns_per_worker"};

class SystemPublisher : public StatsPublisher {
 public:
  explicit SystemPublisher(Engine& engine)
      : engine_(engine), before_(engine.n_workers()), started_(engine.clock_now()) {}

  Result<void> open(StatsSegment& segment) override {
    struct Scalar {
      const char* name;
      StatsSegment::Id* id;
    };
    StatsSegment::Id workers = StatsSegment::kNone;
    for (const Scalar& s :
         {Scalar{"/sys/num_worker_threads", &workers}, Scalar{"/sys/last_update", &last_update_},
          Scalar{"/sys/last_update_ns", &last_update_ns_},
          Scalar{"/sys/vector_rate", &vector_rate_}, Scalar{"/sys/input_rate", &input_rate_}}) {
      const auto id = segment.add_scalar(s.name);
      if (!id) return id.error();
      *s.id = *id;
    }
    for (int i = 0; i < kPerWorkerCount; ++i) {
      const auto id = segment.add_simple(kPerWorkerNames[i], 1, engine_.n_workers());
      if (!id) return id.error();
      per_worker_[i] = *id;
    }
    segment.set(workers, engine_.n_workers());
    segment.set(StatsSegment::kBootTime, static_cast<uint64_t>(std::time(nullptr)));
    return {};
  }

  Result<void> publish(StatsSegment& segment, const StatsTick& tick) override {
    double vector_rates = 0, input = 0;
    for (uint32_t w = 0; w < engine_.n_workers(); ++w) {
      Load now = load(w);
      // A sleep that ends between the reader's look at it and at the clock is a little too long.
      now.worker.asleep = std::max(now.worker.asleep, before_[w].worker.asleep);
      const Load old = std::exchange(before_[w], now);
      const uint64_t calls = now.calls - old.calls;
      const double rate =
          calls == 0 ? 0
                     : static_cast<double>(now.packets - old.packets) / static_cast<double>(calls);
      vector_rates += rate;
      if (tick.elapsed_s > 0) {
        input += static_cast<double>(now.input - old.input) / tick.elapsed_s;
        put(segment, kLoops, w,
            static_cast<double>(now.worker.rounds - old.worker.rounds) / tick.elapsed_s);
      }
      put(segment, kVectorRate, w, rate);
      segment.set(per_worker_[kRounds], 0, w, now.worker.rounds);
      segment.set(per_worker_[kBusyRounds], 0, w, now.worker.busy_rounds);
      segment.set(per_worker_[kSleeps], 0, w, now.worker.sleeps);
      segment.set(per_worker_[kAsleep], 0, w, static_cast<uint64_t>(now.worker.asleep));
    }
    segment.set(vector_rate_, static_cast<uint64_t>(vector_rates / engine_.n_workers()));
    segment.set(input_rate_, static_cast<uint64_t>(input));
    segment.set(last_update_, static_cast<uint64_t>((tick.now - started_) / kSecond));
    segment.set(last_update_ns_, static_cast<uint64_t>(tick.now));
    return {};
  }

 private:
  struct Load {
    WorkerStats worker{};
    uint64_t calls = 0, packets = 0;  // of internal nodes
    uint64_t input = 0;               // packets of drivers' nodes
  };

  void put(StatsSegment& segment, PerWorker what, uint32_t worker, double value) {
    segment.set(per_worker_[what], 0, worker, static_cast<uint64_t>(value));
  }

  Load load(uint32_t w) const {
    Load l{.worker = engine_.stats().worker(w)};
    for (std::size_t n = 0; n < engine_.nodes().size(); ++n) {
      const auto id = static_cast<NodeId>(n);
      const NodeInfo& info = engine_.nodes()[id].info;
      const NodeStats s = engine_.stats().node(w, id);
      if (!info.run) {  // only a name: what a driver received
        l.input += s.packets;
      } else if (info.kind == NodeKind::kInternal) {
        l.calls += s.calls;
        l.packets += s.packets;
      }
    }
    return l;
  }

  Engine& engine_;
  std::vector<Load> before_;  // by worker: the update before
  TimeNs started_;
  StatsSegment::Id last_update_ = 0, last_update_ns_ = 0, vector_rate_ = 0, input_rate_ = 0;
  StatsSegment::Id per_worker_[kPerWorkerCount] = {};
};

}  // namespace

std::unique_ptr<StatsPublisher> publish_system(Engine& engine) {
  return std::make_unique<SystemPublisher>(engine);
}

}  // namespace loom
