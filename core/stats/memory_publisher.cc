// /buffer-pools/NAME/{cached,used,available,exhausted}: buffers of a pool in workers' caches, on
// their way, on the pool's list, and allocations that found too few. /mem/NAME: bytes, as columns
// of one row in VPP's order, and /mem/NAME/{total,used,free} by name; heaps are the process's own
// ("main heap"), the statistics segment ("stat segment"), and the pages of the whole ("process":
// used = resident).
#include "graph/engine.h"
#include "stats/memory_use.h"
#include "stats/publisher.h"

namespace loom {
namespace {

enum MemoryColumn { kTotal, kUsed, kFree, kUsedMmap, kTotalAlloc, kFreeChunks, kReleasable };
constexpr uint32_t kMemoryColumns = 7;
constexpr const char* kHeaps[] = {"main heap", "stat segment", "process"};
constexpr const char* kPoolStats[] = {"cached", "used", "available", "exhausted"};

class MemoryPublisher : public StatsPublisher {
 public:
  explicit MemoryPublisher(Engine& engine) : engine_(engine) {}

  Result<void> open(StatsSegment& segment) override {
    for (std::size_t i = 0; i < std::size(kHeaps); ++i) {
      const std::string name = std::string("/mem/") + kHeaps[i];
      const auto id = segment.add_simple(name, 1, kMemoryColumns);
      if (!id) return id.error();
      heaps_[i] = *id;
      const auto links = add_symlinks(segment, {{name + "/total", *id, kTotal},
                                                {name + "/used", *id, kUsed},
                                                {name + "/free", *id, kFree}});
      if (!links) return links.error();
    }
    for (const BufferPool* pool : engine_.buffer_pools()) {
      const std::string name = "/buffer-pools/default-numa-" +
                               std::to_string(std::max(pool->stats().numa_node, 0)) + "/";
      for (const char* what : kPoolStats) {
        const auto id = segment.add_scalar(name + what);
        if (!id) return id.error();
        pool_stats_.push_back(*id);
      }
    }
    return {};
  }

  Result<void> publish(StatsSegment& segment, const StatsTick&) override {
    publish_pools(segment);
    publish_heaps(segment);
    return {};
  }

 private:
  void publish_pools(StatsSegment& segment) {
    std::size_t at = 0;
    for (const BufferPool* pool : engine_.buffer_pools()) {
      const auto s = pool->stats();
      uint64_t cached = 0;
      for (uint32_t w = 0; w < engine_.n_workers(); ++w)
        if (&engine_.pool_of(w) == pool) cached += engine_.stats().worker(w).cached_buffers;
      // The workers go on while this is summed up.
      const uint64_t unused = std::min<uint64_t>(s.free + cached, s.total);
      for (const uint64_t value : {cached, s.total - unused, uint64_t{s.free}, s.exhausted})
        segment.set(pool_stats_[at++], value);
    }
  }

  void publish_heaps(StatsSegment& segment) {
    const MemoryUse uses[] = {main_heap_use(), segment_use(segment.heap()), process_use()};
    static_assert(std::size(uses) == std::size(kHeaps));
    for (std::size_t i = 0; i < std::size(kHeaps); ++i) {
      const auto put = [&](MemoryColumn column, uint64_t value) {
        segment.set(heaps_[i], 0, column, value);
      };
      put(kTotal, uses[i].total);
      put(kUsed, uses[i].used);
      put(kFree, uses[i].free);
      put(kUsedMmap, uses[i].used_mmap);
      put(kTotalAlloc, i == 0 ? uses[i].total : 0);
      put(kFreeChunks, uses[i].free_chunks);
      put(kReleasable, uses[i].releasable);
    }
  }

  Engine& engine_;
  StatsSegment::Id heaps_[std::size(kHeaps)] = {};
  std::vector<StatsSegment::Id> pool_stats_;
};

}  // namespace

std::unique_ptr<StatsPublisher> publish_memory(Engine& engine) {
  return std::make_unique<MemoryPublisher>(engine);
}

}  // namespace loom
