// Commands: show tcp stats, show tcp statistics, show tcp config, set tcp cc-algo. The numbers of
// the first are published as /sys/tcp/... too.
#include <algorithm>

#include <hostloom/worker_table.h>

#include "stats.h"
#include "tcp_worker.h"

namespace loom::tcp {
namespace {
struct StatRow {
  const char* name;
  StatCounter Stats::*value;
};
constexpr StatRow kStatRows[] = {
    {"active opens", &Stats::opened_active},
    {"passive opens", &Stats::opened_passive},
    {"retransmission timeouts", &Stats::timeouts},
    {"fast recoveries", &Stats::fast_recoveries},
    {"reneged scoreboards", &Stats::reneged},
    {"window probes", &Stats::persist_probes},
    {"connections timed out", &Stats::timed_out},
    {"connections dropped by keepalive", &Stats::keepalive_drops},
    {"handshakes expired", &Stats::half_open_expired},
    {"time-waits cut short", &Stats::time_wait_full},
    {"options ignored", &Stats::ignored_options},
    {"segments without buffer", &Stats::no_buffer},
};

constexpr const char* kSizes[] = {"connections", "half-open", "time-wait", "listeners"};
using Sizes = std::array<uint32_t, std::size(kSizes)>;

// Any thread.
Sizes sizes_of(const TcpWorker& t) {
  return {t.connections.size(), t.half_open.size(), t.time_waits.size(), t.listeners.size()};
}

Result<void> show_stats(Host& host, void*, CliArgs& args, CliReply& reply) {
  if (!args.done()) return args.unknown();
  const uint32_t workers = host.n_workers();
  std::vector<Stats> stats(workers);
  std::vector<Sizes> sizes(workers);
  for (uint32_t i = 0; i < workers; ++i)
    host.run_on_worker(i, [&](Worker& w) {
      TcpWorker& t = tcp_worker(w);
      stats[i] = t.stats;
      sizes[i] = sizes_of(t);
    });
  WorkerTable table(reply, "tcp", workers);
  for (std::size_t k = 0; k < std::size(kSizes); ++k)
    table.row(kSizes[k], [&](std::size_t i) { return sizes[i][k]; });
  for (const StatRow& r : kStatRows)
    table.row(r.name, [&](std::size_t i) -> uint64_t { return stats[i].*r.value; });
  return {};
}

Result<void> show_config(Host& host, void*, CliArgs& args, CliReply& reply) {
  if (!args.done()) return args.unknown();
  const Config& c = shared().config;
  const auto seconds = [](TimeNs t) { return std::to_string(t / kSecond) + " s"; };
  const auto ms = [](TimeNs t) { return std::to_string(t / kMillisecond) + " ms"; };
  const auto yes = [](bool b) { return std::string(b ? "on" : "off"); };
  const CcOps* cc = host.find_congestion_control("");
  reply.field("cc-algo", cc ? cc->name : c.cc_algo);
  reply.field("mtu", c.mtu ? std::to_string(c.mtu) : "of the route");
  reply.field("max-rx-fifo", std::to_string(c.max_rx_fifo));
  reply.field("tx-pacing", yes(c.pacing));
  reply.field("tso", yes(c.gso));
  reply.field("max-gso-size", std::to_string(c.max_gso_size));
  reply.field("csum-offload", yes(c.csum_offload));
  reply.field("initial-cwnd-multiplier", std::to_string(c.initial_cwnd));
  reply.field("max-connections", std::to_string(c.max_connections));
  reply.field("timestamps", yes(c.timestamps));
  reply.field("sack", yes(c.sack));
  reply.field("window-scaling", yes(c.window_scaling));
  reply.field("min-rto", ms(c.min_rto));
  reply.field("max-delack", ms(c.max_delack));
  reply.field("timewait-time", seconds(c.timewait_time));
  reply.field("closewait-time", c.closewait_time ? seconds(c.closewait_time) : "no limit");
  reply.field("finwait1-time", seconds(c.finwait1_time));
  reply.field("finwait2-time", seconds(c.finwait2_time));
  reply.field("keepalive-time", seconds(c.keepidle));
  reply.field("keepalive-interval", seconds(c.keepintvl));
  reply.field("keepalive-probes", std::to_string(c.keepcnt));
  reply.field("max-retransmits", std::to_string(c.max_retransmits));
  reply.field("max-syn-retransmits", std::to_string(c.max_syn_retransmits));
  return {};
}

Result<void> set_cc_algo(Host& host, void*, CliArgs& args, CliReply&) {
  const auto name = args.text("the controller's name");
  if (!name) return name.error();
  if (!args.done()) return args.unknown();
  return host.set_default_congestion_control(std::string(*name).c_str());
}

Result<IpAddress> address_of(CliArgs& args, std::string_view what) {
  const auto text = args.text(what);
  if (!text) return text.error();
  if (const auto a = IpAddress::parse(std::string(*text))) return *a;
  return error(Status::kInvalid, "'" + std::string(*text) + "' is not an IP address");
}

Result<void> src_address(Host& host, void*, CliArgs& args, CliReply&) {
  const bool forgets = args.accept("none");
  std::optional<IpAddress> first, last;
  if (!forgets) {
    const auto a = address_of(args, "first address");
    if (!a) return a.error();
    first = last = *a;
    if (args.accept("-")) {
      const auto b = address_of(args, "last address");
      if (!b) return b.error();
      last = *b;
    }
  }
  uint64_t table = 0;
  if (args.accept("table") || args.accept("fib-table")) {
    const auto n = args.number("routing table", 0, ~0u);
    if (!n) return n.error();
    table = *n;
  }
  if (!args.done()) return args.unknown();
  if (!forgets) return add_source_addresses(host, *first, *last, static_cast<uint32_t>(table));
  forget_source_addresses(host, static_cast<uint32_t>(table));
  return {};
}

Result<void> show_src_address(Host&, void*, CliArgs& args, CliReply& reply) {
  if (!args.done()) return args.unknown();
  CliTable& t = reply.table("source-addresses", {"table", "address"});
  for (const SourceAddresses::Set& s : shared().sources.sets())
    for (const IpAddress& a : s.addresses) t.rows.push_back({std::to_string(s.table), a.str()});
  return {};
}

constexpr CliCommand kSrcAddress{
    .path = "tcp src-address",
    .syntax = "A [- B] [table N] | none [table N]",
    .help =
        "Addresses that connections take in turn when their application names none; each becomes "
        "this host's. none: the route's source again.",
    .run = src_address};
constexpr CliCommand kShowSrcAddress{.path = "show tcp src-address",
                                     .syntax = "",
                                     .help = "The addresses of tcp src-address.",
                                     .run = show_src_address};
constexpr CliCommand kSetCcAlgo{.path = "set tcp cc-algo",
                                .syntax = "NAME",
                                .help = "The controller of new connections that ask for none.",
                                .run = set_cc_algo};
constexpr CliCommand kShowStats{.path = "show tcp stats",
                                .syntax = "",
                                .help = "Counts of connections and of events, for each worker.",
                                .run = show_stats};
constexpr CliCommand kShowStatistics{.path = "show tcp statistics",
                                     .syntax = "",
                                     .help = "The same as show tcp stats.",
                                     .run = show_stats};
constexpr CliCommand kShowConfig{.path = "show tcp config",
                                 .syntax = "",
                                 .help = "What the tcp stanza set, and the defaults of the rest.",
                                 .run = show_config};

std::string published_name(std::string name) {
  std::replace(name.begin(), name.end(), ' ', '-');
  return name;
}
}  // namespace

const std::vector<std::string>& stat_names() {
  static const std::vector<std::string> kNames = [] {
    std::vector<std::string> names(std::begin(kSizes), std::end(kSizes));
    for (const StatRow& r : kStatRows) names.push_back(published_name(r.name));
    return names;
  }();
  return kNames;
}

void read_stats(uint32_t worker, std::span<uint64_t> out) noexcept {
  const TcpWorker& t = *shared().workers[worker];
  std::size_t at = 0;
  for (const uint32_t n : sizes_of(t)) out[at++] = n;
  for (const StatRow& r : kStatRows) out[at++] = t.stats.*r.value;
}

Result<void> add_statistics(Host& host) {
  static std::vector<StatInfo> infos;
  if (infos.empty())
    for (std::size_t i = 0; i < stat_names().size(); ++i)
      infos.push_back({.name = stat_names()[i].c_str(),
                       .kind = i < std::size(kSizes) ? StatKind::kGauge : StatKind::kCounter});
  return host.add_stats({.prefix = "/sys/tcp",
                         .stats = infos,
                         .read = [](void*, uint32_t worker, std::span<uint64_t> out) noexcept {
                           read_stats(worker, out);
                         }});
}

Result<void> add_cli_commands(Host& host) {
  for (const CliCommand* command :
       {&kShowStats, &kShowStatistics, &kShowConfig, &kSetCcAlgo, &kSrcAddress, &kShowSrcAddress})
    if (auto r = host.add_cli_command(*command); !r) return r;
  return {};
}

}  // namespace loom::tcp
