// show session, show app, show segment-manager, clear session, session enable and disable, session
// sapi.
#include <cstdio>
#include <optional>

#include "session/control.h"

namespace loom {
namespace {

using namespace session;

struct Row {
  std::string handle, transport, local, remote, state, rx, tx, app;
  std::string detail;
  Endpoints endpoints;
};

// What `show session` is to show only: words that are empty and ports that are 0 say nothing.
struct Filter {
  struct End {
    std::optional<IpAddress> address;
    uint16_t port = 0;
    bool matches(const IpAddress& a, uint16_t p) const {
      return (!address || *address == a) && (port == 0 || port == p);
    }
  };
  std::string transport, state, app;
  End local, remote;
  bool is_any = false;  // something is asked for

  bool matches(std::string_view of_transport, std::string_view of_state, std::string_view of_app,
               const Endpoints& e) const {
    const auto same = [](const std::string& asked, std::string_view is) {
      return asked.empty() || asked == is;
    };
    return same(transport, of_transport) && same(state, of_state) && same(app, of_app) &&
           local.matches(e.local, e.local_port) && remote.matches(e.remote, e.remote_port);
  }
};

constexpr const char* kListening = "listen";  // the state of a listener, beside a session's

bool is_state(std::string_view name) {
  for (const State s : {State::kConnecting, State::kAccepted, State::kOpen, State::kClosing,
                        State::kDetached, State::kLingering})
    if (name == state_name(s)) return true;
  return name == kListening;
}

// ADDRESS, ADDRESS:PORT, [ADDRESS]:PORT or :PORT.
Result<Filter::End> parse_end(std::string_view text) {
  if (const auto whole = IpAddress::parse(text)) return Filter::End{*whole, 0};
  Filter::End end;
  const auto colon = text.rfind(':');
  std::string_view host = text.substr(0, std::min(colon, text.size()));
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  end.address = IpAddress::parse(host);
  uint64_t port = 0;
  if (colon != text.npos) {
    const auto number = parse_number(text.substr(colon + 1));
    if (number) port = *number;
  }
  if ((!end.address && !host.empty()) || port == 0 || port > 65535)
    return error(Status::kInvalid,
                 "'" + std::string(text) + "' is not ADDRESS, ADDRESS:PORT or :PORT");
  end.port = static_cast<uint16_t>(port);
  return end;
}

Result<Filter> parse_filter(const Impl& l, CliArgs& args) {
  Filter f;
  while (!args.done()) {
    f.is_any = true;
    if (args.accept("proto")) {
      const auto name = args.text("transport");
      if (!name) return name.error();
      if (l.transports.find_name(*name) == kNoTransport)
        return error(Status::kNotFound, "no transport '" + std::string(*name) + "'");
      f.transport = *name;
    } else if (args.accept("state")) {
      const auto name = args.text("state");
      if (!name) return name.error();
      f.state = *name;
      if (!is_state(f.state))
        return error(Status::kInvalid, "no session is ever '" + f.state + "'");
    } else if (args.accept("app")) {
      const auto name = args.text("application");
      if (!name) return name.error();
      f.app = *name;
    } else if (const bool is_local = args.accept("lcl"); is_local || args.accept("rmt")) {
      const auto text = args.text("endpoint");
      if (!text) return text.error();
      const auto end = parse_end(*text);
      if (!end) return end.error();
      (is_local ? f.local : f.remote) = *end;
    } else {
      return args.unknown();
    }
  }
  return f;
}

// With its prefix, or JSON would have a number where there is no letter in it.
std::string hex(uint64_t v) {
  char text[24];
  std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(v));
  return text;
}

// As hex() writes it, or without the prefix.
Result<uint64_t> parse_handle(const std::string& name) {
  return parse_number(name.starts_with("0x") ? name : "0x" + name);
}

std::string end_text(const IpAddress& a, uint16_t port) {
  const std::string host = a.is_ip4 ? a.str() : "[" + a.str() + "]";
  return host + ":" + (port ? std::to_string(port) : "*");
}

Row describe(SessionWorker& sw, Session& s, uint64_t level) {
  Row r;
  const TransportOps* ops = ops_of(sw, s);
  r.handle = hex(handle_of(sw, s));
  r.transport = ops ? ops->name : "?";
  r.state = state_name(s.state);
  r.app = s.app->name;
  if ((s.flags & kTransportUp) && ops && ops->info) {
    ConnectionInfo c;
    ops->info(*sw.worker, s.conn, c);
    r.endpoints = c.endpoints;
    r.local = end_text(c.endpoints.local, c.endpoints.local_port);
    r.remote = end_text(c.endpoints.remote, c.endpoints.remote_port);
    if (level > 1 && ops->describe) ops->describe(*sw.worker, s.conn, r.detail);
  }
  if (s.is_cut_through()) {
    r.rx = std::to_string(unread_bytes(sw, s));
    r.tx = std::to_string(unsent_bytes(sw, s));
  } else if (s.shared) {
    (void)s.rx.refresh();
    r.rx = std::to_string(s.rx.used());
    r.tx = std::to_string(s.tx.refresh());
  }
  return r;
}

Result<void> show_session(Host&, void* context, CliArgs& args, CliReply& reply) {
  Impl& l = *static_cast<Impl*>(context);
  uint64_t level = 0;
  if (args.accept("verbose")) {
    level = 1;
    if (const auto word = args.peek(); !word.empty() && word[0] >= '0' && word[0] <= '9') {
      auto n = args.number("verbose level", 1, 2);
      if (!n) return n.error();
      level = *n;
    }
  }
  const auto filter = parse_filter(l, args);
  if (!filter) return filter.error();
  if (filter->is_any && level == 0) level = 1;
  uint32_t total = 0;
  std::vector<Row> rows;
  for (uint32_t i = 0; i < l.engine.n_workers(); ++i)
    for_each_session(l, i, [&](SessionWorker& sw, Session& s) {
      ++total;
      if (level == 0) return;
      Row row = describe(sw, s, level);
      if (filter->matches(row.transport, row.state, row.app, row.endpoints))
        rows.push_back(std::move(row));
    });
  reply.field("sessions", std::to_string(total));
  if (l.stopped) reply.field("state", "disabled");
  if (l.attach_off) reply.field("attach socket", "disabled");
  reply.field("established flows", std::to_string(l.flows->established()));
  reply.field("half-open flows", std::to_string(l.flows->half_open()));
  CliTable& listeners =
      reply.table("listeners", {"handle", "proto", "local", "backlog", "queued", "application"});
  for (uint32_t i = 0; i < l.n_listeners; ++i) {
    const Listener* x = l.listener(i);
    if (!x || !filter->matches(l.transports.get(x->transport)->name, kListening, x->app->name,
                               x->endpoints))
      continue;
    listeners.rows.push_back({hex(x->handle()), l.transports.get(x->transport)->name,
                              end_text(x->endpoints.local, x->endpoints.local_port),
                              std::to_string(x->backlog), std::to_string(x->accepts.count()),
                              x->app->name});
  }
  if (!level) return {};
  CliTable& t = reply.table("connections", {"handle", "proto", "local", "remote", "state",
                                            "rx bytes", "tx bytes", "application"});
  for (const Row& r : rows)
    t.rows.push_back({r.handle, r.transport, r.local, r.remote, r.state, r.rx, r.tx, r.app});
  for (const Row& r : rows)
    if (!r.detail.empty()) reply.line(r.handle + "\n" + r.detail);
  return {};
}

Result<void> show_one_app(const Impl& l, uint64_t index, CliReply& reply) {
  const App* a = index < l.apps.size() ? l.apps[index].get() : nullptr;
  if (!a) return error(Status::kNotFound, "no application " + std::to_string(index));
  reply.field("name", a->name);
  reply.field("namespace", a->ns->id);
  reply.field("state", app_state(*a));
  reply.field("sessions", std::to_string(a->n_sessions.load()));
  reply.field("rx-fifo", std::to_string(a->rx_fifo_size));
  reply.field("tx-fifo", std::to_string(a->tx_fifo_size));
  CliTable& t = reply.table("workers", {"index", "pid"});
  for (const auto& w : a->workers)
    if (w) t.rows.push_back({std::to_string(w->index), std::to_string(w->pid)});
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

Result<void> show_segments(Host&, void* context, CliArgs& args, CliReply& reply) {
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
      {.path = "show session",
       .syntax = "[verbose [1|2]] [proto NAME] [state "
                 "listen|connecting|accepted|open|closing|detached|lingering] [app NAME] [lcl "
                 "ENDPOINT] [rmt ENDPOINT]",
       .help = "Sessions, listeners and their queues; of these, those that a filter leaves.",
       .context = impl,
       .run = show_session},
      {.path = "show app",
       .syntax = "[INDEX | namespace ID]",
       .help = "Attached applications, all or a namespace's; of one, its workers.",
       .context = impl,
       .run = show_app},
      {.path = "show segment-manager",
       .syntax = "",
       .help = "Shared memory of applications.",
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
  for (const auto more : {drain_commands(), namespace_commands(), rule_commands()})
    for (CliCommand c : more) {
      c.context = impl;
      commands.push_back(c);
    }
  for (const CliCommand& c : commands)
    if (auto r = host.add_cli_command(c); !r) return r;
  return {};
}

}  // namespace loom
