// perf client: what it takes, and how it tells the outcome.
#include <cstdio>

#include "cli_take.h"
#include "pacer.h"
#include "perf.h"

namespace loom::perf {
namespace {

Result<RunConfig> run_config(CliArgs& args) {
  RunConfig c;
  const auto uri = take_uri(args);
  if (!uri) return uri.error();
  c.uri = *uri;
  uint64_t seconds = 0, over = 0;
  const struct {
    const char* key;
    bool& value;
  } kFlags[] = {{"echo-bytes", c.echo}, {"reverse", c.reverse}, {"verify", c.verify}};
  while (!args.done()) {
    bool is_taken = false;
    for (const auto& f : kFlags)
      if (!is_taken && args.accept(f.key)) f.value = is_taken = true;
    const auto option = [&](std::string_view key, uint64_t most, auto& out) -> Result<void> {
      if (is_taken) return {};
      const auto r = take(args, key, 1, most, out);
      if (!r) return r.error();
      is_taken = *r;
      return {};
    };
    auto done = option("run-time", kMostSeconds, seconds);
    if (done) done = option("bytes", ~0ull, c.bytes);
    if (done) done = option("requests", ~0ull, c.requests);
    if (done) done = option("nclients", kMostClients, c.n_clients);
    if (done) done = option("over", kMostSeconds, over);
    if (done) done = option("rate", kMostRate, c.rate);
    if (done) done = option("request", kMostMessage, c.request);
    if (done) done = option("response", kMostMessage, c.response);
    if (done) done = option("requests-per-second", kMostRate, c.requests_per_second);
    if (done) done = option("fifo-size", kMostFifo, c.fifo_size);
    if (!done) return done.error();
    if (!is_taken) return args.unknown();
  }
  c.run_time = static_cast<TimeNs>(seconds) * kSecond;
  c.over = static_cast<TimeNs>(over) * kSecond;
  return c;
}

std::string decimal(double v, const char* format) {
  char text[32];
  std::snprintf(text, sizeof text, format, v);
  return text;
}

void describe_kinds(const Totals& t, CliReply& reply) {
  const struct {
    const char *what, *why;
    uint32_t n;
  } kKinds[] = {{"failed", "refused", t.refused},
                {"failed", "timed out", t.timed_out},
                {"failed", "unreachable", t.unreachable},
                {"failed", "no resources", t.no_resources},
                {"failed", "not begun in time", t.not_opened},
                {"failed", "other", t.failed_otherwise},
                {"reset", "by the peer", t.reset_by_peer},
                {"reset", "timed out", t.reset_by_timeout},
                {"reset", "other", t.reset_otherwise}};
  CliTable& kinds = reply.table("failures", {"what", "why", "connections"});
  for (const auto& k : kKinds)
    if (k.n != 0) kinds.rows.push_back({k.what, k.why, std::to_string(k.n)});
}

void describe_times(const Outcome& o, CliReply& reply) {
  CliTable& times =
      reply.table("latency", {"of", "count", "min ns", "p50 ns", "p99 ns", "p99.9 ns", "max ns"});
  const auto row = [&](const char* of, const Latency& l) {
    if (l.count == 0) return;
    times.rows.push_back({of, std::to_string(l.count), std::to_string(l.least),
                          std::to_string(l.p50), std::to_string(l.p99), std::to_string(l.p999),
                          std::to_string(l.most)});
  };
  row("connect", o.connect);
  row("round trip", o.round_trip);
}

void describe(const Run& run, CliReply& reply) {
  const uint64_t sent = run.sum(&Counters::sent), received = run.sum(&Counters::received);
  const Outcome& o = run.outcome();
  const double s = o.seconds;
  const auto rate = [&](uint64_t bytes) {
    return decimal(s > 0 ? static_cast<double>(bytes) * 8e-9 / s : 0, "%.3f");
  };
  const auto field = [&](const char* name, uint64_t n) { reply.field(name, std::to_string(n)); };
  field("connections", o.totals.connections);
  field("failed", o.totals.failed);
  field("reset", o.totals.reset);
  field("unfinished", o.totals.unfinished);
  field("bytes sent", sent);
  field("bytes received", received);
  reply.field("seconds", decimal(s, "%.6f"));
  reply.field("gbit/s sent", rate(sent));
  reply.field("gbit/s received", rate(received));
  reply.field("connections a second", decimal(o.connections_per_second, "%.1f"));
  field("round trips", o.round_trip.count);
  reply.field("round trips a second", decimal(o.round_trips_per_second, "%.1f"));
  field("segments retransmitted", run.sum(&Counters::retransmitted));
  describe_kinds(o.totals, reply);
  describe_times(o, reply);
}

}  // namespace

Result<void> client_command(Host&, void* context, CliArgs& args, CliReply& reply) {
  Perf& perf = *static_cast<Perf*>(context);
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
      later->finish(run.success());
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

}  // namespace loom::perf
