// /sys/session/...: sessions of each worker and in all, flows in the lookup tables, listeners and
// applications, as they are now.
#include "session/session_layer.h"
#include "stats/publisher.h"

namespace loom {
namespace {

class SessionPublisher : public StatsPublisher {
 public:
  explicit SessionPublisher(SessionLayer& sessions) : sessions_(sessions) {}

  Result<void> open(StatsSegment& segment) override {
    const auto n = static_cast<uint32_t>(sessions_.stats().per_worker.size());
    const auto id = segment.add_simple("/sys/session/sessions_per_worker", 1, n);
    if (!id) return id.error();
    per_worker_ = *id;
    for (std::size_t i = 0; i < std::size(kScalars); ++i) {
      const auto scalar = segment.add_scalar(std::string("/sys/session/") + kScalars[i]);
      if (!scalar) return scalar.error();
      scalars_[i] = *scalar;
    }
    return {};
  }

  Result<void> publish(StatsSegment& segment, const StatsTick&) override {
    const SessionStats s = sessions_.stats();
    uint64_t total = 0;
    for (uint32_t w = 0; w < s.per_worker.size(); ++w) {
      total += s.per_worker[w];
      segment.set(per_worker_, 0, w, uint64_t{s.per_worker[w]});
    }
    std::size_t at = 0;
    for (const uint64_t value : {total, s.established, s.half_open, s.listeners, s.applications})
      segment.set(scalars_[at++], value);
    return {};
  }

 private:
  static constexpr const char* kScalars[] = {"sessions_total", "established_flows",
                                             "half_open_flows", "listeners", "applications"};
  SessionLayer& sessions_;
  StatsSegment::Id per_worker_ = 0;
  StatsSegment::Id scalars_[std::size(kScalars)] = {};
};

}  // namespace

std::unique_ptr<StatsPublisher> publish_sessions(SessionLayer& sessions) {
  return std::make_unique<SessionPublisher>(sessions);
}

}  // namespace loom
