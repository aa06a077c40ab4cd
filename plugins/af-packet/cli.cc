// create host-interface, delete host-interface, show host-interface. Words as VPP's; those that
// mean nothing here are accepted and named in README.md.
#include "host_interfaces.h"

namespace loom::af_packet {
namespace {

HostInterfaces& host_interfaces(void* context) { return *static_cast<HostInterfaces*>(context); }

Result<void> take_text(CliArgs& args, std::string_view key, std::string& out) {
  const auto word = args.text(key);
  if (!word) return word.error();
  out = *word;
  return {};
}

Result<void> take_number(CliArgs& args, std::string_view key, uint64_t most, auto& out) {
  const auto n = args.number(key, 1, most);
  if (!n) return n.error();
  out = static_cast<std::remove_reference_t<decltype(out)>>(*n);
  return {};
}

Result<void> take_mac(CliArgs& args, MacAddress& out) {
  const auto word = args.text("hw-addr");
  if (!word) return word.error();
  const auto mac = parse_mac(*word);
  if (!mac || mac->is_multicast())
    return error(Status::kInvalid, "hw-addr '" + std::string(*word) +
                                       "' is not a unicast MAC address like 02:fe:00:00:00:01");
  out = *mac;
  return {};
}

Result<void> take_key(CliArgs& args, HostInterfaceConfig& c) {
  if (args.accept("name")) return take_text(args, "name of an interface of the host", c.host_name);
  if (args.accept("hw-addr")) return take_mac(args, c.mac);
  if (args.accept("num-rx-queues")) return take_number(args, "num-rx-queues", 64, c.n_rx_queues);
  if (args.accept("num-tx-queues")) return take_number(args, "num-tx-queues", 64, c.n_tx_queues);
  // Of rings that are laid out otherwise.
  for (const char* key : {"rx-size", "tx-size", "rx-per-block", "tx-per-block"}) {
    uint32_t ignored = 0;
    if (args.accept(key)) return take_number(args, key, ~0u, ignored);
  }
  if (args.accept("mode")) {
    if (args.accept("ip")) return error(Status::kUnsupported, "mode ip is not there");
    return args.accept("ethernet") ? Result<void>() : error(Status::kInvalid, "mode is 'ethernet'");
  }
  if (args.accept("cksum-gso-disable"))
    c.is_offloaded = false;
  else if (args.accept("qdisc-bypass-disable"))
    c.is_qdisc_bypassed = false;
  else if (!args.accept("v2"))
    return args.unknown();
  return {};
}

Result<void> create(Host&, void* context, CliArgs& args, CliReply& reply) {
  HostInterfaceConfig config;
  while (!args.done())
    if (auto taken = take_key(args, config); !taken) return taken;
  if (config.host_name.empty())
    return error(Status::kInvalid, "missing 'name' of an interface of the host");
  auto name = host_interfaces(context).create(std::move(config));
  if (!name) return name.error();
  reply.line(std::move(*name));
  return {};
}

Result<void> remove(Host&, void* context, CliArgs& args, CliReply&) {
  std::string name;
  if (!args.accept("name")) return args.unknown();
  if (auto taken = take_text(args, "name of an interface of the host", name); !taken) return taken;
  if (!args.done()) return args.unknown();
  return host_interfaces(context).remove(name);
}

Result<void> show(Host& host, void* context, CliArgs& args, CliReply& reply) {
  const std::string only(args.next());
  if (!args.done()) return args.unknown();
  const HostInterfaces& all = host_interfaces(context);
  const Device* wanted = only.empty() ? nullptr : all.find(only);
  if (!only.empty() && !wanted)
    return error(Status::kNotFound, "there is no host interface '" + only + "'");
  auto& table = reply.table("host-interfaces",
                            {"name", "host interface", "host index", "host mac", "host mtu", "link",
                             "rx queues", "tx queues", "rx packets", "rx bytes", "rx errors",
                             "kernel drops", "tx errors", "socket full"});
  for (const auto& [made_for, d] : all.all()) {
    if (wanted && d != wanted) continue;
    note_kernel_drops(*d);
    const InterfaceCounters rx = d->rx_totals.sum();
    const TxCounters& t = d->tx_counters;
    const uint64_t tx_errors = t.bad_offsets + t.too_many_segments + t.too_long + t.host_down +
                               t.no_memory + t.refused + t.queue_full;
    const bool is_there = d->link.index != 0;
    table.rows.push_back({wanted ? only : interface_label(host, d->name, d->index), host_name(*d),
                          is_there ? std::to_string(d->link.index) : "gone",
                          is_there ? d->link.mac.str() : "", std::to_string(d->link.mtu),
                          d->link.is_running ? "up" : "down", std::to_string(d->queues.size()),
                          std::to_string(d->config.n_tx_queues), std::to_string(rx.packets),
                          std::to_string(rx.bytes), std::to_string(rx.errors),
                          std::to_string(d->kernel_drops), std::to_string(tx_errors),
                          std::to_string(t.socket_full)});
  }
  return {};
}

}  // namespace

Result<void> register_commands(Host& host, HostInterfaces& all) {
  const CliCommand commands[] = {
      {.path = "create host-interface",
       .syntax = "name IF [hw-addr MAC] [num-rx-queues N] [num-tx-queues N] [cksum-gso-disable] "
                 "[qdisc-bypass-disable]",
       .help = "Makes an interface out of one of the host's. Answers with its name.",
       .context = &all,
       .run = create},
      {.path = "delete host-interface",
       .syntax = "name IF",
       .help = "Removes the interface; the host's stays.",
       .context = &all,
       .run = remove},
      {.path = "show host-interface",
       .syntax = "[INTERFACE]",
       .help = "Host interfaces with their counters.",
       .context = &all,
       .run = show},
  };
  for (const CliCommand& c : commands)
    if (auto r = host.add_cli_command(c); !r) return r;
  return {};
}

}  // namespace loom::af_packet
