#include "event_log/cli.h"

#include <algorithm>
#include <cstdio>

#include "event_log/event_log.h"
#include "graph/engine.h"

namespace loom {
namespace {

constexpr std::size_t kShown = 250;  // unless told; as VPP

EventLogCommands& of(void* context) { return *static_cast<EventLogCommands*>(context); }
EventLog& log_of(void* context) { return of(context).engine.events(); }

std::string seconds(TimeNs t) {
  char text[32];
  std::snprintf(text, sizeof text, "%.9f", to_seconds(t));
  return text;
}

std::string traces(const EventLog& log) {
  std::string names;
  for (unsigned i = 0; i < static_cast<unsigned>(EventTrace::kCount); ++i)
    if (log.is_traced(static_cast<EventTrace>(i)))
      (names += names.empty() ? "" : " ") += kEventTraceNames[i];
  return names.empty() ? "none" : names;
}

// Times are shown as ages: a clock that starts at the machine's boot tells nobody anything.
Result<void> show(Host&, void* context, CliArgs& args, CliReply& reply) {
  const EventLog& log = log_of(context);
  std::size_t most = kShown;
  while (!args.done()) {
    if (args.accept("all")) {
      most = ~std::size_t{0};
      continue;
    }
    const auto n = args.number("number of events", 1, ~0u);
    if (!n) return n.error();
    most = *n;
  }
  const auto events = log.read(most);
  reply.field("state", log.is_stopped() ? "stopped" : "running");
  reply.field("traced", traces(log));
  reply.field("events a thread", std::to_string(log.size()));
  reply.field("written", std::to_string(log.n_written()));
  reply.field("kept", std::to_string(log.n_kept()));
  CliTable& table = reply.table("events", {"age (s)", "thread", "event", "details"});
  const TimeNs now = of(context).engine.clock_now();
  for (const LoggedEvent& e : events)
    table.rows.push_back({seconds(now - e.time), event_thread_name(e.thread),
                          event_kind_name(e.kind), describe_event(e)});
  return {};
}

Result<void> clear(Host&, void* context, CliArgs& args, CliReply&) {
  if (!args.done()) return args.unknown();
  log_of(context).clear();
  return {};
}
Result<void> stop(Host&, void* context, CliArgs& args, CliReply&) {
  if (!args.done()) return args.unknown();
  log_of(context).set_stopped(true);
  return {};
}
Result<void> restart(Host&, void* context, CliArgs& args, CliReply&) {
  if (!args.done()) return args.unknown();
  log_of(context).set_stopped(false);
  return {};
}

Result<void> resize(Host&, void* context, CliArgs& args, CliReply&) {
  const auto n = args.number("size", EventLog::kLeastSize, EventLog::kMostSize);
  if (!n) return n.error();
  if (!args.done()) return args.unknown();
  return log_of(context).resize(static_cast<uint32_t>(*n), [&](const std::function<void()>& swap) {
    of(context).engine.with_barrier(swap);
  });
}

// In the daemon's own directory, and nowhere else: the name is a client's word.
Result<void> save(Host&, void* context, CliArgs& args, CliReply& reply) {
  const auto name = args.text("name of a file");
  if (!name) return name.error();
  if (!args.done()) return args.unknown();
  if (name->empty() || name->size() > 200 || name->starts_with('.') ||
      std::any_of(name->begin(), name->end(),
                  [](unsigned char c) { return c <= ' ' || c == '/' || c == 0x7f; }))
    return error(Status::kInvalid, "'" + std::string(*name) +
                                       "' is not the name of a file alone; it is written to " +
                                       of(context).directory);
  const std::string path = of(context).directory + "/" + std::string(*name);
  const auto events = log_of(context).read();
  if (auto r = save_events(events, path, of(context).engine.clock_now()); !r) return r;
  reply.line(std::to_string(events.size()) + " events written to " + path);
  return {};
}

Result<void> trace(Host&, void* context, CliArgs& args, CliReply& reply) {
  EventLog& log = log_of(context);
  uint32_t chosen = 0;
  bool is_disable = false;
  while (!args.done()) {
    if (args.accept("disable")) {
      is_disable = true;
      continue;
    }
    unsigned i = 0;
    while (i < static_cast<unsigned>(EventTrace::kCount) && !args.accept(kEventTraceNames[i])) ++i;
    if (i == static_cast<unsigned>(EventTrace::kCount)) return args.unknown();
    chosen |= 1u << i;
  }
  if (chosen == 0 && is_disable) chosen = ~0u;
  for (unsigned i = 0; i < static_cast<unsigned>(EventTrace::kCount); ++i)
    if (chosen >> i & 1) log.set_trace(static_cast<EventTrace>(i), !is_disable);
  reply.field("traced", traces(log));
  return {};
}

}  // namespace

Result<void> register_event_log_commands(Host& host, EventLogCommands& commands) {
  const CliCommand all[] = {
      {.path = "show event-logger",
       .syntax = "[N] [all]",
       .help = "What has happened lately, the latest 250 events unless told; the newest last.",
       .run = show},
      {.path = "event-logger clear", .syntax = "", .help = "Forgets all events.", .run = clear},
      {.path = "event-logger stop",
       .syntax = "",
       .help = "Keeps no more events; those kept stay.",
       .run = stop},
      {.path = "event-logger restart", .syntax = "", .help = "Keeps events again.", .run = restart},
      {.path = "event-logger resize",
       .syntax = "N",
       .help = "Keeps the latest N events of each thread, and forgets those that there are.",
       .run = resize},
      {.path = "event-logger save",
       .syntax = "FILE",
       .help = "Writes the events to a file in the runtime directory, a line of JSON each.",
       .run = save},
      {.path = "event-logger trace",
       .syntax = "[api] [cli] [barrier] [dispatch] [session] [disable]",
       .help = "Keeps events of these kinds, or no more: requests of the binary API, commands, "
               "barriers, workers' sleeps, sessions. Says which are kept.",
       .run = trace},
  };
  for (CliCommand c : all) {
    c.context = &commands;
    if (auto r = host.add_cli_command(c); !r) return r;
  }
  return {};
}

}  // namespace loom
