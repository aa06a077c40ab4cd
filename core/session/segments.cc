// Where applications' fifos and queues live: segments are added to an application when it comes and
// when it runs out. Control thread.
#include "session/impl.h"

namespace loom::session {
namespace {

constexpr uint32_t kMaxApps = 4096;
constexpr uint32_t kMaxSegmentsPerApp = 64;  // of each kind

Result<void> take_segment(App& app, uint64_t size) {
  return take_segment(app.memory, app.descriptors, app.address_space, size);
}

void give_back_segment(App& app, uint64_t size) noexcept {
  give_back_segment(app.memory, app.descriptors, app.address_space, size);
}

}  // namespace

Result<uint32_t> free_app_index(Impl& layer) {
  uint32_t index = 0;
  while (index < layer.apps.size() && layer.apps[index]) ++index;
  if (index == kMaxApps)
    return error(Status::kNoMemory,
                 "there are " + std::to_string(kMaxApps) + " applications already");
  if (index == layer.apps.size()) layer.apps.emplace_back();
  return index;
}

uint32_t fifo_size(uint32_t asked, uint32_t otherwise) noexcept {
  return (std::clamp(asked ? asked : otherwise, 4096u, 1u << 30) + 4095) & ~4095u;
}

Result<void> add_daemon_segment(App& app, uint64_t size) {
  if (app.arena.n_segments() >= kMaxSegmentsPerApp)
    return error(Status::kNoMemory, "application '" + app.name + "' has its " +
                                        std::to_string(kMaxSegmentsPerApp) + " segments");
  if (auto taken = take_segment(app, size); !taken) return taken;
  const auto failed = [&](const Error& e) {
    give_back_segment(app, size);
    return e;
  };
  auto s = app.owner->make_segment(size, svm::SegmentKind::kDaemonArena);
  if (!s) return failed(s.error());
  if (app.owner->in_this_process && !app.app_segments.add(**s))
    return failed(error(Status::kNoMemory, "no room for another segment"));
  if (!app.arena.add_segment(std::move(*s)))
    return failed(error(Status::kNoMemory, "no room for another segment"));
  return {};
}

Result<svm::Segment*> add_app_arena(App& app, uint64_t size) {
  if (app.app_arenas.size() >= kMaxSegmentsPerApp)
    return error(Status::kNoMemory, "application '" + app.name + "' has its " +
                                        std::to_string(kMaxSegmentsPerApp) + " segments");
  if (auto taken = take_segment(app, size); !taken) return taken.error();
  auto s = app.owner->make_segment(size, svm::SegmentKind::kAppArena);
  if (!s) {
    give_back_segment(app, size);
    return s.error();
  }
  app.app_arenas.push_back(std::move(*s));
  svm::Segment& segment = *app.app_arenas.back();
  if (!app.app_segments.add(segment) || !app.app_arena.add_segment(segment)) {
    app.app_segments.remove(segment.id());
    app.app_arenas.pop_back();
    give_back_segment(app, size);
    return error(Status::kNoMemory, "no room for another segment");
  }
  return &segment;
}

void grow(Impl& layer, App& app, svm::SegmentKind kind) {
  if (!app.detached) {
    // A worker that finds no memory asks again and again.
    const auto failed = [&](const Error& e) {
      if (!std::exchange(app.ns->is_short, true))
        layer.log(LogLevel::kWarn, "no more memory for '" + app.name + "': " + e.message);
    };
    if (kind == svm::SegmentKind::kDaemonArena) {
      if (auto r = add_daemon_segment(app, app.add_segment_size); !r) failed(r.error());
    } else if (auto r = add_app_arena(app, app.add_segment_size); !r) {
      failed(r.error());
    }
  }
  app.growth_asked.fetch_and(~(1u << static_cast<uint32_t>(kind)), std::memory_order_release);
}

}  // namespace loom::session
