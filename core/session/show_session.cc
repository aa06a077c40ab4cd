// show session: sessions and listeners, of these what a filter leaves.
//
// With `verbose 2`, people get the lines that the transport writes, and programs (`json show ...`)
// each figure of ConnectionInfo as a column of its connection.
#include "session/show_session.h"

#include <hostloom/congestion.h>

#include <algorithm>
#include <cstdio>
#include <optional>
#include <span>

#include "session/control.h"

namespace loom::session {
namespace {

// What is to be shown only: words that are empty and ports that are 0 say nothing.
struct Filter {
  struct End {
    std::optional<IpAddress> address;
    uint16_t port = 0;
    bool matches(const IpAddress& a, uint16_t p) const {
      return (!address || *address == a) && (port == 0 || port == p);
    }
  };
  std::string transport, state, app, ns;
  std::optional<uint32_t> worker;  // no listener is one's
  End local, remote;
  bool is_any = false;  // something is asked for

  bool matches(std::string_view of_transport, std::string_view of_state, const App& of_app,
               const Endpoints& e) const {
    const auto same = [](const std::string& asked, std::string_view is) {
      return asked.empty() || asked == is;
    };
    return same(transport, of_transport) && same(state, of_state) && same(app, of_app.name) &&
           same(ns, of_app.ns->id) && local.matches(e.local, e.local_port) &&
           remote.matches(e.remote, e.remote_port);
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
    } else if (args.accept("namespace")) {
      const auto id = args.text("namespace");
      if (!id) return id.error();
      f.ns = *id;
      if (!find_namespace(l, f.ns)) return error(Status::kNotFound, "no namespace '" + f.ns + "'");
    } else if (args.accept("worker")) {
      const auto worker = args.number("worker", 0, l.workers.size() - 1);
      if (!worker) return worker.error();
      f.worker = static_cast<uint32_t>(*worker);
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

std::string end_text(const IpAddress& a, uint16_t port) {
  const std::string host = a.is_ip4 ? a.str() : "[" + a.str() + "]";
  return host + ":" + (port ? std::to_string(port) : "*");
}

// --- One session

struct Row {
  std::vector<std::string> cells;
  std::string handle, detail;
};

// Rows of one answer. Others are counted, and a filter finds them.
constexpr std::size_t kMostShown = 10'000;
// Lines of links in one answer. A session has up to kMaxDatagramLinks.
constexpr std::size_t kMostLinksShown = 1000;

// What is said of each session.
struct Depth {
  uint64_t level = 0;
  bool wants_figures = false;
  std::size_t links_left = kMostLinksShown;
};

const std::vector<std::string> kColumns = {
    "handle",  "proto",    "local",   "remote",   "state",        "worker",      "rx bytes",
    "rx fifo", "tx bytes", "tx fifo", "received", "acknowledged", "application", "namespace"};

// What a program gets beside these; none of it for a session whose transport has let go.
const std::vector<std::string> kFigures = {
    "connection state", "congestion", "cwnd",       "ssthresh",   "snd_mss",       "rcv_mss",
    "snd_wnd",          "rcv_wnd",    "snd_wscale", "rcv_wscale", "pmtu",          "in flight",
    "unacked",          "sacked",     "lost",       "retrans",    "total retrans", "segments in",
    "segments out",     "rto us",     "ato us",     "srtt us",    "rttvar us",     "min_rtt us",
    "options",          "details"};

// As Linux names what it numbers so.
const char* connection_state(uint8_t state) {
  constexpr const char* kNames[] = {"none",       "established", "syn-sent",  "syn-recv",
                                    "fin-wait-1", "fin-wait-2",  "time-wait", "closed",
                                    "close-wait", "last-ack",    "listen",    "closing"};
  return state < std::size(kNames) ? kNames[state] : "unknown";
}

void add_figures(const ConnectionInfo& c, std::vector<std::string>& to) {
  const auto n = [&to](auto v) { to.push_back(std::to_string(v)); };
  to.push_back(connection_state(c.state));
  to.push_back(c.congestion);
  n(c.cwnd);
  if (c.ssthresh == kNoSsthresh)
    to.push_back("none");
  else
    n(c.ssthresh);
  for (const uint32_t v : {c.snd_mss, c.rcv_mss, c.snd_wnd, c.rcv_wnd}) n(v);
  for (const uint8_t v : {c.snd_wscale, c.rcv_wscale}) n(v);
  for (const uint32_t v : {c.pmtu, c.in_flight, c.unacked, c.sacked, c.lost, c.retrans,
                           c.total_retrans, c.segs_in, c.segs_out})
    n(v);
  for (const TimeNs v : {c.rto, c.ato, c.srtt, c.rttvar, c.min_rtt}) n(v / kMicrosecond);
  constexpr const char* kOptions[] = {"timestamps", "sack", "wscale", "ecn"};
  std::string options;
  for (unsigned i = 0; i < std::size(kOptions); ++i)
    if (c.tcpi_options >> i & 1) (options += options.empty() ? "" : " ") += kOptions[i];
  to.push_back(options);
}

// Fills in what the transport says. False: it has let go.
bool connection_of(SessionWorker& sw, const Session& s, const TransportOps* ops,
                   ConnectionInfo& c) {
  if (!(s.flags & kTransportUp) || !ops || !ops->info) return false;
  ops->info(*sw.worker, s.conn, c);
  return true;
}

const char* name_of(const TransportOps* ops) { return ops ? ops->name : "?"; }

void describe_links(const LinkFigures& f, std::size_t& lines_left, std::string& out) {
  if (f.links.empty()) return;
  out += "  cut-through with " + std::to_string(f.open) + " peers, dropped " +
         std::to_string(f.dropped) + "\n";
  const std::size_t n = std::min(f.links.size(), lines_left);
  lines_left -= n;
  for (const LinkFigures::One& l : std::span(f.links).first(n)) {
    const Endpoints e = endpoints_of(l.remote, l.remote);
    out += "    " + end_text(e.remote, e.remote_port) + (l.is_open ? " open" : " ended") +
           ", unread " + std::to_string(l.unread) +
           (l.is_rung ? ", rung for more\n" : ", not rung for more\n");
  }
  if (n < f.links.size())
    out += "    links not shown: " + std::to_string(f.links.size() - n) + "\n";
}

// On its worker.
Row describe(SessionWorker& sw, Session& s, const ConnectionInfo& c, bool is_up, Depth& depth) {
  Row r;
  const TransportOps* ops = ops_of(sw, s);
  const bool has_detail = is_up && depth.level > 1;
  if (has_detail && ops->describe) ops->describe(*sw.worker, s.conn, r.detail);
  if (has_detail) describe_links(link_figures(sw, s), depth.links_left, r.detail);
  const auto end = [is_up](const IpAddress& a, uint16_t port) {
    return is_up ? end_text(a, port) : std::string();
  };
  std::string rx, tx;
  if (s.is_cut_through()) {
    rx = std::to_string(unread_bytes(sw, s));
    tx = std::to_string(unsent_bytes(sw, s));
  } else if (s.shared) {
    auto fifo = rx_of(s);
    (void)fifo.refresh();
    rx = std::to_string(fifo.used());
    tx = std::to_string(tx_of(s).refresh());
  }
  r.handle = handle_text(handle_of(sw, s));
  r.cells = {r.handle,
             name_of(ops),
             end(c.endpoints.local, c.endpoints.local_port),
             end(c.endpoints.remote, c.endpoints.remote_port),
             state_name(s.state),
             std::to_string(sw.worker->index),
             rx,
             std::to_string(s.rx.size),
             tx,
             std::to_string(s.tx.size),
             std::to_string(c.bytes_received),
             std::to_string(c.bytes_acked),
             s.app->name,
             s.app->ns->id};
  if (depth.wants_figures && is_up) {
    add_figures(c, r.cells);
    r.cells.push_back(std::exchange(r.detail, {}));
  }
  return r;
}

void show_listeners(const Impl& l, const Filter& filter, CliReply& reply) {
  CliTable& t = reply.table(
      "listeners", {"handle", "proto", "local", "backlog", "queued", "application", "namespace"});
  if (filter.worker) return;
  for (uint32_t i = 0; i < l.n_listeners; ++i) {
    const Listener* x = l.listener(i);
    if (!x ||
        !filter.matches(l.transports.get(x->transport)->name, kListening, *x->app, x->endpoints))
      continue;
    t.rows.push_back({handle_text(x->handle()), l.transports.get(x->transport)->name,
                      end_text(x->endpoints.local, x->endpoints.local_port),
                      std::to_string(x->backlog), std::to_string(x->accepts.count()), x->app->name,
                      x->app->ns->id});
  }
}

Result<void> show_session(Host&, void* context, CliArgs& args, CliReply& reply) {
  Impl& l = *static_cast<Impl*>(context);
  Depth depth;
  if (args.accept("verbose")) {
    depth.level = 1;
    if (const auto word = args.peek(); !word.empty() && word[0] >= '0' && word[0] <= '9') {
      auto n = args.number("verbose level", 1, 2);
      if (!n) return n.error();
      depth.level = *n;
    }
  }
  const auto filter = parse_filter(l, args);
  if (!filter) return filter.error();
  if (filter->is_any && depth.level == 0) depth.level = 1;
  depth.wants_figures = depth.level > 1 && reply.is_json();
  std::vector<Row> rows;
  uint64_t not_shown = 0;
  for (uint32_t i = 0; depth.level != 0 && i < l.engine.n_workers(); ++i) {
    if (filter->worker && *filter->worker != i) continue;
    for_each_session(l, i, [&](SessionWorker& sw, Session& s) {
      ConnectionInfo c;
      const TransportOps* ops = ops_of(sw, s);
      const bool is_up = connection_of(sw, s, ops, c);
      if (!filter->matches(name_of(ops), state_name(s.state), *s.app,
                           is_up ? c.endpoints : Endpoints{}))
        return;
      if (rows.size() < kMostShown)
        rows.push_back(describe(sw, s, c, is_up, depth));
      else
        ++not_shown;
    });
  }
  reply.field("sessions", std::to_string(n_sessions(l)));
  if (l.stopped) reply.field("state", "disabled");
  if (l.attach_off) reply.field("attach socket", "disabled");
  reply.field("established flows", std::to_string(l.flows->established()));
  reply.field("half-open flows", std::to_string(l.flows->half_open()));
  if (not_shown != 0) reply.field("connections not shown", std::to_string(not_shown));
  show_listeners(l, *filter, reply);
  if (!depth.level) return {};
  std::vector<std::string> columns = kColumns;
  if (depth.wants_figures) columns.insert(columns.end(), kFigures.begin(), kFigures.end());
  CliTable& t = reply.table("connections", std::move(columns));
  for (Row& r : rows) t.rows.push_back(std::move(r.cells));
  for (const Row& r : rows)
    if (!r.detail.empty()) reply.line(r.handle + "\n" + r.detail);
  return {};
}

constexpr CliCommand kCommands[] = {
    {.path = "show session",
     .syntax = "[verbose [1|2]] [proto NAME] [state "
               "listen|connecting|accepted|open|closing|detached|lingering] [app NAME] [namespace "
               "ID] [worker N] [lcl ENDPOINT] [rmt ENDPOINT]",
     .help = "Sessions, listeners and their queues; of these, those that a filter leaves.",
     .run = show_session},
};

}  // namespace

std::span<const CliCommand> show_session_commands() { return kCommands; }

std::string handle_text(SessionHandle v) {
  char text[24];
  std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(v));
  return text;
}

Result<SessionHandle> parse_handle(const std::string& text) {
  return parse_number(text.starts_with("0x") ? text : "0x" + text);
}

}  // namespace loom::session
