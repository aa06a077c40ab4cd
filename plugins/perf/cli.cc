// perf server, perf client, echo server, show perf.
#include <cstdio>

#include "perf.h"

namespace loom::perf {
namespace {

constexpr uint64_t kMostHeld = 4'000'000;

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
  c.run_time = static_cast<TimeNs>(seconds) * kSecond;
  return c;
}

std::string decimal(double v, const char* format) {
  char text[32];
  std::snprintf(text, sizeof text, format, v);
  return text;
}

void describe(const Run& run, CliReply& reply) {
  const uint64_t sent = run.sum(&Counters::sent), received = run.sum(&Counters::received);
  const double s = run.seconds();
  const auto rate = [&](uint64_t bytes) {
    return decimal(s > 0 ? static_cast<double>(bytes) * 8e-9 / s : 0, "%.3f");
  };
  const auto field = [&](const char* name, uint32_t n) { reply.field(name, std::to_string(n)); };
  const Totals t = run.totals();
  field("connections", t.connections);
  field("failed", t.failed);
  field("reset", t.reset);
  field("unfinished", t.unfinished);
  reply.field("bytes sent", std::to_string(sent));
  reply.field("bytes received", std::to_string(received));
  reply.field("seconds", decimal(s, "%.6f"));
  reply.field("gbit/s sent", rate(sent));
  reply.field("gbit/s received", rate(received));
}

Result<void> client(Host&, void* context, CliArgs& args, CliReply& reply) {
  Perf& perf = perf_of(context);
  if (args.accept("stop")) {
    if (!args.done()) return args.unknown();
    perf.stop_runs();
    return {};
  }
  auto config = run_config(args);
  if (!config) return config.error();
  const auto later = reply.later();
  Run::Done done;
  if (later)
    done = [later](const Run& run) {
      describe(run, later->reply());
      later->finish(run.outcome());
    };
  const auto run = perf.begin(std::move(*config), std::move(done));
  if (!run) {
    if (!later) return run.error();
    later->finish(run.error());
    return {};
  }
  if (!later) reply.line("run " + std::to_string((*run)->number()) + " has begun; see `show perf`");
  return {};
}

// --- perf sessions

Result<void> after(Result<void> begun, const std::shared_ptr<CliLater>& later, CliReply& reply) {
  if (begun) {
    if (!later) reply.line("has begun; see `show perf`");
    return {};
  }
  if (!later) return begun;
  later->finish(std::move(begun));
  return {};
}

Result<void> sessions_open(Host& host, void* context, CliArgs& args, CliReply& reply) {
  Perf& perf = perf_of(context);
  HeldConfig c;
  while (!args.done()) {
    if (args.accept("uri")) {
      const auto uri = args.text("uri");
      if (!uri) return uri.error();
      auto endpoint = parse_app_uri(*uri);
      if (!endpoint) return endpoint.error();
      c.to.push_back(*endpoint);
      continue;
    }
    auto taken = take(args, "nclients", 1, kMostHeld, c.n);
    if (taken && !*taken) taken = take(args, "fifo-size", kLeastFifo, kMostFifo, c.fifo_size);
    if (!taken) return taken.error();
    if (!*taken) return args.unknown();
  }
  if (c.to.empty()) return error(Status::kInvalid, "no uri");
  if (perf.held && !perf.held->is_over())
    return error(Status::kExists, "there are sessions already; `perf sessions close` ends them");
  perf.held = std::make_shared<Held>(host, std::move(c));
  const auto later = reply.later();
  return after(perf.held->open(later), later, reply);
}

Result<void> sessions_exchange(Host&, void* context, CliArgs& args, CliReply& reply) {
  Perf& perf = perf_of(context);
  ExchangeConfig c;
  while (!args.done()) {
    auto taken = take(args, "sessions", 1, kMostHeld, c.sessions);
    if (taken && !*taken) taken = take(args, "rounds", 1, 1u << 30, c.rounds);
    if (taken && !*taken) taken = take(args, "bytes", 1, 1024, c.bytes);
    if (!taken) return taken.error();
    if (!*taken) return args.unknown();
  }
  if (!perf.held || perf.held->is_over()) return error(Status::kNotFound, "there are no sessions");
  const auto later = reply.later();
  return after(perf.held->exchange(c, later), later, reply);
}

Result<void> sessions_close(Host&, void* context, CliArgs& args, CliReply& reply) {
  Perf& perf = perf_of(context);
  if (!args.done()) return args.unknown();
  if (!perf.held || perf.held->is_over()) return error(Status::kNotFound, "there are no sessions");
  const auto later = reply.later();
  return after(perf.held->close(later), later, reply);
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
                      std::to_string(r->sum(&Counters::received)), decimal(r->seconds(), "%.3f")});
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
           CliCommand{.path = "perf sessions open",
           .syntax = "uri TRANSPORT://ADDRESS/PORT [uri ...] [nclients N] [fifo-size N]",
           .help = "Opens N sessions, to the echo servers in turn, and keeps them.",
           .context = &perf,
           .run = sessions_open},
           CliCommand{.path = "perf sessions exchange",
           .syntax = "[sessions N] [rounds N] [bytes N]",
           .help = "So many of the sessions send bytes and wait for them to come back.",
           .context = &perf,
           .run = sessions_exchange},
           CliCommand{.path = "perf sessions close",
           .syntax = "",
           .help = "Closes all of them in order.",
           .context = &perf,
           .run = sessions_close},
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
