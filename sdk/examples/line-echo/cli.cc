// Commands: show line-echo, line-echo retransmit.
#include <hostloom/cli.h>

#include "connection.h"

namespace line_echo {
namespace {

std::string end(const IpAddress& a, uint16_t port) { return a.str() + ":" + std::to_string(port); }

const char* state(const Connection& c) {
  if (!c.is_open) return "opening";
  if (c.peer_closed) return "peer-closed";
  return c.close_acked ? "closed" : "open";
}

Result<void> show(Host& host, void*, CliArgs& args, CliReply& reply) {
  if (!args.done()) return args.unknown();
  Stats sum;
  std::vector<std::vector<std::string>> rows;
  host.run_on_all_workers([&](Worker& w) {
    const LineWorker& l = line_worker(w);
    sum.sent += l.stats.sent;
    sum.sent_again += l.stats.sent_again;
    sum.timed_out += l.stats.timed_out;
    sum.no_buffer += l.stats.no_buffer;
    for (const Connection& c : l.connections)
      if (c.in_use)
        rows.push_back({end(c.ends.local, c.ends.local_port),
                        end(c.ends.remote, c.ends.remote_port), state(c),
                        std::to_string(c.bytes_acked), std::to_string(c.bytes_received)});
  });
  reply.field("sent", std::to_string(sum.sent));
  reply.field("sent-again", std::to_string(sum.sent_again));
  reply.field("timed-out", std::to_string(sum.timed_out));
  reply.field("no-buffer", std::to_string(sum.no_buffer));
  reply.table("connections", {"local", "remote", "state", "acknowledged", "received"}).rows =
      std::move(rows);
  return {};
}

Result<void> retransmit(Host& host, void*, CliArgs& args, CliReply&) {
  const auto ms = args.number("milliseconds", 0, ~uint64_t{0});
  if (!ms) return ms.error();
  if (!args.done()) return args.unknown();
  return set_retransmit(host, *ms);
}

}  // namespace

Result<void> set_retransmit(Host& host, uint64_t ms) {
  if (ms < 10 || ms > 10'000)
    return error(Status::kInvalid, std::to_string(ms) + " ms are not from 10 to 10000");
  // Workers read it: they stand still for a moment.
  host.with_barrier([&] { shared().retransmit = static_cast<TimeNs>(ms) * kMillisecond; });
  return {};
}

Result<void> add_commands(Host& host) {
  if (auto r = host.add_cli_command(
          {.path = "show line-echo", .help = "Connections of the line protocol.", .run = show});
      !r)
    return r;
  return host.add_cli_command({.path = "line-echo retransmit",
                               .syntax = "MILLISECONDS",
                               .help = "How long the first retransmission waits.",
                               .run = retransmit});
}

}  // namespace line_echo
