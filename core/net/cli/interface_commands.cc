// show interface, show hardware-interfaces, set interface ..., create and delete loopback.
#include <algorithm>
#include <optional>

#include <hostloom/config.h>

#include "net/cli/net_commands.h"

namespace loom {
namespace {

std::string caps_text(uint32_t caps) {
  constexpr std::pair<uint32_t, const char*> kNames[] = {{kCapTxIp4Checksum, "tx-ip4-checksum"},
                                                         {kCapTxL4Checksum, "tx-l4-checksum"},
                                                         {kCapTso4, "tso4"},
                                                         {kCapTso6, "tso6"},
                                                         {kCapScatter, "scatter"}};
  std::string text;
  for (const auto& [bit, name] : kNames)
    if (caps & bit) text += (text.empty() ? "" : " ") + std::string(name);
  return text.empty() ? "none" : text;
}

const char* state_text(const InterfaceListing& i) {
  return !i.is_admin_up ? "down" : i.is_link_up ? "up" : "no-link";
}

const char* mode_text(RxMode mode) {
  return mode == RxMode::kPolling     ? "polling"
         : mode == RxMode::kInterrupt ? "interrupt"
                                      : "adaptive";
}

void show_placement(const std::vector<InterfaceListing>& all, CliReply& reply) {
  auto& t = reply.table("rx-placement", {"Worker", "Interface", "Queue", "Mode"});
  for (const auto& i : all)
    for (std::size_t q = 0; q < i.rx_modes.size(); ++q)
      t.rows.push_back(
          {std::to_string(i.rx_workers[q]), i.name, std::to_string(q), mode_text(i.rx_modes[q])});
}

Result<void> show_interface(Host&, void* context, CliArgs& args, CliReply& reply) {
  auto all = net_of(context).interfaces();
  const bool wants_addresses = args.accept("addr") || args.accept("address");
  const bool wants_placement = !wants_addresses && args.accept("rx-placement");
  if (!args.done()) {
    const auto index = parse_interface(net_of(context), args);
    if (!index) return index.error();
    std::erase_if(all, [&](const InterfaceListing& i) { return i.index != *index; });
  }
  if (auto ok = expect_end(args); !ok) return ok;
  if (wants_addresses) {
    auto& t = reply.table("addresses", {"Name", "State", "Address", "Table"});
    for (const auto& i : all) {
      if (i.lender != kNoIndex) {
        const auto lender = net_of(context).interface(i.lender);
        t.rows.push_back({i.name, state_text(i),
                          "unnumbered, use " + (lender ? lender->name : std::string("-")),
                          std::to_string(i.ip4_table)});
      } else if (i.addresses.empty()) {
        t.rows.push_back({i.name, state_text(i), "-", std::to_string(i.ip4_table)});
      }
      for (const auto& a : i.addresses)
        t.rows.push_back({i.name, state_text(i), a.str(),
                          std::to_string(a.address.is_ip4 ? i.ip4_table : i.ip6_table)});
    }
    return {};
  }
  if (wants_placement) {
    show_placement(all, reply);
    return {};
  }
  auto& t =
      reply.table("interfaces", {"Name", "Idx", "State", "MTU", "RxPackets", "RxBytes", "RxDrops",
                                 "RxErrors", "TxPackets", "TxBytes", "TxDrops", "TxErrors"});
  for (const auto& i : all) {
    std::vector<std::string> row = {i.name, std::to_string(i.index), state_text(i),
                                    std::to_string(i.mtu)};
    for (const auto* c : {&i.rx, &i.tx})
      for (const uint64_t v : {c->packets, c->bytes, c->drops, c->errors})
        row.push_back(std::to_string(v));
    t.rows.push_back(std::move(row));
  }
  return {};
}

Result<void> show_hardware(Host&, void* context, CliArgs& args, CliReply& reply) {
  if (auto ok = expect_end(args); !ok) return ok;
  auto& t =
      reply.table("hardware-interfaces", {"Name", "Idx", "Link", "Driver", "MAC", "MaxMTU",
                                          "RxQueues", "TxQueues", "Offload", "Tag", "Details"});
  for (const auto& i : net_of(context).interfaces()) {
    std::string details = i.description;
    if (i.parent != kNoIndex) {
      const auto parent = net_of(context).interface(i.parent);
      details = "VLAN " + std::to_string(i.vlan_id) + " of " + (parent ? parent->name : "-");
    }
    std::replace(details.begin(), details.end(), '\n', ';');
    t.rows.push_back({i.name, std::to_string(i.index), i.is_link_up ? "up" : "down", i.driver,
                      i.is_ethernet ? i.mac.str() : "-", std::to_string(i.max_mtu),
                      std::to_string(i.n_rx_queues), std::to_string(i.n_tx_queues),
                      caps_text(i.caps), i.tag.empty() ? "-" : i.tag, details});
  }
  return {};
}

Result<void> set_state(Host&, void* context, CliArgs& args, CliReply&) {
  const auto index = parse_interface(net_of(context), args);
  if (!index) return index.error();
  const bool up = args.accept("up");
  if (!up && !args.accept("down")) return args.unknown();
  if (auto ok = expect_end(args); !ok) return ok;
  return net_of(context).set_admin(*index, up);
}

Result<void> set_address(Host&, void* context, CliArgs& args, CliReply&) {
  const bool is_del = args.accept("del");
  const auto index = parse_interface(net_of(context), args);
  if (!index) return index.error();
  const auto prefix = parse_prefix(args);
  if (!prefix) return prefix.error();
  if (auto ok = expect_end(args); !ok) return ok;
  return is_del ? net_of(context).del_address(*index, *prefix)
                : net_of(context).add_address(*index, *prefix);
}

Result<void> set_mtu(Host&, void* context, CliArgs& args, CliReply&) {
  const bool is_ip4 = args.accept("ip4"), is_ip6 = !is_ip4 && args.accept("ip6");
  if (!is_ip4 && !is_ip6) args.accept("packet");
  const auto mtu = args.number("mtu", 0, 65'535);
  if (!mtu) return mtu.error();
  const auto index = parse_interface(net_of(context), args);
  if (!index) return index.error();
  if (auto ok = expect_end(args); !ok) return ok;
  const auto bytes = static_cast<uint32_t>(*mtu);
  return is_ip4 || is_ip6 ? net_of(context).set_ip_mtu(*index, is_ip4, bytes)
                          : net_of(context).set_mtu(*index, bytes);
}

Result<void> set_mac(Host&, void* context, CliArgs& args, CliReply&) {
  const auto index = parse_interface(net_of(context), args);
  if (!index) return index.error();
  const auto mac = parse_mac(args);
  if (!mac) return mac.error();
  if (auto ok = expect_end(args); !ok) return ok;
  return net_of(context).set_mac(*index, *mac);
}

Result<void> set_tag(Host&, void* context, CliArgs& args, CliReply&) {
  const auto index = parse_interface(net_of(context), args);
  if (!index) return index.error();
  const auto tag = args.text("tag");
  if (!tag) return tag.error();
  if (auto ok = expect_end(args); !ok) return ok;
  return net_of(context).set_tag(*index, *tag);
}

Result<void> clear_tag(Host&, void* context, CliArgs& args, CliReply&) {
  const auto index = parse_interface(net_of(context), args);
  if (!index) return index.error();
  if (auto ok = expect_end(args); !ok) return ok;
  return net_of(context).set_tag(*index, {});
}

Result<void> clear_interfaces(Host&, void* context, CliArgs& args, CliReply&) {
  const auto which = parse_last_interface(net_of(context), args);
  if (!which) return which.error();
  return net_of(context).clear_counters(*which);
}

Result<void> set_family_table(void* context, CliArgs& args, bool is_ip6) {
  const auto index = parse_interface(net_of(context), args);
  if (!index) return index.error();
  const auto table = args.number("table", 0, ~0u);
  if (!table) return table.error();
  if (auto ok = expect_end(args); !ok) return ok;
  return net_of(context).set_table(*index, static_cast<uint32_t>(*table), is_ip6);
}
Result<void> set_table(Host&, void* context, CliArgs& args, CliReply&) {
  return set_family_table(context, args, false);
}
Result<void> set_ip6_table(Host&, void* context, CliArgs& args, CliReply&) {
  return set_family_table(context, args, true);
}

Result<void> set_rx_mode(Host&, void* context, CliArgs& args, CliReply&) {
  const auto index = parse_interface(net_of(context), args);
  if (!index) return index.error();
  std::optional<uint32_t> queue;
  if (args.accept("queue")) {
    const auto n = args.number("queue", 0, 65'535);
    if (!n) return n.error();
    queue = static_cast<uint32_t>(*n);
  }
  RxMode mode = RxMode::kAdaptive;
  if (args.accept("polling"))
    mode = RxMode::kPolling;
  else if (args.accept("interrupt"))
    mode = RxMode::kInterrupt;
  else if (!args.accept("adaptive"))
    return args.unknown();
  if (auto ok = expect_end(args); !ok) return ok;
  return net_of(context).set_rx_mode(*index, mode, queue);
}

Result<void> set_rx_placement(Host&, void* context, CliArgs& args, CliReply&) {
  const auto index = parse_interface(net_of(context), args);
  if (!index) return index.error();
  uint64_t queue = 0;
  if (args.accept("queue")) {
    const auto n = args.number("queue", 0, 65'535);
    if (!n) return n.error();
    queue = *n;
  }
  if (args.accept("main"))
    return error(Status::kUnsupported, "'main' is not supported: its thread polls no queue");
  if (!args.accept("worker")) return args.unknown();
  const auto worker = args.number("worker", 0, 65'535);
  if (!worker) return worker.error();
  if (auto ok = expect_end(args); !ok) return ok;
  return net_of(context).place_rx_queue(*index, static_cast<uint32_t>(queue),
                                        static_cast<uint32_t>(*worker));
}

Result<void> set_name(Host&, void* context, CliArgs& args, CliReply&) {
  const auto index = parse_interface(net_of(context), args);
  if (!index) return index.error();
  const auto name = args.text("name");
  if (!name) return name.error();
  if (auto ok = expect_end(args); !ok) return ok;
  return net_of(context).rename_interface(*index, std::string(*name));
}

Result<void> create_loopback(Host&, void* context, CliArgs& args, CliReply& reply) {
  MacAddress mac;
  std::optional<uint32_t> instance;
  while (!args.done()) {
    if (args.accept("mac")) {
      const auto given = parse_mac(args);
      if (!given) return given.error();
      mac = *given;
    } else if (args.accept("instance")) {
      const auto n = args.number("instance", 0, ~0u);
      if (!n) return n.error();
      instance = static_cast<uint32_t>(*n);
    } else {
      return args.unknown();
    }
  }
  const auto index = net_of(context).create_loopback(mac, instance);
  if (!index) return index.error();
  const auto made = net_of(context).interface(*index);
  if (made) reply.line(made->name);
  return {};
}

Result<void> delete_loopback(Host&, void* context, CliArgs& args, CliReply&) {
  args.accept("intfc");  // as VPP's command has it
  const auto index = parse_interface(net_of(context), args);
  if (!index) return index.error();
  if (auto ok = expect_end(args); !ok) return ok;
  return net_of(context).delete_loopback(*index);
}

constexpr CliCommand kCommands[] = {
    {.path = "show interface",
     .syntax = "[addr|rx-placement] [INTERFACE]",
     .help = "Interfaces, their state and counters, their addresses, or who polls them.",
     .run = show_interface},
    {.path = "show hardware-interfaces",
     .syntax = "",
     .help = "Interfaces as their drivers see them.",
     .run = show_hardware},
    {.path = "set interface state",
     .syntax = "INTERFACE up|down",
     .help = "Lets an interface carry packets, or not.",
     .run = set_state},
    {.path = "set interface ip address",
     .syntax = "[del] INTERFACE ADDRESS/LENGTH",
     .help = "Adds or removes an address, IPv4 or IPv6.",
     .run = set_address},
    {.path = "set interface mtu",
     .syntax = "[packet|ip4|ip6] BYTES INTERFACE",
     .help =
         "Largest IP packet of an interface; of one family, when smaller. ip4 0: as the others.",
     .run = set_mtu},
    {.path = "set interface mac address",
     .syntax = "INTERFACE MAC",
     .help = "Changes the link-layer address and tells the link.",
     .run = set_mac},
    {.path = "set interface tag",
     .syntax = "INTERFACE TAG",
     .help = "Notes a word of the operator's with an interface.",
     .run = set_tag},
    {.path = "clear interface tag", .syntax = "INTERFACE", .help = "Forgets it.", .run = clear_tag},
    {.path = "clear interfaces",
     .syntax = "[INTERFACE]",
     .help = "Sets the counters of one or all interfaces to zero.",
     .run = clear_interfaces},
    {.path = "set interface ip table",
     .syntax = "INTERFACE TABLE",
     .help = "IPv4 routing table for packets from an interface; it must have no such address yet.",
     .run = set_table},
    {.path = "set interface ip6 table",
     .syntax = "INTERFACE TABLE",
     .help = "IPv6 routing table for packets from an interface; it must have no such address yet.",
     .run = set_ip6_table},
    {.path = "set interface rx-mode",
     .syntax = "INTERFACE [queue N] adaptive|polling|interrupt",
     .help = "How the receive queues are served.",
     .run = set_rx_mode},
    {.path = "set interface rx-placement",
     .syntax = "INTERFACE [queue N] worker N",
     .help = "Which worker polls a receive queue, queue 0 unless said otherwise.",
     .run = set_rx_placement},
    {.path = "set interface name",
     .syntax = "INTERFACE NAME",
     .help = "Renames an interface; its sub-interfaces are called after it.",
     .run = set_name},
    {.path = "create loopback interface",
     .syntax = "[mac MAC] [instance N]",
     .help = "Makes an interface without a wire and says its name, loopN.",
     .run = create_loopback},
    {.path = "delete loopback interface",
     .syntax = "[intfc] INTERFACE",
     .help = "Removes a loopback interface with its addresses.",
     .run = delete_loopback},
};

}  // namespace

std::span<const CliCommand> interface_commands() { return kCommands; }

}  // namespace loom
