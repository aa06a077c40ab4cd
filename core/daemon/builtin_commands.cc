#include "daemon/builtin_commands.h"

#include <unistd.h>

#include <cstdio>
#include <deque>

#include "cli/tree.h"
#include "daemon/log.h"
#include "plugin/loader.h"

#ifndef HOSTLOOM_VERSION
#error "the build defines HOSTLOOM_VERSION"
#endif

namespace loom {
namespace {

BuiltinParts& parts_of(void* context) { return *static_cast<BuiltinParts*>(context); }

std::string seconds(double s) {
  char text[32];
  std::snprintf(text, sizeof text, "%.3f", s);
  return text;
}

Result<void> show_version(Host&, void* context, CliArgs& args, CliReply& reply) {
  if (!args.done()) return args.unknown();
  reply.field("program", kProgramName);
  reply.field("version", program_version());
  reply.field("pid", std::to_string(::getpid()));
  reply.field("uptime-seconds", seconds(parts_of(context).log.uptime_s()));
  return {};
}

Result<void> show_plugins(Host&, void* context, CliArgs& args, CliReply& reply) {
  if (!args.done()) return args.unknown();
  auto& table = reply.table("plugins", {"plugin", "version", "state", "summary", "file"});
  for (const auto& row : parts_of(context).plugins.list())
    table.rows.push_back({row.name.empty() ? "-" : row.name, row.version,
                          plugin_state_name(row.state),
                          row.reason.empty() ? row.summary : row.reason, row.file});
  return {};
}

Result<void> plugin_load(Host&, void* context, CliArgs& args, CliReply& reply) {
  const auto name = args.text("the plugin's name or file");
  if (!name) return name.error();
  if (!args.done()) return args.unknown();
  const auto loaded = parts_of(context).plugins.load_one(*name);
  if (!loaded) return loaded.error();
  reply.line("loaded " + *loaded);
  return {};
}

Result<void> show_log(Host&, void* context, CliArgs& args, CliReply& reply) {
  uint64_t most = 100;
  if (args.accept("last")) {
    const auto n = args.number("number of lines", 1, DaemonLog::kKept);
    if (!n) return n.error();
    most = *n;
  }
  if (!args.done()) return args.unknown();
  const auto lines = parts_of(context).log.lines();
  auto& table = reply.table("log", {"seconds", "level", "from", "text"});
  for (std::size_t i = lines.size() - std::min<std::size_t>(lines.size(), most); i < lines.size();
       ++i)
    table.rows.push_back(
        {seconds(lines[i].time_s), log_level_name(lines[i].level), lines[i].who, lines[i].text});
  return {};
}

Result<void> set_log_level(Host&, void* context, CliArgs& args, CliReply&) {
  const auto name = args.text("level");
  if (!name) return name.error();
  if (!args.done()) return args.unknown();
  for (const LogLevel level :
       {LogLevel::kDebug, LogLevel::kInfo, LogLevel::kNotice, LogLevel::kWarn, LogLevel::kError})
    if (*name == log_level_name(level)) {
      parts_of(context).log.set_level(level);
      return {};
    }
  return error(Status::kInvalid, "there is no log level '" + std::string(*name) +
                                     "'; levels are debug, info, notice, warn and error");
}

}  // namespace

const char* program_version() { return HOSTLOOM_VERSION; }

Result<void> register_builtin_commands(CliTree& tree, BuiltinParts& parts) {
  static const CliCommand kCommands[] = {
      {.path = "show version", .help = "What runs, and since when.", .run = show_version},
      {.path = "show plugins",
       .help = "Every plugin found, its state, and why one was refused.",
       .run = show_plugins},
      {.path = "plugin load",
       .syntax = "PLUGIN|FILE",
       .help = "Loads one more plugin, from the configured directories or by its file.",
       .run = plugin_load},
      {.path = "show log",
       .syntax = "[last N]",
       .help = "The latest lines of the log, 100 unless told.",
       .run = show_log},
      {.path = "set log level",
       .syntax = "debug|info|notice|warn|error",
       .help = "Lines below this level are not written from now on.",
       .run = set_log_level},
  };
  // The tree keeps pointers, and each daemon (tests make several) has parts of its own.
  static std::deque<CliCommand> registered;
  for (const auto& c : kCommands) {
    registered.push_back(c);
    registered.back().context = &parts;
    auto added = tree.add(registered.back());
    if (!added) return added;
  }
  return {};
}

}  // namespace loom
