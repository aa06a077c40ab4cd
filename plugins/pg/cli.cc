// packet-generator new, delete, enable-stream, disable-stream, capture; create and delete
// packet-generator interface; show packet-generator.
#include <algorithm>
#include <cstdio>

#include <hostloom/config.h>

#include "packet_text.h"
#include "pg.h"

namespace loom::pg {
namespace {

Pg& pg_of(void* context) { return *static_cast<Pg*>(context); }

Result<void> add(Host&, void* context, CliArgs& args, CliReply&) {
  auto config = read_stream(args);
  if (!config) return config.error();
  return pg_of(context).streams.add(std::move(*config));
}

Result<void> remove(Host&, void* context, CliArgs& args, CliReply&) {
  const auto name = args.text("name of a stream");
  if (!name) return name.error();
  if (!args.done()) return args.unknown();
  return pg_of(context).streams.remove(std::string(*name));
}

template <bool kEnable>
Result<void> enable(Host&, void* context, CliArgs& args, CliReply&) {
  const std::string name(args.next());
  if (!args.done()) return args.unknown();
  return pg_of(context).streams.set_enabled(name, kEnable);
}

Result<void> create_interface(Host&, void* context, CliArgs& args, CliReply& reply) {
  const CliArgs at = args;
  const std::string name(args.next());
  const auto id = name.starts_with("pg") ? parse_number(std::string_view(name).substr(2))
                                         : Result<uint64_t>(Error{});
  if (!id || *id > kMostId || name != "pg" + std::to_string(*id))
    return refuse(at, "a name from pg0 to pg" + std::to_string(kMostId) + " is wanted there");
  if (!args.done()) return args.unknown();
  if (auto r = pg_of(context).interfaces.create(static_cast<uint32_t>(*id)); !r) return r;
  reply.line(name);
  return {};
}

Result<void> delete_interface(Host&, void* context, CliArgs& args, CliReply&) {
  Pg& pg = pg_of(context);
  const auto word = args.text("name of an interface");
  if (!word) return word.error();
  const std::string name(*word);
  if (!args.done()) return args.unknown();
  if (const PgInterface* i = pg.interfaces.find(name))
    if (const Stream* s = pg.streams.user_of(name, i->index))
      return error(Status::kInUse, "stream '" + s->config.name + "' uses " + name);
  return pg.interfaces.remove(name);
}

Result<void> capture(Host&, void* context, CliArgs& args, CliReply& reply) {
  constexpr uint64_t kMostPackets = 1'000'000;
  Pg& pg = pg_of(context);
  const auto word = args.text("name of an interface");
  if (!word) return word.error();
  const std::string name(*word);
  if (args.accept("disable")) {
    if (!args.done()) return args.unknown();
    const auto n = pg.interfaces.end_capture(name);
    if (!n) return n.error();
    reply.line(std::to_string(*n) + " packets written");
    return {};
  }
  if (!args.accept("pcap")) return refuse(args, "`pcap FILE` or `disable` is wanted there");
  const auto file = args.text("file");
  if (!file) return file.error();
  uint64_t most = kMostPackets;
  if (args.accept("count")) {
    const auto n = args.number("count", 1, kMostPackets);
    if (!n) return n.error();
    most = *n;
  }
  if (!args.done()) return args.unknown();
  return pg.interfaces.begin_capture(name, std::string(*file), most);
}

std::string or_dash(const std::string& s) { return s.empty() ? "-" : s; }

std::string real(double v) {
  char text[32];
  std::snprintf(text, sizeof text, "%.10g", v);
  return text;
}

std::string sizes(const Stream& s) {
  const std::string least = std::to_string(s.least_length);
  return s.least_length == s.most_length ? least : least + "-" + std::to_string(s.most_length);
}

void show_stream(const Stream& s, CliReply& reply) {
  const StreamConfig& c = s.config;
  reply.field("name", c.name);
  reply.field("state", s.active() ? "enabled" : "disabled");
  reply.field("origin", c.origin);
  reply.field("packets", std::to_string(c.frames.size()));
  reply.field("sizes", sizes(s));
  reply.field("limit", std::to_string(c.limit));
  reply.field("rate", real(c.rate));
  reply.field("maxframe", std::to_string(c.max_frame));
  reply.field("worker", std::to_string(c.worker));
  reply.field("node", kNextNames[c.node]);
  reply.field("interface", or_dash(c.rx_interface));
  reply.field("tx-interface", or_dash(c.tx_interface));
  reply.field("sent", std::to_string(s.n_sent));
  reply.field("no buffers", std::to_string(s.n_blocked));
  constexpr uint32_t kShown = 128;
  const Frame& f = c.frames[0];
  std::string hex;
  for (uint32_t i = 0; i < std::min(f.length, kShown); ++i) {
    char digits[3];
    std::snprintf(digits, sizeof digits, "%02x", c.bytes[f.at + i]);
    hex += digits;
  }
  reply.field("first packet", hex + (f.length > kShown ? "..." : ""));
}

Result<void> show(Host&, void* context, CliArgs& args, CliReply& reply) {
  const Pg& pg = pg_of(context);
  const std::string name(args.next());
  if (!args.done()) return args.unknown();
  if (!name.empty()) {
    const auto at = pg.streams.all().find(name);
    if (at == pg.streams.all().end())
      return error(Status::kNotFound, "there is no stream '" + name + "'");
    show_stream(*at->second, reply);
    return {};
  }
  CliTable& streams = reply.table("streams", {"name", "enabled", "sent", "limit", "rate", "sizes",
                                              "node", "interface", "worker"});
  for (const auto& [stream_name, s] : pg.streams.all()) {
    const StreamConfig& c = s->config;
    streams.rows.push_back({stream_name, s->active() ? "yes" : "no", std::to_string(s->n_sent),
                            std::to_string(c.limit), real(c.rate), sizes(*s), kNextNames[c.node],
                            or_dash(c.node == kToOutput ? c.tx_interface : c.rx_interface),
                            std::to_string(c.worker)});
  }
  CliTable& interfaces = reply.table("interfaces", {"name", "capture", "captured", "no room"});
  for (const auto& [id, i] : pg.interfaces.all()) {
    const Capture* c = i->capture.get();
    interfaces.rows.push_back({pg.interfaces.label(*i), c ? c->file() : "-",
                               std::to_string(c ? c->n_captured() : 0),
                               std::to_string(c ? c->n_lost() : 0)});
  }
  return {};
}

}  // namespace

Result<void> register_commands(Host& host, Pg& pg) {
  const CliCommand commands[] = {
      {.path = "packet-generator new",
       .syntax = "{ name NAME [limit N] [rate N] [size N-N] [maxframe N] [worker N] "
                 "[interface INTERFACE] [tx-interface INTERFACE] [node NODE] "
                 "pcap FILE | data { HEADERS }... }",
       .help = "Makes a stream of packets, described or from a file; enable-stream sends it.",
       .context = &pg,
       .run = add},
      {.path = "packet-generator delete",
       .syntax = "NAME",
       .help = "Forgets a stream.",
       .context = &pg,
       .run = remove},
      {.path = "packet-generator enable-stream",
       .syntax = "[NAME]",
       .help = "Begins to send a stream, or all of them, from the first packet on.",
       .context = &pg,
       .run = enable<true>},
      {.path = "packet-generator disable-stream",
       .syntax = "[NAME]",
       .help = "Stops a stream, or all of them.",
       .context = &pg,
       .run = enable<false>},
      {.path = "packet-generator capture",
       .syntax = "INTERFACE pcap FILE [count N] | INTERFACE disable",
       .help = "Keeps what is sent by an interface of the packet generator; the file is complete "
               "after N packets or `disable`.",
       .context = &pg,
       .run = capture},
      {.path = "create packet-generator interface",
       .syntax = "pgN",
       .help = "Makes an interface whose packets come from streams and end in a capture.",
       .context = &pg,
       .run = create_interface},
      {.path = "delete packet-generator interface",
       .syntax = "pgN",
       .help = "Removes an interface of the packet generator.",
       .context = &pg,
       .run = delete_interface},
      {.path = "show packet-generator",
       .syntax = "[NAME]",
       .help = "Streams and interfaces of the packet generator, or one stream.",
       .context = &pg,
       .run = show},
  };
  for (const CliCommand& c : commands)
    if (auto r = host.add_cli_command(c); !r) return r;
  return {};
}

}  // namespace loom::pg
