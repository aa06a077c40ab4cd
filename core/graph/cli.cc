#include "graph/cli.h"

#include <cstdarg>
#include <cstdio>

#include "graph/engine.h"

namespace loom {
namespace {

constexpr std::size_t kDefaultTraceShown = 50;
constexpr uint32_t kDefaultCaptured = 1000;
constexpr const char* kDefaultCaptureFile = "/tmp/rxtx.pcap";

Engine& engine_of(void* context) { return *static_cast<Engine*>(context); }

[[gnu::format(printf, 1, 2)]] std::string format(const char* how, ...) {
  char text[128];
  va_list args;
  va_start(args, how);
  std::vsnprintf(text, sizeof text, how, args);
  va_end(args);
  return text;
}
std::string ratio(uint64_t a, uint64_t b) {
  return b ? format("%.2f", static_cast<double>(a) / static_cast<double>(b)) : "-";
}
std::string interface_text(uint32_t i) { return i == kNoIndex ? "-" : std::to_string(i); }

Result<void> no_more(const CliArgs& args) {
  if (!args.done()) return args.unknown();
  return {};
}

const char* severity_name(Severity s) {
  switch (s) {
    case Severity::kInfo:
      return "info";
    case Severity::kWarn:
      return "warn";
    case Severity::kError:
      return "error";
  }
  return "?";
}

Result<void> show_runtime(Host&, void* context, CliArgs& args, CliReply& reply) {
  Engine& e = engine_of(context);
  if (auto ok = no_more(args); !ok) return ok;
  for (uint32_t w = 0; w < e.n_workers(); ++w) {
    auto& table = reply.table("worker " + std::to_string(w),
                              {"name", "calls", "vectors", "clocks/vector", "vectors/call"});
    for (const NodeStats& s : e.stats().nodes(w)) {
      if (s.calls == 0) continue;
      table.rows.push_back({e.nodes()[s.node].info.name, std::to_string(s.calls),
                            std::to_string(s.packets), ratio(s.clocks, s.packets),
                            ratio(s.packets, s.calls)});
    }
  }
  return {};
}

Result<void> show_rounds(Host&, void* context, CliArgs& args, CliReply& reply) {
  Engine& e = engine_of(context);
  if (auto ok = no_more(args); !ok) return ok;
  auto& table =
      reply.table("rounds", {"worker", "measured", "over-1ms", "longest-own-us", "wall-us",
                             "cpu-us", "preempted", "waited", "minor-faults", "major-faults"});
  for (uint32_t w = 0; w < e.n_workers(); ++w) {
    const RoundCosts costs = e.stats().rounds(w);
    const RoundCost& c = costs.longest;
    table.rows.push_back(
        {std::to_string(w), costs.is_on ? "yes" : "no", std::to_string(costs.long_own),
         std::to_string(c.own() / kMicrosecond), std::to_string(c.wall / kMicrosecond),
         std::to_string(c.cpu / kMicrosecond), std::to_string(c.preempted),
         std::to_string(c.waited), std::to_string(c.minor_faults), std::to_string(c.major_faults)});
  }
  return {};
}

Result<void> set_rounds(Host&, void* context, CliArgs& args, CliReply&) {
  const bool on = args.accept("on");
  if (!on && !args.accept("off"))
    return args.done() ? error(Status::kInvalid, "on or off?") : args.unknown();
  if (auto ok = no_more(args); !ok) return ok;
  engine_of(context).stats().measure_rounds(on);
  return {};
}

Result<void> clear_runtime(Host&, void* context, CliArgs& args, CliReply&) {
  if (auto ok = no_more(args); !ok) return ok;
  engine_of(context).stats().clear_runtime();
  return {};
}

Result<void> show_errors(Host&, void* context, CliArgs& args, CliReply& reply) {
  Engine& e = engine_of(context);
  if (auto ok = no_more(args); !ok) return ok;
  auto& table = reply.table("errors", {"count", "node", "reason", "severity", "meaning"});
  for (const CounterValue& c : e.stats().counters()) {
    if (c.value == 0) continue;
    const NodeInfo& node = e.nodes()[c.node].info;
    const CounterInfo& counter = node.counters[c.counter];
    table.rows.push_back({std::to_string(c.value), node.name, counter.name,
                          severity_name(counter.severity), counter.help});
  }
  return {};
}

Result<void> clear_errors(Host&, void* context, CliArgs& args, CliReply&) {
  if (auto ok = no_more(args); !ok) return ok;
  engine_of(context).stats().clear_counters();
  return {};
}

Result<void> show_buffers(Host&, void* context, CliArgs& args, CliReply& reply) {
  Engine& e = engine_of(context);
  if (auto ok = no_more(args); !ok) return ok;
  auto& table = reply.table("pools", {"pool", "numa", "page-size", "data-size", "total", "free",
                                      "cached", "in-use", "exhausted"});
  for (const BufferPool* pool : e.buffer_pools()) {
    const auto s = pool->stats();
    uint32_t cached = 0;
    for (uint32_t w = 0; w < e.n_workers(); ++w)
      if (&e.pool_of(w) == pool) cached += e.stats().worker(w).cached_buffers;
    // The three are not read at one instant.
    const uint32_t idle = s.free + cached;
    table.rows.push_back(
        {std::to_string(pool->index()), s.numa_node < 0 ? "-" : std::to_string(s.numa_node),
         std::to_string(s.page_size), std::to_string(s.data_size), std::to_string(s.total),
         std::to_string(s.free), std::to_string(cached),
         std::to_string(s.total > idle ? s.total - idle : 0), std::to_string(s.exhausted)});
  }
  return {};
}

Result<void> show_threads(Host&, void* context, CliArgs& args, CliReply& reply) {
  Engine& e = engine_of(context);
  if (auto ok = no_more(args); !ok) return ok;
  auto& table = reply.table("threads", {"id", "name", "lwp", "core", "state", "rounds", "busy",
                                        "sleeps", "asleep-seconds", "looked-on-seconds",
                                        "cached-buffers", "longest-round-us", "rounds-over-1ms"});
  for (uint32_t w = 0; w < e.n_workers(); ++w) {
    const WorkerStats s = e.stats().worker(w);
    table.rows.push_back(
        {std::to_string(w), "loom-w" + std::to_string(w), std::to_string(s.thread_id),
         s.core >= 0     ? std::to_string(s.core)
         : s.beside >= 0 ? "beside " + std::to_string(s.beside)
                         : "-",
         !e.is_running() ? "stopped"
         : s.is_asleep   ? "asleep"
                         : "running",
         std::to_string(s.rounds), std::to_string(s.busy_rounds), std::to_string(s.sleeps),
         format("%.3f", to_seconds(s.asleep)), format("%.3f", to_seconds(s.looked_on)),
         std::to_string(s.cached_buffers), std::to_string(s.longest_round / kMicrosecond),
         std::to_string(s.long_rounds)});
  }
  return {};
}

Result<void> show_graph(Host&, void* context, CliArgs& args, CliReply& reply) {
  Engine& e = engine_of(context);
  const std::string_view only = args.next();
  if (auto ok = no_more(args); !ok) return ok;
  if (!only.empty() && e.find_node(only) == kNoNode)
    return error(Status::kNotFound, "no node '" + std::string(only) + "'");
  auto& table = reply.table("nodes", {"node", "kind", "next"});
  for (std::size_t i = 0; i < e.nodes().size(); ++i) {
    const auto& node = e.nodes()[static_cast<NodeId>(i)];
    if (!only.empty() && node.info.name != only) continue;
    std::string next;
    for (const NodeId to : node.next)
      next.append(next.empty() ? "" : " ").append(to == kNoNode ? "?" : e.nodes()[to].info.name);
    table.rows.push_back({node.info.name,
                          !node.info.run                       ? "name"
                          : node.info.kind == NodeKind::kInput ? "input"
                                                               : "internal",
                          next});
  }
  return {};
}

Result<void> show_features(Host&, void* context, CliArgs& args, CliReply& reply) {
  Engine& e = engine_of(context);
  if (auto ok = no_more(args); !ok) return ok;
  auto& arcs = reply.table("arcs", {"arc", "features in order"});
  for (const auto& arc : e.features().names()) {
    std::string order;
    for (const auto& node : e.features().order(arc))
      order.append(order.empty() ? "" : " ").append(node);
    arcs.rows.push_back({arc, order});
  }
  auto& enabled = reply.table("enabled", {"interface", "arc", "feature"});
  for (const auto& f : e.features().enabled())
    enabled.rows.push_back({std::to_string(f.interface), f.arc, f.node});
  return {};
}

Result<void> trace_add(Host&, void* context, CliArgs& args, CliReply&) {
  auto node = args.text("node");
  if (!node) return std::move(node).error();
  auto n = args.number("packet count", 1, 10'000);
  if (!n) return std::move(n).error();
  if (auto ok = no_more(args); !ok) return ok;
  return engine_of(context).trace().add(*node, static_cast<uint32_t>(*n));
}

Result<void> show_trace(Host&, void* context, CliArgs& args, CliReply& reply) {
  Engine& e = engine_of(context);
  std::size_t most = kDefaultTraceShown;
  if (args.accept("max")) {
    auto n = args.number("max", 1, 1'000'000);
    if (!n) return std::move(n).error();
    most = *n;
  }
  if (auto ok = no_more(args); !ok) return ok;
  std::size_t number = 0;
  for (const auto& packet : e.trace().packets(most)) {
    auto& table = reply.table(
        "packet " + std::to_string(++number) + ", worker " + std::to_string(packet.worker),
        {"time", "node", "rx-if", "tx-if", "bytes", "detail"});
    for (const auto& v : packet.visits)
      table.rows.push_back({format("%.6f", to_seconds(v.time)), v.node, interface_text(v.rx_if),
                            interface_text(v.tx_if), std::to_string(v.length), v.detail});
  }
  if (number == 0) reply.line("no packets traced");
  if (const uint64_t lost = e.trace().lost())
    reply.line(std::to_string(lost) + " node visits were lost: the trace is full");
  return {};
}

Result<void> clear_trace(Host&, void* context, CliArgs& args, CliReply&) {
  if (auto ok = no_more(args); !ok) return ok;
  engine_of(context).trace().clear();
  return {};
}

Result<void> pcap_off(Engine& e, CliReply& reply) {
  const auto progress = e.pcap().progress();
  auto written = e.pcap().end();
  if (!written) return std::move(written).error();
  reply.line("wrote " + std::to_string(*written) + " packets to " + progress.config.file + ", " +
             std::to_string(progress.lost) + " more did not fit");
  return {};
}

Result<void> pcap_trace(Host& host, void* context, CliArgs& args, CliReply& reply) {
  Engine& e = engine_of(context);
  PcapConfig config{.max_packets = kDefaultCaptured, .file = kDefaultCaptureFile};
  while (!args.done()) {
    if (args.accept("off")) {
      if (auto ok = no_more(args); !ok) return ok;
      return pcap_off(e, reply);
    } else if (args.accept("status")) {
      const auto p = e.pcap().progress();
      reply.line(!p.running ? "no capture is running"
                            : "capturing to " + p.config.file + ": " + std::to_string(p.captured) +
                                  " packets, " + std::to_string(p.lost) + " did not fit");
      return no_more(args);
    } else if (args.accept("rx")) {
      config.points |= kPcapRx;
    } else if (args.accept("tx")) {
      config.points |= kPcapTx;
    } else if (args.accept("drop")) {
      config.points |= kPcapDrop;
    } else if (args.accept("max")) {
      auto n = args.number("max", 1, 1'000'000);
      if (!n) return std::move(n).error();
      config.max_packets = static_cast<uint32_t>(*n);
    } else if (args.accept("file")) {
      auto file = args.text("file name");
      if (!file) return std::move(file).error();
      config.file = *file;
    } else if (args.accept("intfc")) {
      auto name = args.text("interface");
      if (!name) return std::move(name).error();
      if (*name == "any") continue;
      config.interface = host.find_interface(std::string(*name).c_str());
      if (config.interface == kNoIndex)
        return error(Status::kNotFound, "no interface '" + std::string(*name) + "'");
    } else {
      return args.unknown();
    }
  }
  return e.pcap().begin(config);
}

constexpr CliCommand kCommands[] = {
    {.path = "show runtime",
     .syntax = "",
     .help = "Calls, packets and CPU clocks of each node, per worker.",
     .run = show_runtime},
    {.path = "clear runtime",
     .syntax = "",
     .help = "Starts the figures of show runtime from zero.",
     .run = clear_runtime},
    {.path = "show rounds",
     .syntax = "",
     .help = "The longest round of each worker, and what it is made of; see set rounds.",
     .run = show_rounds},
    {.path = "set rounds",
     .syntax = "on|off",
     .help = "Whether the kernel is asked around each round what it costs.",
     .run = set_rounds},
    {.path = "show errors",
     .syntax = "",
     .help = "What became of packets, by node: every counter that is not zero.",
     .run = show_errors},
    {.path = "show node counters",
     .syntax = "",
     .help = "The same as show errors.",
     .run = show_errors},
    {.path = "clear errors",
     .syntax = "",
     .help = "Starts the figures of show errors from zero.",
     .run = clear_errors},
    {.path = "show buffers",
     .syntax = "",
     .help = "Packet buffers, by pool: free, cached by workers, in use.",
     .run = show_buffers},
    {.path = "show threads",
     .syntax = "",
     .help = "Workers: where they run, how often they were busy and how long they slept.",
     .run = show_threads},
    {.path = "show graph",
     .syntax = "[NODE]",
     .help = "Nodes and their next nodes.",
     .run = show_graph},
    {.path = "show features",
     .syntax = "",
     .help = "Feature arcs, their features in order, and where they are enabled.",
     .run = show_features},
    {.path = "trace add",
     .syntax = "NODE N",
     .help = "Traces the next N packets of a node through the graph, on each worker.",
     .run = trace_add},
    {.path = "show trace",
     .syntax = "[max N]",
     .help = "The packets that were traced.",
     .run = show_trace},
    {.path = "clear trace",
     .syntax = "",
     .help = "Forgets traced packets and stops tracing.",
     .run = clear_trace},
    {.path = "pcap trace",
     .syntax = "[rx] [tx] [drop] [max N] [file F] [intfc INTERFACE|any] | off | status",
     .help = "Captures packets; off writes them to the file.",
     .run = pcap_trace},
};

}  // namespace

Result<void> register_graph_commands(Host& host, Engine& engine) {
  for (const CliCommand& command : kCommands)
    if (auto ok = host.add_cli_command(engine.own_command(command)); !ok) return ok;
  return {};
}

}  // namespace loom
