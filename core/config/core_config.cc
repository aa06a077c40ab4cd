#include "config/core_config.h"

#include <bit>
#include <cstdlib>

#include "config/key_table.h"

namespace loom::config {
namespace {

using In = ConfigReader&;
using At = const ConfigNode&;
using Done = Result<void>;

constexpr uint64_t kKilobyte = 1u << 10, kMegabyte = 1u << 20, kTerabyte = 1ull << 40;
constexpr uint32_t kMostSpinUs = 1000;
constexpr uint32_t kMaxWorkers = 16;  // what an application's attach reply has room for

// Keys whose value is checked for being there, or for its form, and then forgotten.
Done ignore_text(In in, At key, Core&) {
  std::string ignored;
  return take_text(in, key, ignored);
}
Done ignore_number(In in, At key, Core&) {
  uint64_t ignored;
  return take_number(in, key, ignored, 0, ~0ull);
}
Done ignore_size(In in, At key, Core&) {
  uint64_t ignored;
  return take_size(in, key, ignored, 0, ~0ull);
}

Done take_startup_file(In in, At key, Core& c) {
  return take_text(in, key, c.unix_.startup_files.emplace_back());
}

const Key<Core> kUnix[] = {
    {"nodaemon", [](In, At, Core& c) { return c.unix_.nodaemon = true, Done{}; }},
    {"interactive", [](In, At, Core& c) { return c.unix_.interactive = true, Done{}; }},
    {"log", [](In i, At k, Core& c) { return take_text(i, k, c.unix_.log); }},
    {"cli-listen", [](In i, At k, Core& c) { return take_text(i, k, c.unix_.cli_listen); }},
    {"runtime-dir", [](In i, At k, Core& c) { return take_text(i, k, c.unix_.runtime_dir); }},
    {"startup-config", take_startup_file},
    {"exec", take_startup_file},
    {"pidfile", [](In i, At k, Core& c) { return take_text(i, k, c.unix_.pidfile); }},
    {"gid",
     [](In i, At k, Core& c) -> Done {
       const auto group = take_group(i, k);
       if (!group) return group.error();
       c.unix_.gid = *group;
       return {};
     }},
    {"poll-sleep-usec", ignore_number},
    {"full-coredump"},
    {"coredump-size",
     [](In i, At k, Core& c) {
       const bool is_unlimited = i.peek() && i.peek()->word == "unlimited";
       return is_unlimited ? ignore_text(i, k, c) : ignore_size(i, k, c);
     }},
    {"nosyslog"},
    {"nobanner"},
    {"nocolor"},
    {"cli-no-banner"},
    {"cli-no-pager"},
    {"cli-line-mode"},
    {"cli-history-limit", ignore_number},
    {"cli-pager-buffer-limit", ignore_number},
    {"cli-prompt", ignore_text},
};

const Key<Core> kApiSegment[] = {
    {"prefix", ignore_text},
    {"gid",
     [](In i, At k, Core& c) -> Done {
       const auto group = take_group(i, k);
       if (!group) return group.error();
       c.sockets.api_gid = *group;
       return {};
     }},
    {"uid", ignore_text},
    {"baseva", ignore_number},
    {"global-size", ignore_size},
    {"global-pvt-heap-size", ignore_size},
    {"api-size", ignore_size},
    {"api-pvt-heap-size", ignore_size},
};

const Key<Core> kApiTrace[] = {
    {"on"}, {"enable"}, {"nitems", ignore_number}, {"save-api-table", ignore_text}};

const Key<Core> kSockSvr[] = {
    {"default"},
    {"socket-name", [](In i, At k, Core& c) { return take_text(i, k, c.sockets.api); }},
};

const Key<Core> kStatSeg[] = {
    {"default"},
    {"socket-name", [](In i, At k, Core& c) { return take_text(i, k, c.sockets.stats); }},
    {"size",
     [](In i, At k, Core& c) { return take_size(i, k, c.stats.size, kMegabyte, 1u << 30); }},
    {"page-size", ignore_text},
    {"update-interval",
     [](In i, At k, Core& c) -> Done {
       const auto word = i.text(k);
       if (!word) return word.error();
       char* end = nullptr;
       const double seconds = std::strtod(word->c_str(), &end);
       if (*end || !(seconds >= 0.1 && seconds <= 3600))
         return k.fail("'update-interval " + *word + "': seconds from 0.1 to 3600 are needed");
       c.stats.update_interval_s = seconds;
       return {};
     }},
    {"per-node-counters",
     [](In i, At k, Core& c) -> Done {
       const auto choice = take_choice(i, k, {"off", "on"});
       if (!choice) return choice.error();
       c.stats.per_node_counters = *choice == 1;
       return {};
     }},
};

const Key<Core> kCpu[] = {
    {"main-core",
     [](In i, At k, Core& c) -> Done {
       uint32_t core = 0;
       auto taken = take_number(i, k, core, 0, 1023);
       if (taken) c.cpu.main_core = core;
       return taken;
     }},
    {"workers",
     [](In i, At k, Core& c) -> Done {
       uint32_t n = 0;
       auto taken = take_number(i, k, n, 0, kMaxWorkers);
       if (!taken) return taken;
       c.cpu.workers = n ? n : 1;
       if (!c.cpu.worker_cores.empty() && c.cpu.workers != c.cpu.worker_cores.size())
         return k.fail("'workers' and 'corelist-workers' disagree");
       return {};
     }},
    {"corelist-workers",
     [](In i, At k, Core& c) -> Done {
       auto cores = take_core_list(i, k, kMaxWorkers);
       if (!cores) return cores.error();
       if (c.cpu.workers && c.cpu.workers != cores->size())
         return k.fail("'workers' and 'corelist-workers' disagree");
       c.cpu.workers = static_cast<uint32_t>(cores->size());
       c.cpu.worker_cores = std::move(*cores);
       return {};
     }},
    {"skip-cores",
     [](In i, At k, Core& c) { return take_number(i, k, c.cpu.skip_cores, 0, 1023); }},
    {"poll", [](In, At, Core& c) { return c.cpu.poll = true, Done{}; }},
    {"follow-applications",
     [](In i, At k, Core& c) -> Done {
       const auto choice = take_choice(i, k, {"off", "on"});
       if (!choice) return choice.error();
       c.cpu.follow = *choice == 1;
       return {};
     }},
    {"spin-us",
     [](In i, At k, Core& c) { return take_number(i, k, c.cpu.spin_us, 0, kMostSpinUs); }},
    {"scheduler-policy", ignore_text},
    {"scheduler-priority", ignore_number},
    {"translate"},
};

const Key<Core> kMemory[] = {{"main-heap-size", ignore_size},
                             {"main-heap-page-size", ignore_text},
                             {"default-hugepage-size", ignore_text}};

const Key<Core> kBuffers[] = {
    {"buffers-per-numa",
     [](In i, At k, Core& c) { return take_number(i, k, c.buffers.per_numa, 1024, 16u << 20); }},
    {"default"},
    {"data-size",
     [](In i, At k, Core& c) { return take_size(i, k, c.buffers.data_size, 512, 64 * kKilobyte); }},
    {"page-size",
     [](In i, At k, Core& c) -> Done {
       const std::string_view word = i.peek() ? std::string_view(i.peek()->word) : "";
       if (word == "default" || word == "default-hugepage") return ignore_text(i, k, c);
       auto taken = take_size(i, k, c.buffers.page_size, 4 * kKilobyte, 1u << 30);
       if (taken && !std::has_single_bit(c.buffers.page_size))
         return k.fail("'page-size' is a power of two");
       return taken;
     }},
};

Done take_queue_length(In in, At key, Core& c) {
  uint32_t n = 0;
  auto taken = take_size(in, key, n, 16, kMegabyte);
  if (taken) c.session.event_queue_length = std::bit_ceil(n);
  return taken;
}

template <uint32_t SessionConfig::*kField>
Done take_buckets(In in, At key, Core& c) {
  uint32_t n = 0;
  auto taken = take_size(in, key, n, 1, 1u << 28);
  if (taken) c.session.*kField = std::bit_ceil(n);
  return taken;
}

template <uint16_t SessionConfig::*kField>
Done take_port(In in, At key, Core& c) {
  return take_number(in, key, c.session.*kField, 1, 65535);
}

const Key<Core> kSession[] = {
    {"enable"},
    {"evt-q-length", take_queue_length},
    {"event-queue-length", take_queue_length},
    {"wrk-mq-length", take_queue_length},
    {"segment-size",
     [](In i, At k, Core& c) {
       return take_size(i, k, c.session.segment_size, kMegabyte, kTerabyte);
     }},
    {"add-segment-size",
     [](In i, At k, Core& c) {
       return take_size(i, k, c.session.add_segment_size, kMegabyte, kTerabyte);
     }},
    {"preallocated-sessions",
     [](In i, At k, Core& c) {
       return take_size(i, k, c.session.preallocated_sessions, 0, 1u << 28);
     }},
    {"spread-flows", [](In, At, Core& c) { return c.session.spread_flows = true, Done{}; }},
    {"v4-session-table-buckets", take_buckets<&SessionConfig::v4_session_buckets>},
    {"v6-session-table-buckets", take_buckets<&SessionConfig::v6_session_buckets>},
    {"v4-halfopen-table-buckets", take_buckets<&SessionConfig::v4_halfopen_buckets>},
    {"v6-halfopen-table-buckets", take_buckets<&SessionConfig::v6_halfopen_buckets>},
    {"min-src-port", take_port<&SessionConfig::min_src_port>},
    {"max-src-port", take_port<&SessionConfig::max_src_port>},
    {"rt-backend",
     [](In i, At k, Core&) -> Done {
       const auto choice = take_choice(i, k, {"rule-table", "sdl"});
       if (!choice) return choice.error();
       return {};
     }},
    {"v4-session-table-memory", ignore_size},
    {"v6-session-table-memory", ignore_size},
    {"v4-halfopen-table-memory", ignore_size},
    {"v6-halfopen-table-memory", ignore_size},
    {"local-endpoints-table-buckets", ignore_size},
    {"local-endpoints-table-memory", ignore_size},
    {"evt_qs_memfd_seg"},
    {"evt_qs_seg_size", ignore_size},
    {"segment-baseva", ignore_number},
    {"use-app-socket-api"},
    {"poll-main"},
    {"use-private-rx-mqs"},
    {"no-adaptive"},
    {"use-dma"},
};

Done take_level(In in, At key, Core& c) {
  static const std::vector<std::string_view> names{"debug", "info",     "notice", "warn",
                                                   "err",   "error",    "crit",   "alert",
                                                   "emerg", "disabled", "warning"};
  static constexpr LogLevel kLevels[] = {LogLevel::kDebug, LogLevel::kInfo,  LogLevel::kNotice,
                                         LogLevel::kWarn,  LogLevel::kError, LogLevel::kError,
                                         LogLevel::kError, LogLevel::kError, LogLevel::kError,
                                         LogLevel::kError, LogLevel::kWarn};
  const auto choice = take_choice(in, key, names);
  if (!choice) return choice.error();
  c.logging.default_level = kLevels[*choice];
  return {};
}

const Key<Core> kLogging[] = {{"default-log-level", take_level},
                              {"default-syslog-log-level", ignore_text},
                              {"size", ignore_size},
                              {"unthrottle-time", ignore_number}};

// plugins: read by parse_plugin_config(), which the daemon calls.
struct StanzaKeys {
  std::string_view name;
  std::span<const Key<Core>> keys;
};
const StanzaKeys kStanzas[] = {{"unix", kUnix},          {"api-segment", kApiSegment},
                               {"api-trace", kApiTrace}, {"socksvr", kSockSvr},
                               {"statseg", kStatSeg},    {"cpu", kCpu},
                               {"memory", kMemory},      {"buffers", kBuffers},
                               {"session", kSession},    {"logging", kLogging}};

}  // namespace

const std::vector<std::string_view>& core_stanzas() {
  static const std::vector<std::string_view> names = [] {
    std::vector<std::string_view> all{"plugins"};
    for (const auto& s : kStanzas) all.push_back(s.name);
    return all;
  }();
  return names;
}

ConfigNode merged_stanza(const ConfigNode& file, std::string_view name) {
  ConfigNode merged;
  merged.word = name;
  merged.file = file.file;
  merged.has_block = true;
  for (const ConfigNode& node : file.children) {
    if (node.word != name) continue;
    if (!merged.line) merged.line = node.line;
    merged.children.insert(merged.children.end(), node.children.begin(), node.children.end());
  }
  return merged;
}

Result<Core> read_core(const ConfigNode& file) {
  Core core;
  core.cpu.workers = 0;
  for (const ConfigNode& node : file.children)
    for (const auto& stanza : kStanzas) {
      if (stanza.name != node.word) continue;
      const auto read = read_stanza(node, stanza.keys, core);
      if (!read) return read.error();
      if (core.session.min_src_port > core.session.max_src_port)
        return node.fail("min-src-port " + std::to_string(core.session.min_src_port) +
                         " is above max-src-port " + std::to_string(core.session.max_src_port));
    }
  if (core.cpu.workers == 0) core.cpu.workers = 1;
  return core;
}

}  // namespace loom::config
