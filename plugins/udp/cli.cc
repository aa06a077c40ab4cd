// Commands: show udp ports, show udp stats.
#include "cli.h"

#include <vector>

#include <hostloom/worker_table.h>

#include "figures.h"

namespace loom::udp {
namespace {

Result<void> show_stats(Host& host, void*, CliArgs& args, CliReply& reply) {
  if (!args.done()) return args.unknown();
  struct Row {
    const char* name;
    uint64_t Figures::*value;
  };
  constexpr Row kRows[] = {{"sockets without a peer", &Figures::bound},
                           {"sockets with a peer", &Figures::with_peer},
                           {"group memberships", &Figures::members},
                           {"path MTUs heard of", &Figures::known_paths}};
  std::vector<Figures> all;
  for (uint32_t i = 0; i < host.n_workers(); ++i) all.push_back(figures_of(host, i));
  WorkerTable table(reply, "udp", all.size());
  for (const Row& r : kRows) table.row(r.name, [&](std::size_t i) { return all[i].*r.value; });
  return {};
}

Result<void> show_ports(Host& host, void*, CliArgs& args, CliReply& reply) {
  if (!args.done()) return args.unknown();
  std::vector<Port> ports(UINT16_MAX + 1);
  uint64_t left = 0;
  for (uint32_t first = 0; first < ports.size(); first += kPortsAtOnce)
    left += count_ports(host, first, std::span(ports).subspan(first, kPortsAtOnce));
  CliTable& table = reply.table("ports", {"port", "sockets", "received", "sent", "rcvbuf-full"});
  for (std::size_t number = 0; number < ports.size(); ++number)
    if (const Port& p = ports[number]; p.sockets != 0)
      table.rows.push_back({std::to_string(number), std::to_string(p.sockets),
                            std::to_string(p.received), std::to_string(p.sent),
                            std::to_string(p.overflowed)});
  if (left != 0) reply.field("sockets not looked at", std::to_string(left));
  return {};
}

constexpr CliCommand kShowPorts{
    .path = "show udp ports",
    .syntax = "",
    .help = "Ports of sockets without a peer, with the datagrams of those that are open now.",
    .run = show_ports};
constexpr CliCommand kShowStats{.path = "show udp stats",
                                .syntax = "",
                                .help = "Sockets, memberships and known paths of each worker.",
                                .run = show_stats};

}  // namespace

Result<void> add_commands(Host& host) {
  if (auto r = host.add_cli_command(kShowPorts); !r) return r;
  return host.add_cli_command(kShowStats);
}

}  // namespace loom::udp
