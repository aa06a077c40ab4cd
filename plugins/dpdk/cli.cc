// show dpdk version | buffer | physmem | device. Words as VPP's, but for the last.
#include <rte_memzone.h>
#include <rte_version.h>

#include <cstdio>

#include "devices.h"

namespace loom::dpdk {
namespace {

// Where there is no `dpdk { }` in the start-up file there is nothing to list.
Result<void> ready(const Devices& all, CliArgs& args) {
  if (!args.done()) return args.unknown();
  if (!all.is_started() && all.config.is_given)
    return error(Status::kNotFound, "DPDK did not start; 'show log' has the reason");
  return {};
}

Result<void> show_version(Host&, void* context, CliArgs& args, CliReply& reply) {
  const Devices& all = *static_cast<Devices*>(context);
  if (!args.done()) return args.unknown();
  reply.field("version", rte_version());
  if (!all.is_started()) return {};
  std::string arguments;
  for (const std::string& a : all.eal().arguments) arguments += (arguments.empty() ? "" : " ") + a;
  reply.field("EAL arguments", arguments);
  reply.field("buffers on", all.eal().memory);
  return {};
}

Result<void> show_buffer(Host&, void* context, CliArgs& args, CliReply& reply) {
  const Devices& all = *static_cast<Devices*>(context);
  if (auto ok = ready(all, args); !ok) return ok;
  auto& table = reply.table("mempools", {"name", "buffer pool", "socket", "buffers", "bytes each",
                                         "data bytes", "page size"});
  for (const auto& p : all.mempools().pools())
    table.rows.push_back({p->mempool->name, std::to_string(p->index),
                          p->info.numa_node < 0 ? "any" : std::to_string(p->info.numa_node),
                          std::to_string(p->info.n_buffers), std::to_string(p->info.stride),
                          std::to_string(p->info.data_size), std::to_string(p->info.page_size)});
  return {};
}

Result<void> show_physmem(Host&, void* context, CliArgs& args, CliReply& reply) {
  const Devices& all = *static_cast<Devices*>(context);
  if (auto ok = ready(all, args); !ok) return ok;
  auto& table =
      reply.table("zones", {"name", "address", "device address", "bytes", "page size", "socket"});
  if (!all.is_started()) return {};
  rte_memzone_walk(
      [](const rte_memzone* z, void* to) {
        const auto hex = [](uint64_t v) {
          char text[24];
          std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(v));
          return std::string(text);
        };
        static_cast<CliTable*>(to)->rows.push_back(
            {z->name, hex(z->addr_64), hex(z->iova), std::to_string(z->len),
             std::to_string(z->hugepage_sz), std::to_string(z->socket_id)});
      },
      &table);
  return {};
}

Result<void> show_device(Host& host, void* context, CliArgs& args, CliReply& reply) {
  const Devices& all = *static_cast<Devices*>(context);
  const std::string only(args.next());
  if (auto ok = ready(all, args); !ok) return ok;
  auto& table = reply.table(
      "devices", {"name", "device", "driver", "port", "link", "mtu", "rx queues", "tx queues",
                  "rx descriptors", "rx interrupts", "rx packets", "rx bytes", "rx errors",
                  "missed", "ring full", "tx errors", "tx copied"});
  for (const auto& d : all.all()) {
    const std::string name = interface_label(host, d->name, d->index);
    if (!only.empty() && name != only) continue;
    const InterfaceCounters rx = d->rx_totals.sum();
    rte_eth_stats s{};
    (void)rte_eth_stats_get(d->port, &s);
    const TxCounters& t = d->tx_counters;
    const uint64_t tx_errors =
        t.stopped + t.bad_offsets + t.refused + t.too_many_segments + t.no_buffers + s.oerrors;
    table.rows.push_back(
        {name, d->config.probe_text(), d->info.driver_name, std::to_string(d->port),
         d->is_link_up ? "up" : "down", std::to_string(d->mtu), std::to_string(d->queues.size()),
         std::to_string(d->n_tx_queues), std::to_string(d->n_rx_descriptors),
         d->queues.front()->ready ? "yes" : "no", std::to_string(rx.packets),
         std::to_string(rx.bytes), std::to_string(rx.errors), std::to_string(s.imissed),
         std::to_string(t.ring_full), std::to_string(tx_errors), std::to_string(t.copied)});
  }
  if (!only.empty() && table.rows.empty())
    return error(Status::kNotFound, "there is no DPDK device '" + only + "'");
  return {};
}

}  // namespace

Result<void> register_commands(Host& host, Devices& all) {
  const CliCommand commands[] = {
      {.path = "show dpdk version",
       .help = "DPDK's version, and what it was started with.",
       .context = &all,
       .run = show_version},
      {.path = "show dpdk buffer",
       .help = "The buffer pools as DPDK sees them.",
       .context = &all,
       .run = show_buffer},
      {.path = "show dpdk physmem",
       .help = "What DPDK has reserved of its memory.",
       .context = &all,
       .run = show_physmem},
      {.path = "show dpdk device",
       .syntax = "[INTERFACE]",
       .help = "DPDK's devices with their counters.",
       .context = &all,
       .run = show_device},
  };
  for (const CliCommand& c : commands)
    if (auto r = host.add_cli_command(c); !r) return r;
  return {};
}

}  // namespace loom::dpdk
