// perf server, echo server, source server, perf sessions, show perf; and what of them there is.
#include <cstdio>

#include "cli_take.h"
#include "perf.h"

namespace loom::perf {
namespace {

constexpr uint64_t kMostHeld = 4'000'000;

Perf& perf_of(void* context) { return *static_cast<Perf*>(context); }

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

// --- perf sessions

Result<bool> take_timeout(CliArgs& args, TimeNs& timeout) {
  uint64_t seconds = 0;
  const auto taken = take(args, "timeout", 1, kMostSeconds, seconds);
  if (taken && *taken) timeout = static_cast<TimeNs>(seconds) * kSecond;
  return taken;
}

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
  TimeNs timeout = kOrderTimeout;
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
    if (taken && !*taken) taken = take_timeout(args, timeout);
    if (!taken) return taken.error();
    if (!*taken) return args.unknown();
  }
  if (c.to.empty()) return error(Status::kInvalid, "no uri");
  if (perf.held && !perf.held->is_over())
    return error(Status::kExists, "there are sessions already; `perf sessions close` ends them");
  perf.held = std::make_shared<Held>(host, std::move(c));
  const auto later = reply.later();
  return after(perf.held->open(timeout, later), later, reply);
}

Result<void> sessions_exchange(Host&, void* context, CliArgs& args, CliReply& reply) {
  Perf& perf = perf_of(context);
  ExchangeConfig c;
  while (!args.done()) {
    auto taken = take(args, "sessions", 1, kMostHeld, c.sessions);
    if (taken && !*taken) taken = take(args, "rounds", 1, 1u << 30, c.rounds);
    if (taken && !*taken) taken = take(args, "bytes", 1, 1024, c.bytes);
    if (taken && !*taken) taken = take_timeout(args, c.timeout);
    if (!taken) return taken.error();
    if (!*taken) return args.unknown();
  }
  if (!perf.held || perf.held->is_over()) return error(Status::kNotFound, "there are no sessions");
  const auto later = reply.later();
  return after(perf.held->exchange(c, later), later, reply);
}

Result<void> sessions_close(Host&, void* context, CliArgs& args, CliReply& reply) {
  Perf& perf = perf_of(context);
  TimeNs timeout = kOrderTimeout;
  while (!args.done()) {
    const auto taken = take_timeout(args, timeout);
    if (!taken) return taken.error();
    if (!*taken) return args.unknown();
  }
  if (!perf.held || perf.held->is_over()) return error(Status::kNotFound, "there are no sessions");
  const auto later = reply.later();
  return after(perf.held->close(timeout, later), later, reply);
}

// Latencies of a run that has made round trips and is over; else nothing.
std::string microseconds(const Run& r, uint64_t Latency::*quantile) {
  if (!r.is_over() || r.outcome().round_trip.count == 0) return "-";
  char text[32];
  std::snprintf(text, sizeof text, "%.1f",
                static_cast<double>(r.outcome().round_trip.*quantile) / kMicrosecond);
  return text;
}

Result<void> show_perf(Host&, void* context, CliArgs& args, CliReply& reply) {
  if (!args.done()) return args.unknown();
  const Perf& perf = perf_of(context);
  const auto text = [](uint64_t n) { return std::to_string(n); };
  CliTable& s = reply.table("servers", {"kind", "uri", "open", "connections", "bytes received",
                                        "bytes sent", "retransmitted"});
  for (const auto& x : perf.servers.list()) {
    const uint64_t closed = x->sum(&Counters::closed), opened = x->sum(&Counters::opened);
    s.rows.push_back({name_of(x->kind), x->uri, text(opened - closed), text(opened),
                      text(x->sum(&Counters::received)), text(x->sum(&Counters::sent)),
                      text(x->sum(&Counters::retransmitted))});
  }
  CliTable& c = reply.table(
      "clients", {"run", "uri", "state", "open", "connections", "bytes sent", "bytes received",
                  "seconds", "round trips", "p50 us", "p99 us", "retransmitted"});
  for (const auto& r : perf.runs) {
    const uint64_t closed = r->sum(&Counters::closed), opened = r->sum(&Counters::opened);
    char seconds[32];
    std::snprintf(seconds, sizeof seconds, "%.3f", r->is_over() ? r->outcome().seconds : 0);
    c.rows.push_back({text(r->number()), r->config().uri, r->is_over() ? "over" : "running",
                      text(opened - closed), text(opened), text(r->sum(&Counters::sent)),
                      text(r->sum(&Counters::received)), seconds,
                      text(r->sum(&Counters::round_trips)), microseconds(*r, &Latency::p50),
                      microseconds(*r, &Latency::p99), text(r->sum(&Counters::retransmitted))});
  }
  return {};
}

}  // namespace

Result<void> register_commands(Host& host, Perf& perf) {
  Held::init(host);
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
           CliCommand{.path = "source server",
           .syntax = kServerSyntax,
           .help = "Starts or ends a server that sends to whoever connects, until he ends.",
           .context = &perf,
           .run = server<ServerKind::kSource>},
           CliCommand{.path = "perf client",
           .syntax = "uri TRANSPORT://ADDRESS/PORT [run-time S | bytes N | requests N] "
                     "[nclients N] [over S] [echo-bytes | reverse] [verify] [rate BYTES] "
                     "[request BYTES] [response BYTES] [requests-per-second N] [fifo-size N] | "
                     "stop",
           .help = "Sends to a server, receives from it or makes round trips, for a time (10 s) "
                   "or so much a connection, and answers with what came of it.",
           .context = &perf,
           .run = client_command},
           CliCommand{
               .path = "perf sessions open",
    .syntax = "uri TRANSPORT://ADDRESS/PORT [uri ...] [nclients N] [fifo-size N] [timeout S]",
    .help = "Opens N sessions, to the echo servers in turn, and keeps them.",
    .context = &perf,
    .run = sessions_open},
           CliCommand{.path = "perf sessions exchange",
           .syntax = "[sessions N] [rounds N] [bytes N] [timeout S]",
           .help = "So many of the sessions send bytes and wait for them to come back.",
           .context = &perf,
           .run = sessions_exchange},
           CliCommand{.path = "perf sessions close",
           .syntax = "[timeout S]",
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
