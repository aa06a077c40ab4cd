#include "api/cli.h"

#include <cstdio>

#include "api/replay.h"
#include "api/server.h"

namespace loom {
namespace {

ApiCommands& of(void* context) { return *static_cast<ApiCommands*>(context); }

Result<ApiServer*> server_of(void* context) {
  if (!of(context).server) return error(Status::kAgain, "the API socket is not open yet");
  return of(context).server.get();
}

// The end of a line, when nothing is expected any more, and the server.
Result<ApiServer*> only_server(void* context, CliArgs& args) {
  if (!args.done()) return args.unknown();
  return server_of(context);
}

void add_clients(const ApiServer& server, CliReply& reply) {
  auto& table =
      reply.table("clients", {"client", "name", "pid", "messages", "queued-bytes", "dumping"});
  for (const auto& c : server.clients())
    table.rows.push_back({std::to_string(c.index), c.name.empty() ? "-" : c.name,
                          std::to_string(c.pid), std::to_string(c.messages),
                          std::to_string(c.queued_bytes), c.is_dumping ? "yes" : "no"});
}

Result<void> show_api(Host&, void* context, CliArgs& args, CliReply& reply) {
  const auto server = only_server(context, args);
  if (!server) return server.error();
  const auto& c = (*server)->counters();
  const std::pair<const char*, uint64_t> counters[] = {
      {"accepted", c.accepted},         {"messages", c.messages},
      {"unknown", c.unknown},           {"malformed", c.malformed},
      {"unregistered", c.unregistered}, {"bad-frames", c.bad_frames},
      {"slow-readers", c.slow_readers}, {"refused", c.refused}};
  for (const auto& [name, value] : counters) reply.field(name, std::to_string(value));
  add_clients(**server, reply);
  return {};
}

Result<void> show_api_clients(Host&, void* context, CliArgs& args, CliReply& reply) {
  const auto server = only_server(context, args);
  if (!server) return server.error();
  add_clients(**server, reply);
  return {};
}

Result<void> show_api_messages(Host&, void* context, CliArgs& args, CliReply& reply) {
  const std::string module(args.next());
  if (!args.done()) return args.unknown();
  const ApiRegistry& registry = of(context).registry;
  auto& table = reply.table("messages", {"id", "message", "crc", "module", "who"});
  for (const auto& entry : registry.entries()) {
    const ApiModule* owner = entry.is_removed ? nullptr : registry.module_of(entry.info);
    if (!owner || (!module.empty() && module != owner->name)) continue;
    char crc[16];
    std::snprintf(crc, sizeof crc, "%08x", entry.info.crc);
    table.rows.push_back({std::to_string(registry.id_of(entry.info)), entry.info.name, crc,
                          owner->name, entry.handler.begin ? "answered" : "sent"});
  }
  if (table.rows.empty() && !module.empty())
    return error(Status::kNotFound, "no module '" + module + "'");
  return {};
}

Result<void> show_api_trace(Host&, void* context, CliArgs& args, CliReply& reply) {
  const auto server = only_server(context, args);
  if (!server) return server.error();
  constexpr std::size_t kShown = 48;  // bytes of each; a saved trace has all
  const ApiTrace& trace = (*server)->trace();
  reply.field("tracing", trace.is_on() ? "on" : "off");
  reply.field("dropped", std::to_string(trace.n_dropped()));
  auto& table = reply.table("trace", {"seconds", "client", "message", "bytes", "body"});
  for (const auto& r : trace.records()) {
    char seconds[32];
    std::snprintf(seconds, sizeof seconds, "%.6f", r.time_s);
    const bool is_long = r.body.size() > kShown;
    table.rows.push_back({seconds, std::to_string(r.client_index), r.message,
                          std::to_string(r.body.size()),
                          to_hex(std::span(r.body).first(is_long ? kShown : r.body.size())) +
                              (is_long ? "..." : "")});
  }
  return {};
}

Result<void> trace_on(Host&, void* context, CliArgs& args, CliReply&) {
  uint64_t n = ApiTrace::kDefaultRecords;
  if (!args.done()) {
    const auto given = args.number("number of requests", 1, ApiTrace::kMostRecords);
    if (!given) return given.error();
    n = *given;
  }
  const auto server = only_server(context, args);
  if (!server) return server.error();
  (*server)->trace().start(n);
  return {};
}

Result<void> trace_off(Host&, void* context, CliArgs& args, CliReply&) {
  const auto server = only_server(context, args);
  if (!server) return server.error();
  (*server)->trace().stop();
  return {};
}

Result<void> trace_save(Host&, void* context, CliArgs& args, CliReply& reply) {
  const auto path = args.text("the file's name");
  if (!path) return path.error();
  const auto server = only_server(context, args);
  if (!server) return server.error();
  const auto saved = save_api_trace((*server)->trace(), std::string(*path));
  if (saved) reply.field("saved", std::to_string((*server)->trace().records().size()));
  return saved;
}

Result<void> trace_replay(Host&, void* context, CliArgs& args, CliReply& reply) {
  const auto path = args.text("the file's name");
  if (!path) return path.error();
  if (!args.done()) return args.unknown();
  ApiCommands& self = of(context);
  if (self.is_replaying) return error(Status::kInvalid, "a replay does not replay");
  const auto records = load_api_trace(std::string(*path));
  if (!records) return records.error();
  self.is_replaying = true;
  const ApiReplay r = replay_api_trace(self.registry, *records);
  self.is_replaying = false;
  const std::pair<const char*, std::size_t> counts[] = {{"requests", r.requests},
                                                        {"unknown", r.unknown},
                                                        {"malformed", r.malformed},
                                                        {"failed", r.failed},
                                                        {"answers", r.answers}};
  for (const auto& [name, value] : counts) reply.field(name, std::to_string(value));
  return {};
}

}  // namespace

Result<void> register_api_commands(Host& host, ApiCommands& commands) {
  const CliCommand all[] = {
      {.path = "show api",
       .help = "What the binary API's clients sent and did wrong, and who they are.",
       .run = show_api},
      {.path = "show api clients",
       .help = "Clients of the binary API, and what each has not read yet.",
       .run = show_api_clients},
      {.path = "show api messages",
       .syntax = "[MODULE]",
       .help = "The messages of this run, with their numbers.",
       .run = show_api_messages},
      {.path = "show api trace",
       .help = "The latest requests, since `api trace on`.",
       .run = show_api_trace},
      {.path = "api trace on",
       .syntax = "[N]",
       .help = "Keeps the latest N requests of the binary API, 1000 unless told.",
       .run = trace_on},
      {.path = "api trace off",
       .help = "Keeps no more requests; those kept stay.",
       .run = trace_off},
      {.path = "api trace save",
       .syntax = "FILE",
       .help = "Writes the requests that were kept to a file.",
       .run = trace_save},
      {.path = "api trace replay",
       .syntax = "FILE",
       .help = "Answers the requests of a file again, and counts what came of it.",
       .run = trace_replay},
  };
  for (CliCommand c : all) {
    c.context = &commands;
    auto added = host.add_cli_command(c);
    if (!added) return added;
  }
  return {};
}

}  // namespace loom
