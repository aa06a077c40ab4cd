// create tap, delete tap, show tap. Words as VPP's; those that mean nothing here are accepted and
// named in README.md.
#include <cstdio>

#include "taps.h"

namespace loom::tap {
namespace {

Taps& taps(void* context) { return *static_cast<Taps*>(context); }

Result<MacAddress> mac_address(CliArgs& args, std::string_view key) {
  const auto word = args.text(key);
  if (!word) return word.error();
  const auto mac = parse_mac(*word);
  if (!mac || mac->is_multicast())
    return error(Status::kInvalid, std::string(key) + " '" + std::string(*word) +
                                       "' is not a unicast MAC address like 02:fe:00:00:00:01");
  return *mac;
}

Result<IpPrefix> prefix(CliArgs& args, std::string_view key, bool is_ip4) {
  const auto word = args.text(key);
  if (!word) return word.error();
  const auto p = IpPrefix::parse(*word);
  if (!p || p->address.is_ip4 != is_ip4)
    return error(Status::kInvalid,
                 std::string(key) + " '" + std::string(*word) + "' is not an " +
                     (is_ip4 ? "IPv4 prefix like 10.0.0.1/24" : "IPv6 prefix like 2001:db8::1/64"));
  return *p;
}

// Keys with a value that become text, a number, an address; and keys that stand alone.
Result<bool> take_host_key(CliArgs& args, TapConfig& c) {
  for (auto [key, out] : {std::pair{"host-if-name", &c.host_if_name},
                          {"host-ns", &c.host_ns},
                          {"host-bridge", &c.host_bridge}}) {
    if (!args.accept(key)) continue;
    const auto word = args.text(key);
    if (!word) return word.error();
    *out = *word;
    return true;
  }
  for (const bool is_ip4 : {true, false}) {
    const char* address = is_ip4 ? "host-ip4-addr" : "host-ip6-addr";
    const char* gateway = is_ip4 ? "host-ip4-gw" : "host-ip6-gw";
    const bool is_address = args.accept(address);
    if (!is_address && !args.accept(gateway)) continue;
    const auto p = prefix(args, is_address ? address : gateway, is_ip4);
    if (!p) return p.error();
    if (is_address)
      (is_ip4 ? c.host_ip4 : c.host_ip6) = *p;
    else
      (is_ip4 ? c.host_ip4_gw : c.host_ip6_gw) = p->address;
    return true;
  }
  const bool is_host_mac = args.accept("host-mac-addr");
  if (is_host_mac || args.accept("hw-addr")) {
    const auto mac = mac_address(args, is_host_mac ? "host-mac-addr" : "hw-addr");
    if (!mac) return mac.error();
    if (is_host_mac)
      c.host_mac = *mac;
    else
      c.mac = *mac;
    return true;
  }
  return false;
}

Result<bool> take_number(CliArgs& args, std::string_view key, uint64_t least, uint64_t most,
                         auto& out) {
  if (!args.accept(key)) return false;
  const auto n = args.number(key, least, most);
  if (!n) return n.error();
  out = static_cast<std::remove_reference_t<decltype(out)>>(*n);
  return true;
}

Result<bool> take_key(CliArgs& args, TapConfig& c) {
  if (auto taken = take_host_key(args, c); !taken || *taken) return taken;
  uint32_t ring_size = 0;  // the kernel's queue is its own
  if (auto t = take_number(args, "id", 0, kMaxId, c.id); !t || *t) return t;
  if (auto t = take_number(args, "num-rx-queues", 1, 64, c.n_rx_queues); !t || *t) return t;
  if (auto t = take_number(args, "num-tx-queues", 1, 64, c.n_tx_queues); !t || *t) return t;
  if (auto t = take_number(args, "host-mtu-size", 68, 65521, c.host_mtu); !t || *t) return t;
  if (auto t = take_number(args, "rx-ring-size", 1, 32768, ring_size); !t || *t) return t;
  if (auto t = take_number(args, "tx-ring-size", 1, 32768, ring_size); !t || *t) return t;
  if (args.accept("attach")) {
    c.attach = true;
    return true;
  }
  if (args.accept("no-gso")) {
    c.segmentation = false;
    return true;
  }
  return args.accept("gso") || args.accept("csum-offload");  // on anyway
}

Result<void> create(Host&, void* context, CliArgs& args, CliReply& reply) {
  TapConfig config;
  config.id = Taps::kAnyId;
  while (!args.done()) {
    const auto taken = take_key(args, config);
    if (!taken) return taken.error();
    if (!*taken) return args.unknown();
  }
  auto name = taps(context).create(std::move(config));
  if (!name) return name.error();
  reply.line(std::move(*name));
  return {};
}

Result<void> remove(Host&, void* context, CliArgs& args, CliReply&) {
  uint32_t index = 0;
  const auto by_index = take_number(args, "sw_if_index", 0, kNoIndex - 1, index);
  if (!by_index) return by_index.error();
  std::string name;
  if (!*by_index) {
    const auto word = args.text("name of a TAP");
    if (!word) return word.error();
    name = *word;
  }
  if (!args.done()) return args.unknown();
  return *by_index ? taps(context).remove(index) : taps(context).remove(name);
}

Result<void> show(Host& host, void* context, CliArgs& args, CliReply& reply) {
  const std::string only(args.next());
  if (!args.done()) return args.unknown();
  const Device* wanted = only.empty() ? nullptr : taps(context).find(only);
  if (!only.empty() && !wanted) return error(Status::kNotFound, "there is no TAP '" + only + "'");
  auto& table =
      reply.table("taps", {"name", "host interface", "host namespace", "host mac", "rx queues",
                           "tx queues", "rx packets", "rx bytes", "rx errors", "tx errors"});
  for (const auto& [id, d] : taps(context).all()) {
    if (wanted && d != wanted) continue;
    const InterfaceCounters rx = d->rx_totals.sum();
    const TxErrors& e = d->tx_errors;
    const uint64_t tx_errors =
        e.bad_offsets + e.too_many_segments + e.host_down + e.no_memory + e.refused;
    table.rows.push_back({wanted ? only : interface_label(host, d->name, d->index), d->host_name,
                          d->config.host_ns, d->host_mac.str(), std::to_string(d->queues.size()),
                          std::to_string(d->config.n_tx_queues), std::to_string(rx.packets),
                          std::to_string(rx.bytes), std::to_string(rx.errors),
                          std::to_string(tx_errors)});
  }
  return {};
}

constexpr const char* kCreateSyntax =
    "[id N] [host-if-name NAME] [host-ns NAME|PATH] [host-ip4-addr PREFIX] [host-ip6-addr PREFIX] "
    "[host-ip4-gw ADDRESS] [host-ip6-gw ADDRESS] [host-bridge NAME] [host-mac-addr MAC] "
    "[host-mtu-size N] [hw-addr MAC] [num-rx-queues N] [num-tx-queues N] [no-gso] [attach]";

}  // namespace

Result<void> register_commands(Host& host, Taps& t) {
  const CliCommand commands[] = {
      {.path = "create tap",
       .syntax = kCreateSyntax,
       .help = "Makes a TAP; its host side is up and addressed. Answers with the interface's name.",
       .context = &t,
       .run = create},
      {.path = "delete tap",
       .syntax = "INTERFACE | sw_if_index N",
       .help = "Removes a TAP and its host side.",
       .context = &t,
       .run = remove},
      {.path = "show tap",
       .syntax = "[INTERFACE]",
       .help = "TAPs with their host side and counters.",
       .context = &t,
       .run = show},
  };
  for (const CliCommand& c : commands)
    if (auto r = host.add_cli_command(c); !r) return r;
  return {};
}

}  // namespace loom::tap
