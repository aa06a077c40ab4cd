// show app, show segment-manager, clear session, session migrate, session enable and disable,
// session sapi.
#include "session/control.h"
#include "session/show_session.h"

namespace loom {
namespace {

using namespace session;

Result<void> show_one_app(const Impl& l, uint64_t index, CliReply& reply) {
  const App* a = index < l.apps.size() ? l.apps[index].get() : nullptr;
  if (!a) return error(Status::kNotFound, "no application " + std::to_string(index));
  const auto field = [&](const char* name, uint64_t n) { reply.field(name, std::to_string(n)); };
  const auto& arena = a->arena;
  reply.field("name", a->name);
  reply.field("namespace", a->ns->id);
  reply.field("state", app_state(*a));
  reply.field("scope", a->scope.local ? a->scope.global ? "local and global" : "local" : "global");
  field("sessions", a->n_sessions.load(std::memory_order_relaxed));
  field("rx-fifo", a->rx_fifo_size);
  field("tx-fifo", a->tx_fifo_size);
  field("event queue", a->event_queue_length);
  field("segment bytes", arena.stats().segment_bytes);
  field("add-segment-size", a->add_segment_size);
  CliTable& t = reply.table("workers", {"index", "pid"});
  for (const auto& w : a->workers)
    if (w) t.rows.push_back({std::to_string(w->index), std::to_string(w->pid)});
  CliTable& listeners =
      reply.table("listeners", {"handle", "proto", "local", "port", "backlog", "queued"});
  for (uint32_t i = 0; i < l.n_listeners; ++i) {
    const Listener* x = l.listener(i);
    if (!x || x->app != a) continue;
    listeners.rows.push_back({handle_text(x->handle()), l.transports.get(x->transport)->name,
                              x->endpoints.local.str(), std::to_string(x->endpoints.local_port),
                              std::to_string(x->backlog), std::to_string(x->accepts.count())});
  }
  return {};
}

Result<void> show_app(Host&, void* context, CliArgs& args, CliReply& reply) {
  const Impl& l = *static_cast<Impl*>(context);
  std::string ns;
  if (args.accept("namespace")) {
    const auto id = args.text("namespace");
    if (!id) return id.error();
    if (!args.done()) return args.unknown();
    ns = *id;
    if (!find_namespace(l, ns)) return error(Status::kNotFound, "no namespace '" + ns + "'");
  } else if (!args.done()) {
    const auto index = args.number("application index", 0, ~0u);
    if (!index) return index.error();
    if (!args.done()) return args.unknown();
    return show_one_app(l, *index, reply);
  }
  CliTable& t = reply.table("applications", {"index", "name", "namespace", "workers", "pids",
                                             "sessions", "rx-fifo", "tx-fifo", "state"});
  for (const auto& a : l.apps) {
    if (!a || (!ns.empty() && ns != a->ns->id)) continue;
    std::string pids;
    uint32_t n = 0;
    for (const auto& w : a->workers) {
      if (!w) continue;
      ++n;
      pids += (pids.empty() ? "" : ",") + std::to_string(w->pid);
    }
    t.rows.push_back({std::to_string(a->index), a->name, a->ns->id, std::to_string(n), pids,
                      std::to_string(a->n_sessions.load()), std::to_string(a->rx_fifo_size),
                      std::to_string(a->tx_fifo_size), app_state(*a)});
  }
  return {};
}

std::string name_of(const App* a) { return a ? a->name : "(gone)"; }

// Each segment, of applications and of what two of them share.
void list_segments(const Impl& l, CliReply& reply) {
  CliTable& t = reply.table("each", {"owner", "peer", "kind", "id", "bytes"});
  const auto add = [&t](const std::string& owner, const std::string& peer, const svm::Segment& s) {
    t.rows.push_back({owner, peer,
                      s.kind() == svm::SegmentKind::kAppArena ? "application's" : "daemon's",
                      std::to_string(s.id()), std::to_string(s.size())});
  };
  const auto add_all = [&](const std::string& owner, const std::string& peer, const auto& of) {
    for (uint32_t i = 0; i < of.arena.n_segments(); ++i) add(owner, peer, of.arena.segment(i));
    for (const auto& s : of.app_arenas) add(owner, peer, *s);
  };
  for (const auto& a : l.apps)
    if (a) add_all(a->name, "", *a);
  for (const auto& p : l.pairs)
    if (p) add_all(name_of(p->apps[0]), name_of(p->apps[1]), *p);
}

Result<void> show_segments(Host&, void* context, CliArgs& args, CliReply& reply) {
  const bool is_verbose = args.accept("verbose");
  if (!args.done()) return args.unknown();
  const Impl& l = *static_cast<Impl*>(context);
  CliTable& t =
      reply.table("segments", {"application", "segments", "app arenas", "segment bytes",
                               "rx chunk bytes", "object bytes", "tx carved bytes", "failures"});
  for (const auto& a : l.apps) {
    if (!a) continue;
    const auto s = a->arena.stats();
    t.rows.push_back({a->name, std::to_string(a->arena.n_segments()),
                      std::to_string(a->app_arenas.size()), std::to_string(s.segment_bytes),
                      std::to_string(s.chunk_bytes), std::to_string(s.object_bytes),
                      std::to_string(a->app_arena.carved_bytes()), std::to_string(s.failures)});
  }
  CliTable& pairs = reply.table("cut-through", {"application", "peer", "worker", "connections",
                                                "segments", "app arenas", "segment bytes"});
  for (const auto& p : l.pairs) {
    if (!p) continue;
    pairs.rows.push_back({name_of(p->apps[0]), name_of(p->apps[1]), std::to_string(p->worker),
                          std::to_string(p->n_links.load(std::memory_order_relaxed)),
                          std::to_string(p->arena.n_segments()),
                          std::to_string(p->app_arenas.size()),
                          std::to_string(p->arena.stats().segment_bytes)});
  }
  if (is_verbose) list_segments(l, reply);
  return {};
}

Result<void> clear_session(Host&, void* context, CliArgs& args, CliReply& reply) {
  Impl& l = *static_cast<Impl*>(context);
  auto word = args.text("session handle, or 'all'");
  if (!word) return word.error();
  if (!args.done()) return args.unknown();
  if (*word == "all") {
    reply.field("reset", std::to_string(reset_all_sessions(l, false)));
    return {};
  }
  const std::string name(*word);
  const auto handle = parse_handle(name);
  if (!handle)
    return error(Status::kInvalid,
                 "'" + name + "' is not a session handle; see 'show session verbose'");
  switch (const Status s = reset_session(l, *handle)) {
    case Status::kOk:
      reply.field("reset", "1");
      return {};
    case Status::kUnsupported:
      return error(s, name + " is a listener; its application can close it");
    case Status::kNotConnected:
      return error(s, "session " + name + " has no peer");
    default:
      return error(s, "no session " + name);
  }
}

Result<void> session_migrate(Host&, void* context, CliArgs& args, CliReply&) {
  Impl& l = *static_cast<Impl*>(context);
  auto word = args.text("session handle");
  if (!word) return word.error();
  const std::string name(*word);
  const auto handle = parse_handle(name);
  if (!handle)
    return error(Status::kInvalid,
                 "'" + name + "' is not a session handle; see 'show session verbose'");
  if (!args.accept("worker")) return args.unknown();
  const auto worker = args.number("worker", 0, l.workers.size() - 1);
  if (!worker) return worker.error();
  if (!args.done()) return args.unknown();
  switch (const Status s = migrate_session(l, *handle, static_cast<uint32_t>(*worker))) {
    case Status::kOk:
      return {};
    case Status::kUnsupported:
      return error(s, name + " cannot move: its application or its transport keeps it there");
    case Status::kAgain:
      return error(s, "session " + name + " is being opened, closed or moved; try again");
    default:
      return error(s, "no session " + name);
  }
}

Result<void> session_sapi(Host&, void* context, CliArgs& args, CliReply&) {
  const bool enable = args.accept("enable");
  if ((!enable && !args.accept("disable")) || !args.done()) return args.unknown();
  return static_cast<Impl*>(context)->layer->set_attach_socket(enable);
}

template <bool enabled>
Result<void> session_enable(Host&, void* context, CliArgs& args, CliReply&) {
  if (!args.done()) return args.unknown();
  return static_cast<Impl*>(context)->layer->set_enabled(enabled);
}

}  // namespace

Result<void> register_session_commands(Host& host, SessionLayer& layer) {
  // The commands keep a pointer to the layer; they live as long as it does.
  SessionLayer::Impl* impl = &layer.impl();
  auto& commands = impl->commands;
  commands = {
      {.path = "session migrate",
       .syntax = "HANDLE worker N",
       .help = "Moves an open session and its connection to another worker.",
       .context = impl,
       .run = session_migrate},
      {.path = "show app",
       .syntax = "[INDEX | namespace ID]",
       .help = "Attached applications, all or a namespace's; of one, its limits, workers and "
               "listeners.",
       .context = impl,
       .run = show_app},
      {.path = "show segment-manager",
       .syntax = "[verbose]",
       .help = "Shared memory of applications, and of those that are joined by cut-through.",
       .context = impl,
       .run = show_segments},
      {.path = "clear session",
       .syntax = "HANDLE|all",
       .help = "Resets sessions.",
       .context = impl,
       .run = clear_session},
      {.path = "session enable",
       .syntax = "",
       .help = "Takes applications again.",
       .context = impl,
       .run = session_enable<true>},
      {.path = "session sapi",
       .syntax = "enable|disable",
       .help = "Opens or closes the attach socket; attached applications go on.",
       .context = impl,
       .run = session_sapi},
      {.path = "session disable",
       .syntax = "",
       .help = "Ends all applications' sessions and takes no application.",
       .context = impl,
       .run = session_enable<false>},
  };
  for (const auto more :
       {show_session_commands(), drain_commands(), namespace_commands(), rule_commands()})
    for (CliCommand c : more) {
      c.context = impl;
      commands.push_back(c);
    }
  for (const CliCommand& c : commands)
    if (auto r = host.add_cli_command(c); !r) return r;
  return {};
}

}  // namespace loom
