// Commands: show udp ports, show udp stats.
#include "cli.h"

#include <vector>

#include "udp.h"

namespace loom::udp {
namespace {

// Of each worker, which stands still as long.
constexpr std::size_t kMostSockets = 20'000;
constexpr std::size_t kPorts = 1 << 16;

struct Figures {
  uint64_t bound, with_peer, members, known_paths;
};

Figures figures_of(UdpWorker& u) {
  Figures f{};
  f.bound = u.bound_ports.size();
  f.with_peer = u.connections.size() - f.bound;
  for (const auto& [id, all] : u.memberships) f.members += all.size();
  f.known_paths = u.destinations.n_known_paths(u.w.now);
  return f;
}

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
  std::vector<Figures> all(host.n_workers());
  for (uint32_t i = 0; i < all.size(); ++i)
    host.run_on_worker(i, [&](Worker& w) { all[i] = figures_of(udp_worker(w)); });
  std::vector<std::string> columns{"what"};
  for (uint32_t i = 0; i < all.size(); ++i) columns.push_back("worker " + std::to_string(i));
  CliTable& table = reply.table("udp", columns);
  for (const Row& r : kRows) {
    std::vector<std::string> row{r.name};
    for (const Figures& f : all) row.push_back(std::to_string(f.*r.value));
    table.rows.push_back(std::move(row));
  }
  return {};
}

struct Port {
  uint32_t sockets = 0;
  uint64_t received = 0, sent = 0, overflowed = 0;
};

Result<void> show_ports(Host& host, void*, CliArgs& args, CliReply& reply) {
  if (!args.done()) return args.unknown();
  std::vector<Port> ports(kPorts);  // all of them: a worker only counts, and allocates nothing
  uint64_t left = 0;
  for (uint32_t i = 0; i < host.n_workers(); ++i)
    host.run_on_worker(i, [&](Worker& w) {
      UdpWorker& u = udp_worker(w);
      std::size_t n = 0;
      for (const auto& [number, id] : u.bound_ports) {
        if (++n > kMostSockets) {
          left += u.bound_ports.size() - kMostSockets;
          break;
        }
        const Connection* c = u.connections.find(id);
        if (!c) continue;
        Port& p = ports[number];
        ++p.sockets;
        p.received += c->received;
        p.sent += c->sent;
        p.overflowed += c->overflowed;
      }
    });
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
