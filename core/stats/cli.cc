// show statistics segment, show memory
#include "graph/engine.h"
#include "session/session_layer.h"
#include "stats/memory_use.h"
#include "stats/stats_service.h"

namespace loom {
namespace {

const char* type_name(stats::EntryType t) {
  switch (t) {
    case stats::EntryType::kScalar:
      return "scalar";
    case stats::EntryType::kSimple:
      return "simple";
    case stats::EntryType::kCombined:
      return "combined";
    case stats::EntryType::kNames:
      return "names";
    case stats::EntryType::kSymlink:
      return "symlink";
    case stats::EntryType::kIllegal:
    case stats::EntryType::kEmpty:
      break;
  }
  return "?";
}

Result<void> show_segment(Host&, void* context, CliArgs& args, CliReply& reply) {
  const auto& service = *static_cast<const StatsService*>(context);
  const bool is_verbose = args.accept("verbose");
  if (!args.done()) return args.unknown();
  const StatsSegment* s = service.segment();
  if (!s) return error(Status::kAgain, "the statistics segment is not open yet");
  const auto listing = s->list();
  char interval[32];
  std::snprintf(interval, sizeof interval, "%g", service.config().update_interval_s);
  reply.field("size", std::to_string(s->size()));
  reply.field("used", std::to_string(s->heap().used()));
  reply.field("free", std::to_string(s->heap().total() - s->heap().used()));
  reply.field("entries", std::to_string(listing.size()));
  reply.field("epoch", std::to_string(s->epoch()));
  reply.field("updates", std::to_string(service.updates()));
  reply.field("update-interval", interval);
  reply.field("per-node-counters", service.config().per_node_counters ? "on" : "off");
  reply.field("handed out", std::to_string(service.handed_out()));
  CliTable& table = reply.table("statistics", {"name", "type", "rows", "columns", "bytes"});
  for (const auto& l : listing) {
    // A node has several symlinks each; they take no room but their slot.
    if (l.type == stats::EntryType::kSymlink && !is_verbose) continue;
    const bool has_rows = l.rows != 0;
    table.rows.push_back({l.name, type_name(l.type), has_rows ? std::to_string(l.rows) : "",
                          l.columns ? std::to_string(l.columns) : "", std::to_string(l.bytes)});
  }
  return {};
}

Result<void> show_memory(Host&, void* context, CliArgs& args, CliReply& reply) {
  const auto& service = *static_cast<const StatsService*>(context);
  if (!args.done()) return args.unknown();
  CliTable& table = reply.table("memory", {"area", "total", "used", "free"});
  const auto row = [&](std::string area, const MemoryUse& use) {
    table.rows.push_back({std::move(area), std::to_string(use.total), std::to_string(use.used),
                          std::to_string(use.free)});
  };
  row("process", process_use());
  row("main heap", main_heap_use());
  for (const BufferPool* pool : service.parts().engine.buffer_pools())
    row("buffer pool " + std::to_string(pool->index()), buffer_use(service.parts().engine, *pool));
  const SessionStats sessions = service.parts().sessions.stats();
  row("application segments", {.total = sessions.segment_bytes,
                               .used = sessions.segment_used_bytes,
                               .free = sessions.segment_bytes - sessions.segment_used_bytes});
  if (const StatsSegment* s = service.segment()) row("statistics segment", segment_use(s->heap()));
  return {};
}

}  // namespace

Result<void> register_stats_commands(Host& host, StatsService& service) {
  const CliCommand commands[] = {
      {.path = "show statistics segment",
       .syntax = "[verbose]",
       .help = "Names and sizes of what the statistics segment holds; verbose: symlinks too.",
       .context = &service,
       .run = show_segment},
      {.path = "show memory",
       .syntax = "",
       .help = "Bytes that the daemon has, by what they are for; used of the process: resident.",
       .context = &service,
       .run = show_memory}};
  for (const CliCommand& command : commands)
    if (auto added = host.add_cli_command(command); !added) return added;
  return {};
}

}  // namespace loom
