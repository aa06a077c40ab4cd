// show interface, show hardware-interfaces, set interface ..., create and delete loopback.
#include <algorithm>

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

Result<void> show_interface(Host&, void* context, CliArgs& args, CliReply& reply) {
  auto all = net_of(context).interfaces();
  const bool wants_addresses = args.accept("addr") || args.accept("address");
  if (!args.done()) {
    const auto index = parse_interface(net_of(context), args);
    if (!index) return index.error();
    std::erase_if(all, [&](const InterfaceListing& i) { return i.index != *index; });
  }
  if (auto ok = expect_end(args); !ok) return ok;
  if (wants_addresses) {
    auto& t = reply.table("addresses", {"Name", "State", "Address", "Table"});
    for (const auto& i : all) {
      if (i.addresses.empty())
        t.rows.push_back({i.name, state_text(i), "-", std::to_string(i.table)});
      for (const auto& a : i.addresses)
        t.rows.push_back({i.name, state_text(i), a.str(), std::to_string(i.table)});
    }
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
  auto& t = reply.table("hardware-interfaces", {"Name", "Idx", "Link", "Driver", "MAC", "MaxMTU",
                                                "RxQueues", "TxQueues", "Offload", "Details"});
  for (const auto& i : net_of(context).interfaces()) {
    std::string details = i.description;
    std::replace(details.begin(), details.end(), '\n', ';');
    t.rows.push_back({i.name, std::to_string(i.index), i.is_link_up ? "up" : "down", i.driver,
                      i.is_ethernet ? i.mac.str() : "-", std::to_string(i.max_mtu),
                      std::to_string(i.n_rx_queues), std::to_string(i.n_tx_queues),
                      caps_text(i.caps), details});
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
  args.accept("packet");
  const auto mtu = args.number("mtu", 0, 65'535);
  if (!mtu) return mtu.error();
  const auto index = parse_interface(net_of(context), args);
  if (!index) return index.error();
  if (auto ok = expect_end(args); !ok) return ok;
  return net_of(context).set_mtu(*index, static_cast<uint32_t>(*mtu));
}

Result<void> set_table(Host&, void* context, CliArgs& args, CliReply&) {
  const auto index = parse_interface(net_of(context), args);
  if (!index) return index.error();
  const auto table = args.number("table", 0, ~0u);
  if (!table) return table.error();
  if (auto ok = expect_end(args); !ok) return ok;
  return net_of(context).set_table(*index, static_cast<uint32_t>(*table));
}

Result<void> set_rx_mode(Host&, void* context, CliArgs& args, CliReply&) {
  const auto index = parse_interface(net_of(context), args);
  if (!index) return index.error();
  RxMode mode = RxMode::kAdaptive;
  if (args.accept("polling"))
    mode = RxMode::kPolling;
  else if (args.accept("interrupt"))
    mode = RxMode::kInterrupt;
  else if (!args.accept("adaptive"))
    return args.unknown();
  if (auto ok = expect_end(args); !ok) return ok;
  return net_of(context).set_rx_mode(*index, mode);
}

Result<void> create_loopback(Host&, void* context, CliArgs& args, CliReply& reply) {
  if (auto ok = expect_end(args); !ok) return ok;
  const auto index = net_of(context).create_loopback();
  if (!index) return index.error();
  const auto made = net_of(context).interface(*index);
  if (made) reply.line(made->name);
  return {};
}

Result<void> delete_loopback(Host&, void* context, CliArgs& args, CliReply&) {
  const auto index = parse_interface(net_of(context), args);
  if (!index) return index.error();
  if (auto ok = expect_end(args); !ok) return ok;
  return net_of(context).delete_loopback(*index);
}

constexpr CliCommand kCommands[] = {
    {.path = "show interface",
     .syntax = "[addr] [NAME]",
     .help = "Interfaces, their state and counters, or their addresses.",
     .run = show_interface},
    {.path = "show hardware-interfaces",
     .syntax = "",
     .help = "Interfaces as their drivers see them.",
     .run = show_hardware},
    {.path = "set interface state",
     .syntax = "NAME up|down",
     .help = "Lets an interface carry packets, or not.",
     .run = set_state},
    {.path = "set interface ip address",
     .syntax = "[del] NAME ADDRESS/LENGTH",
     .help = "Adds or removes an address, IPv4 or IPv6.",
     .run = set_address},
    {.path = "set interface mtu",
     .syntax = "[packet] BYTES NAME",
     .help = "Largest IP packet of an interface.",
     .run = set_mtu},
    {.path = "set interface ip table",
     .syntax = "NAME TABLE",
     .help = "Routing table for packets from an interface; it must have no address yet.",
     .run = set_table},
    {.path = "set interface rx-mode",
     .syntax = "NAME adaptive|polling|interrupt",
     .help = "How the receive queues are served.",
     .run = set_rx_mode},
    {.path = "create loopback interface",
     .syntax = "",
     .help = "Makes an interface without a wire and says its name.",
     .run = create_loopback},
    {.path = "delete loopback interface",
     .syntax = "NAME",
     .help = "Removes a loopback interface with its addresses.",
     .run = delete_loopback},
};

}  // namespace

std::span<const CliCommand> interface_commands() { return kCommands; }

}  // namespace loom
