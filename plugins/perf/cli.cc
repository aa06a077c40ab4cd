// perf server, perf client, echo server, show perf.
#include <cstdio>

#include "perf.h"

namespace loom::perf {
namespace {

constexpr TimeNs kDefaultRunTime = 10 * kSecond;
constexpr uint64_t kMostSeconds = 24 * 3600, kMostClients = 100'000;
constexpr uint64_t kLeastFifo = 4096, kMostFifo = 1u << 30;

Perf& perf_of(void* context) { return *static_cast<Perf*>(context); }

Result<std::string> take_uri(CliArgs& args) {
  if (!args.accept("uri")) return args.unknown();
  const auto uri = args.text("uri");
  if (!uri) return uri.error();
  return std::string(*uri);
}

// Takes `key N` when it is next.
Result<bool> take(CliArgs& args, std::string_view key, uint64_t least, uint64_t most, auto& out) {
  if (!args.accept(key)) return false;
  const auto n = args.number(key, least, most);
  if (!n) return n.error();
  out = static_cast<std::remove_reference_t<decltype(out)>>(*n);
  return true;
}

template <ServerKind kKind>
Result<void> server(Host&, void* context, CliArgs& args, CliReply&) {
  Servers& servers = perf_of(context).servers;
  const bool is_delete = args.accept("delete");
  const auto uri = take_uri(args);
  if (!uri) return uri.error();
  uint32_t fifo_size = 0;
  if (!is_delete)
    if (const auto r = take(args, "fifo-size", kLeastFifo, kMostFifo, fifo_size); !r)
      return r.error();
  if (!args.done()) return args.unknown();
  return is_delete ? servers.remove(kKind, *uri) : servers.add(kKind, *uri, fifo_size);
}

Result<RunConfig> run_config(CliArgs& args) {
  RunConfig c;
  const auto uri = take_uri(args);
  if (!uri) return uri.error();
  c.uri = *uri;
  auto endpoint = parse_app_uri(c.uri);
  if (!endpoint) return endpoint.error();
  c.endpoint = *endpoint;
  uint64_t seconds = 0;
  while (!args.done()) {
    if (args.accept("echo-bytes")) {
      c.echo = true;
      continue;
    }
    bool is_taken = false;
    const auto option = [&](std::string_view key, uint64_t least, uint64_t most,
                            auto& out) -> Result<void> {
      if (is_taken) return {};
      const auto r = take(args, key, least, most, out);
      if (!r) return r.error();
      is_taken = *r;
      return {};
    };
    auto done = option("run-time", 1, kMostSeconds, seconds);
    if (done) done = option("bytes", 1, ~0ull, c.bytes);
    if (done) done = option("nclients", 1, kMostClients, c.n_clients);
    if (done) done = option("fifo-size", kLeastFifo, kMostFifo, c.fifo_size);
    if (!done) return done.error();
    if (!is_taken) return args.unknown();
  }
  if (seconds != 0 && c.bytes != 0)
    return error(Status::kInvalid, "run-time and bytes exclude each other");
  c.run_time = static_cast<TimeNs>(seconds) * kSecond;
  if (seconds == 0 && c.bytes == 0) c.run_time = kDefaultRunTime;
  return c;
}

Result<void> client(Host& host, void* context, CliArgs& args, CliReply& reply) {
  Perf& perf = perf_of(context);
  if (args.accept("stop")) {
    if (!args.done()) return args.unknown();
    for (const auto& run : perf.runs) run->stop();
    return {};
  }
  auto config = run_config(args);
  if (!config) return config.error();
  const auto run = std::make_shared<Run>(host, std::move(*config), ++perf.n_runs);
  const auto later = reply.later();
  if (auto started = run->start(later); !started) {
    if (!later) return started;
    later->finish(std::move(started));
    return {};
  }
  if (!later) reply.line("run " + std::to_string(run->number()) + " has begun; see `show perf`");
  perf.runs.push_back(run);
  std::size_t over = 0;
  for (const auto& r : perf.runs) over += r->is_over();
  for (auto it = perf.runs.begin(); over > Perf::kKept && it != perf.runs.end();)
    if ((*it)->is_over()) {
      it = perf.runs.erase(it);
      --over;
    } else {
      ++it;
    }
  return {};
}

std::string fixed(double v) {
  char text[32];
  std::snprintf(text, sizeof text, "%.3f", v);
  return text;
}

Result<void> show_perf(Host&, void* context, CliArgs& args, CliReply& reply) {
  if (!args.done()) return args.unknown();
  const Perf& perf = perf_of(context);
  CliTable& s = reply.table("servers",
                            {"kind", "uri", "open", "connections", "bytes received", "bytes sent"});
  for (const auto& x : perf.servers.list()) {
    const uint64_t closed = x->sum(&Counters::closed), opened = x->sum(&Counters::opened);
    s.rows.push_back({name_of(x->kind), x->uri, std::to_string(opened - closed),
                      std::to_string(opened), std::to_string(x->sum(&Counters::received)),
                      std::to_string(x->sum(&Counters::sent))});
  }
  CliTable& c = reply.table("clients", {"run", "uri", "state", "open", "connections", "bytes sent",
                                        "bytes received", "seconds"});
  for (const auto& r : perf.runs) {
    const uint64_t closed = r->sum(&Counters::closed), opened = r->sum(&Counters::opened);
    c.rows.push_back({std::to_string(r->number()), r->config().uri,
                      r->is_over() ? "over" : "running", std::to_string(opened - closed),
                      std::to_string(opened), std::to_string(r->sum(&Counters::sent)),
                      std::to_string(r->sum(&Counters::received)), fixed(r->seconds())});
  }
  return {};
}

}  // namespace

Result<void> register_commands(Host& host, Perf& perf) {
  constexpr const char* kServerSyntax =
      "uri TRANSPORT://ADDRESS/PORT [fifo-size N] | delete uri TRANSPORT://ADDRESS/PORT";
  for (const CliCommand& c : {
           CliCommand{.path = "perf server",
          .syntax = kServerSyntax,
          .help = "Starts or ends a server that takes what perf clients send.",
          .context = &perf,
          .run = server<ServerKind::kPerf>},
           CliCommand{.path = "echo server",
           .syntax = kServerSyntax,
           .help = "Starts or ends a server that sends back what it receives.",
           .context = &perf,
           .run = server<ServerKind::kEcho>},
           CliCommand{.path = "perf client",
           .syntax = "uri TRANSPORT://ADDRESS/PORT [run-time S | bytes N] [nclients N] "
                     "[echo-bytes] [fifo-size N] | stop",
           .help = "Sends to a server for a time (10 s) or N bytes a connection, and "
                   "answers with what came of it.",
           .context = &perf,
           .run = client},
           CliCommand{.path = "show perf",
           .syntax = "",
           .help = "Perf and echo servers, and the last runs of perf clients.",
           .context = &perf,
           .run = show_perf},
       })
    if (auto r = host.add_cli_command(c); !r) return r;
  return {};
}

}  // namespace loom::perf
