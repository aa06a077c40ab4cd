// create memif socket, create interface memif, what deletes them, show memif. Words as VPP's.
#include <algorithm>
#include <bit>

#include "memifs.h"

namespace loom::memif {
namespace {

Memifs& memifs(void* context) { return *static_cast<Memifs*>(context); }

template <class T>
Result<void> take_number(CliArgs& args, std::string_view key, uint64_t least, uint64_t most,
                         T& out) {
  const auto n = args.number(key, least, most);
  if (!n) return n.error();
  out = static_cast<T>(*n);
  return {};
}

Result<void> take_ring_size(CliArgs& args, MemifConfig& c) {
  uint32_t size = 0;
  if (auto r = take_number(args, "ring-size", 1, 1u << kMaxLog2RingSize, size); !r) return r;
  if (!std::has_single_bit(size))
    return error(Status::kInvalid, "ring-size " + std::to_string(size) + " is not a power of two");
  c.log2_ring_size = static_cast<uint8_t>(std::countr_zero(size));
  return {};
}

Result<void> take_mode(CliArgs& args, MemifConfig& c) {
  if (args.accept("ethernet"))
    c.mode = Mode::kEthernet;
  else if (args.accept("ip"))
    c.mode = Mode::kIp;
  else
    return error(Status::kInvalid, "mode is 'ethernet' or 'ip'");
  return {};
}

Result<void> take_text(CliArgs& args, std::string_view key, std::string& out) {
  const auto word = args.text(key);
  if (!word) return word.error();
  out = *word;
  return {};
}

Result<void> take_mac(CliArgs& args, MacAddress& out) {
  std::string text;
  if (auto taken = take_text(args, "hw-addr", text); !taken) return taken;
  const auto mac = parse_mac(text);
  if (!mac || mac->is_multicast())
    return error(Status::kInvalid, "hw-addr '" + text + "' is not a unicast MAC address");
  out = *mac;
  return {};
}

Result<void> take_key(CliArgs& args, MemifConfig& c) {
  if (args.accept("id")) return take_number(args, "id", 0, ~0u, c.id);
  if (args.accept("socket-id")) return take_number(args, "socket-id", 0, ~0u - 1, c.socket_id);
  if (args.accept("ring-size")) return take_ring_size(args, c);
  if (args.accept("buffer-size")) return take_number(args, "buffer-size", 1, 65535, c.buffer_size);
  if (args.accept("rx-queues")) return take_number(args, "rx-queues", 1, kMaxRings, c.n_rx_queues);
  if (args.accept("tx-queues")) return take_number(args, "tx-queues", 1, kMaxRings, c.n_tx_queues);
  if (args.accept("mode")) return take_mode(args, c);
  if (args.accept("secret")) return take_text(args, "secret", c.secret);
  if (args.accept("hw-addr")) return take_mac(args, c.mac);
  if (args.accept("master"))
    c.is_master = true;
  else if (args.accept("slave"))
    c.is_master = false;
  else if (!args.accept("no-zero-copy"))  // as it is anyway
    return args.unknown();
  return {};
}

Result<void> create(Host&, void* context, CliArgs& args, CliReply& reply) {
  MemifConfig config;
  while (!args.done())
    if (auto taken = take_key(args, config); !taken) return taken;
  auto name = memifs(context).create(std::move(config));
  if (!name) return name.error();
  reply.line(std::move(*name));
  return {};
}

Result<void> remove(Host&, void* context, CliArgs& args, CliReply&) {
  uint32_t index = kNoIndex;
  std::string name;
  const bool by_index = args.accept("sw_if_index");
  auto taken = by_index ? take_number(args, "sw_if_index", 0, kNoIndex - 1, index)
                        : take_text(args, "name of a memif interface", name);
  if (!taken) return taken;
  if (!args.done()) return args.unknown();
  return by_index ? memifs(context).remove(index) : memifs(context).remove(name);
}

Result<void> create_socket(Host&, void* context, CliArgs& args, CliReply&) {
  uint32_t id = Memifs::kAnySocket;
  std::string file;
  while (!args.done()) {
    const auto taken = args.accept("id")         ? take_number(args, "id", 0, ~0u - 1, id)
                       : args.accept("filename") ? take_text(args, "filename", file)
                                                 : Result<void>(args.unknown());
    if (!taken) return taken;
  }
  auto added = memifs(context).add_socket(id, std::move(file));
  if (!added) return added.error();
  return {};
}

Result<void> remove_socket(Host&, void* context, CliArgs& args, CliReply&) {
  uint32_t id = 0;
  if (!args.accept("id")) return args.unknown();
  if (auto taken = take_number(args, "id", 0, ~0u - 1, id); !taken) return taken;
  if (!args.done()) return args.unknown();
  return memifs(context).remove_socket(id);
}

Result<void> show(Host& host, void* context, CliArgs& args, CliReply& reply) {
  const std::string only(args.next());
  if (!args.done()) return args.unknown();
  const Memifs& all = memifs(context);
  const Device* wanted = only.empty() ? nullptr : all.find(only);
  if (!only.empty() && !wanted)
    return error(Status::kNotFound, "there is no memif interface '" + only + "'");
  if (!wanted) {
    auto& sockets = reply.table("sockets", {"id", "listener", "rests", "filename"});
    for (const auto& [id, s] : all.sockets())
      sockets.rows.push_back(
          {std::to_string(id), s.listener ? "yes" : "no", std::to_string(s.n_rests), s.file});
  }
  auto& table = reply.table("interfaces", {"name", "role", "mode", "socket id", "id", "ring size",
                                           "buffer size", "rx queues", "tx queues", "link", "peer",
                                           "peer interface", "connected", "ring full", "reason"});
  for (const auto& [key, d] : all.all()) {
    if (wanted && d != wanted) continue;
    const MemifConfig& c = d->config;
    table.rows.push_back(
        {wanted ? only : interface_label(host, d->name, d->index), c.is_master ? "master" : "slave",
         c.mode == Mode::kIp ? "ip" : "ethernet", std::to_string(c.socket_id), std::to_string(c.id),
         std::to_string(1u << c.log2_ring_size), std::to_string(c.buffer_size),
         std::to_string(c.n_rx_queues), std::to_string(c.n_tx_queues),
         d->owned_link ? "up" : "down", d->owned_link ? d->peer_name : "",
         d->owned_link ? d->peer_interface : "", std::to_string(d->n_connected),
         std::to_string(d->tx_counters.ring_full.load(std::memory_order_relaxed)), d->last_reason});
  }
  return {};
}

constexpr const char* kCreateSyntax =
    "[id N] [socket-id N] [ring-size N] [buffer-size N] [hw-addr MAC] [master|slave] "
    "[rx-queues N] [tx-queues N] [mode ethernet|ip] [secret TEXT] [no-zero-copy]";

}  // namespace

Result<void> register_commands(Host& host, Memifs& m) {
  const CliCommand commands[] = {
      {.path = "create interface memif",
       .syntax = kCreateSyntax,
       .help = "Makes a memif interface, a slave's unless it says master. Answers with its name.",
       .context = &m,
       .run = create},
      {.path = "delete interface memif",
       .syntax = "INTERFACE | sw_if_index N",
       .help = "Removes a memif interface.",
       .context = &m,
       .run = remove},
      {.path = "create memif socket",
       .syntax = "[id N] filename PATH|@NAME",
       .help = "Gives a control socket a number: a file, or a name in the network namespace.",
       .context = &m,
       .run = create_socket},
      {.path = "delete memif socket",
       .syntax = "id N",
       .help = "Forgets the number of a control socket's file.",
       .context = &m,
       .run = remove_socket},
      {.path = "show memif",
       .syntax = "[INTERFACE]",
       .help = "Memif sockets and interfaces, with their peers.",
       .context = &m,
       .run = show},
  };
  for (const CliCommand& c : commands)
    if (auto r = host.add_cli_command(c); !r) return r;
  return {};
}

}  // namespace loom::memif
