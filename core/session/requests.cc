// What applications ask by message queue. Every field is theirs: checked before use, answered or
// counted.
#include <algorithm>
#include <cstring>

#include "session/listeners.h"
#include "session/session_events.h"

namespace loom::session {
namespace {

constexpr uint32_t kRequestsPerRound = 256;  // of one application worker: fairness
// Whose requests wait for others is looked at so soon again; nobody says when they are done.
constexpr TimeNs kHearAgain = kMillisecond;

bool is_valid(const svm::Endpoint& e) noexcept { return e.is_ip4 <= 1; }

// Who asks more than others can handle, other workers or the control thread, waits for them.
bool is_heard(const AppPort& p) noexcept {
  const AppWorker& a = *p.app_worker;
  return a.passed_on.load(std::memory_order_relaxed) < AppWorker::kMostPassedOn &&
         a.app->for_control.load(std::memory_order_relaxed) < App::kMostForControl;
}

void take_away_used(const SessionWorker& sw) noexcept {
  sw.worker->post_to_control(
      [](void* layer) { static_cast<Impl*>(layer)->settings.take_away_used(); }, sw.layer);
}

// Settings that are for one connect go with it, whatever comes of it.
struct UsedSettings {
  SessionWorker& sw;
  const App& app;
  uint32_t number;
  ~UsedSettings() {
    if (number != 0 && sw.layer->settings.used(app, number)) take_away_used(sw);
  }
};

// An internal transport makes something of a program's settings, and keeps that as long as there is
// the session. False: nobody may name them any more.
bool keep_settings(SessionWorker& sw, const TransportOps& ops, Session& s,
                   uint32_t number) noexcept {
  if (number == 0 || ops.tx_kind != TxKind::kInternal || s.app->owner->in_this_process) return true;
  if (!sw.layer->settings.hold(*s.app, number)) return false;
  s.settings = number;
  return true;
}

}  // namespace

void refuse_connect(SessionWorker& sw, AppWorker& a, uint32_t context, Status status) noexcept {
  svm::ConnectedEvent event{};
  event.context = context;
  event.status = static_cast<int32_t>(status);
  push_event(sw, a, svm::ToApp::kConnected, event);
}

void connect(SessionWorker& sw, AppWorker& a, const svm::ConnectEvent& c,
             const Waited& before) noexcept {
  Impl& layer = *sw.layer;
  const uint32_t settings = c.options.settings;
  const UsedSettings used{sw, *a.app, settings};
  const TransportId transport = layer.transports.find_proto(c.proto);
  const TransportOps* ops = layer.transports.get(transport);
  if (!ops || !ops->connect) return refuse_connect(sw, a, c.context, Status::kUnsupported);
  const bool is_datagram = ops->tx_kind == TxKind::kDatagram;
  const bool is_new = before.deadline == 0;  // one that has waited has used its settings
  Waited waited = before;
  if (is_new) waited.chance = sw.worker->ops->random(*sw.worker);
  if (!is_valid(c.remote) || (c.remote.port == 0 && !is_datagram) ||
      (settings != 0 && is_new && !layer.settings.has(*a.app, settings))) {
    ++sw.counters[kBadRequest];
    return refuse_connect(sw, a, c.context, Status::kInvalid);
  }
  char congestion[16];
  ConnectArgs args{.transport = transport,
                   .endpoints = endpoints_of(c.local, c.remote),
                   .options = options_view(c.options, congestion),
                   .rx_fifo_size = c.rx_fifo_size,
                   .tx_fifo_size = c.tx_fifo_size,
                   .context = c.context,
                   .creator = static_cast<uint8_t>(a.index),
                   .chance = waited.chance};
  keep_in_place(*a.app, args.options);
  keep_own_source(sw, *a.app, args.options);
  Endpoints& e = args.endpoints;
  if (c.remote.port != 0 && !is_datagram &&  // those stay of both families
      c.local.is_ip4 != c.remote.is_ip4) {   // only meaningful when no address was bound
    e.local = e.remote.is_ip4 ? IpAddress(Ip4Address{}) : IpAddress(Ip6Address{});
  }
  if (is_datagram) return open_datagram(sw, a, c, args, is_new);
  const IfIndex by = IfIndex{c.options.interface} - 1;  // 0: kNoIndex
  Status placed = place_connect(sw, *a.app, e, by);
  if (placed == Status::kOk && by != kNoIndex) placed = place_on(*sw.worker, *a.app->ns, e, by);
  if (placed != Status::kOk) return refuse_connect(sw, a, c.context, placed);
  Listener* l = nullptr;
  Status status = Status::kOk;
  if (layer.filters->has_egress()) [[unlikely]]
    status = layer.filters->filter_connect(sw, *a.app, args, is_new, l);
  if (status != Status::kOk) return refuse_connect(sw, a, c.context, status);
  if (!l) l = find_cut_through(sw, *a.app, args);
  status = Status::kUnreachable;  // for an application that sees no network
  Session* s = nullptr;
  if (l)
    status = open_cut_through(sw, a, c, args, *l, waited);
  else if (a.app->scope.global)
    status = open_connection(sw, *a.app, args, &s);
  if (status != Status::kOk) refuse_connect(sw, a, c.context, status);
}

namespace {

// Linux's segments for TCP_INFO: windows there are counted in packets.
uint32_t in_segments(uint32_t bytes, uint32_t mss) noexcept { return mss ? bytes / mss : 0; }
uint32_t in_us(TimeNs t) noexcept { return static_cast<uint32_t>(t / kMicrosecond); }

void info(SessionWorker& sw, AppWorker& a, const svm::SessionEvent& request) noexcept {
  svm::InfoEvent event{};
  event.context = request.context;
  Session* s = find_session(sw, *a.app, request.handle);
  const TransportOps* ops = s ? ops_of(sw, *s) : nullptr;
  if (!s || !(s->flags & kTransportUp) || !ops->info) {
    event.status = static_cast<int32_t>(Status::kNotConnected);
  } else {
    ConnectionInfo c;
    ops->info(*sw.worker, s->conn, c);
    event.state = c.state;
    event.options = c.tcpi_options;
    event.snd_wscale = c.snd_wscale;
    event.rcv_wscale = c.rcv_wscale;
    event.rto = in_us(c.rto);
    event.ato = in_us(c.ato);
    event.snd_mss = c.snd_mss;
    event.rcv_mss = c.rcv_mss;
    event.unacked = c.unacked;
    event.sacked = c.sacked;
    event.lost = c.lost;
    event.retrans = c.retrans;
    event.rtt = in_us(c.srtt);
    event.rttvar = in_us(c.rttvar);
    event.min_rtt = in_us(c.min_rtt);
    event.snd_cwnd = in_segments(c.cwnd, c.snd_mss);
    event.snd_ssthresh = in_segments(c.ssthresh, c.snd_mss);
    event.pmtu = c.pmtu;
    event.rcv_space = s->rx.size;
    event.snd_wnd = c.snd_wnd;
    event.total_retrans = c.total_retrans;
    event.bytes_acked = c.bytes_acked;
    event.bytes_received = c.bytes_received;
    event.segs_out = c.segs_out;
    event.segs_in = c.segs_in;
  }
  push_event(sw, a, svm::ToApp::kInfo, event);
}

// Requests that name a session.
void on_session(SessionWorker& sw, AppWorker& a, svm::ToDaemon type,
                SessionHandle handle) noexcept {
  Session* s = find_session(sw, *a.app, handle);
  if (!s) return;
  const TransportOps* ops = ops_of(sw, *s);
  const bool up = s->flags & kTransportUp;
  switch (type) {
    case svm::ToDaemon::kTx:
      if (s->is_cut_through())  // nothing to send, but to be told
        ring_for(sw, *s);
      else if (s->state != State::kClosing)
        schedule(sw, *s);
      return;
    case svm::ToDaemon::kRxSpace:
      if (up && s->state != State::kClosing && ops->rx_drained)
        ops->rx_drained(*sw.worker, s->conn);
      return;
    case svm::ToDaemon::kClaim:
      if (s->state == State::kAccepted)
        s->state = up ? State::kOpen : State::kDetached;
      else  // what came while the owner changed may have been told to the old one
        notify(sw, *s, kNotifyRx | kNotifyForce);
      return;
    case svm::ToDaemon::kShutdown:
      if (up && !(s->flags & kAppShutdown) && s->state != State::kClosing) {
        s->flags |= kAppShutdown;
        if (ops->shutdown) ops->shutdown(*sw.worker, s->conn);
      }
      return;
    case svm::ToDaemon::kClose:
      if (s->state == State::kClosing || s->state == State::kConnecting) return;
      // Another process may have inherited it meanwhile: then its close will come.
      if (s->shared &&
          (s->shared->holders.load(std::memory_order_acquire) & a.app->live_mask()) != 0)
        return;
      app_close(sw, *s, false);
      // A bind of the port may be the next request.
      if (s->state == State::kClosing && ops->tx_kind == TxKind::kDatagram) send_before(sw, *s);
      return;
    case svm::ToDaemon::kReset:
      if (s->state == State::kConnecting) return;
      if (s->state == State::kClosing && !up) return;
      app_close(sw, *s, true);
      return;
    default:
      ++sw.counters[kBadRequest];
      return;
  }
}

// Somebody leaves a connection in the accept queue for the others.
void pass_accept(SessionWorker& sw, const App& app, SessionHandle handle) noexcept {
  Listener* l = sw.layer->listener(handle_index(handle));
  if (!l || l->app != &app || l->handle() != handle) {
    ++sw.counters[kStaleHandle];
  } else if (l->accepts.count() != 0) {
    notify_accept(sw, *l);
  }
}

// Whether the request names a session, and which.
bool names_session(const svm::MqEvent& e, SessionHandle& handle) noexcept {
  switch (static_cast<svm::ToDaemon>(e.type)) {
    case svm::ToDaemon::kConnect:
    case svm::ToDaemon::kListen:
    case svm::ToDaemon::kUnlisten:
    case svm::ToDaemon::kAcceptPass:
      return false;
    case svm::ToDaemon::kSetOption:
      handle = e.as<svm::OptionEvent>().handle;
      return true;
    default:
      handle = e.as<svm::SessionEvent>().handle;
      return true;
  }
}

}  // namespace

void handle_request(SessionWorker& sw, AppWorker& a, const svm::MqEvent& e,
                    uint32_t hops) noexcept {
  SessionHandle named;
  if (names_session(e, named) && pass_on(sw, a, e, named, hops)) return;
  const auto type = static_cast<svm::ToDaemon>(e.type);
  switch (type) {
    case svm::ToDaemon::kConnect: {
      const auto c = e.as<svm::ConnectEvent>();
      if (hops == 0 && sw.layer->workers.size() > 1) [[unlikely]]
        if (const uint32_t to = worker_for(sw, *a.app, c); to != sw.worker->index)
          return pass_to(sw, a, e, to, hops);
      return connect(sw, a, c);
    }
    case svm::ToDaemon::kListen:
      return listen_on_control(sw, a, e.as<svm::ListenEvent>());
    case svm::ToDaemon::kUnlisten:
      return unlisten_on_control(sw, *a.app, e.as<svm::SessionEvent>().handle);
    case svm::ToDaemon::kAcceptPass:
      return pass_accept(sw, *a.app, e.as<svm::SessionEvent>().handle);
    case svm::ToDaemon::kSetPeer:
      return set_peer(sw, a, e.as<svm::PeerEvent>());
    case svm::ToDaemon::kLinkDone:
      return link_done(sw, *a.app, e.as<svm::LinkEvent>());
    case svm::ToDaemon::kLinkRing:
      return link_ring(sw, *a.app, e.as<svm::LinkEvent>());
    case svm::ToDaemon::kGroup:
      return group(sw, a, e.as<svm::GroupEvent>());
    case svm::ToDaemon::kResize:
      return resize(sw, a, e.as<svm::ResizeEvent>());
    case svm::ToDaemon::kGetPath:
      return path(sw, a, e.as<svm::PathEvent>());
    case svm::ToDaemon::kGetInfo:
      return info(sw, a, e.as<svm::SessionEvent>());
    case svm::ToDaemon::kSetOption: {
      const auto o = e.as<svm::OptionEvent>();
      Session* s = find_session(sw, *a.app, o.handle);
      if (!s || !(s->flags & kTransportUp)) return;
      if (static_cast<int32_t>(o.number - s->n_options) < 0) return;  // others were set later
      s->n_options = o.number;
      const TransportOps* ops = ops_of(sw, *s);
      char congestion[16];
      SocketOptionsView view = options_view(o.options, congestion);
      if (ops->tx_kind == TxKind::kDatagram) note_options(sw, *s, view);
      keep_in_place(*a.app, view);
      keep_own_source(sw, *a.app, view);
      if (ops->set_options) (void)ops->set_options(*sw.worker, s->conn, view);
      return;
    }
    default:
      return on_session(sw, a, type, e.as<svm::SessionEvent>().handle);
  }
}

void let_settings_go(SessionWorker& sw, uint32_t number) noexcept {
  if (sw.layer->settings.let_go(number)) take_away_used(sw);
}

uint32_t fifo_size(uint32_t asked) noexcept { return std::clamp(asked, 4096u, 1u << 30); }

Status open_connection(SessionWorker& sw, App& app, const ConnectArgs& args,
                       Session** out) noexcept {
  if (sw.layer->drain_state.load(std::memory_order_relaxed) == DrainState::kDrained) [[unlikely]]
    return Status::kRefused;
  Session* s = new_session(sw, app, args.transport);
  if (!s) return Status::kNoMemory;
  s->state = State::kConnecting;
  s->context = args.context;
  s->creator = args.creator;
  if (args.rx_fifo_size) s->rx.size = fifo_size(args.rx_fifo_size);
  if (args.tx_fifo_size) s->tx.size = fifo_size(args.tx_fifo_size);
  Endpoints e = args.endpoints;
  const SessionId id = s->id;
  const uint32_t generation = s->generation;
  ConnId conn = kNoConn;
  s->flags |= kTransportUp;  // before the transport may report
  note_session(sw, EventKind::kSessionOpen, *s);
  const TransportOps* ops = sw.layer->transports.get(args.transport);
  if (ops->tx_kind == TxKind::kDatagram) note_options(sw, *s, args.options);
  const Status status = keep_settings(sw, *ops, *s, args.options.settings)
                            ? ops->connect(*sw.worker, id, e, args.options, &conn)
                            : Status::kInvalid;
  if (status != Status::kOk) {
    s->flags &= static_cast<uint8_t>(~kTransportUp);
    free_session(sw, *s);
    return status;
  }
  if (s->generation == generation && (s->flags & kTransportUp)) s->conn = conn;
  *out = s;
  if (ops->tx_kind == TxKind::kDatagram)
    sw.worker->sessions->connected(*sw.worker, id, Status::kOk, e);
  return Status::kOk;
}

// In a namespace that is bound to an interface groups are reached by that one, and no other can be
// asked for: open_datagram has said so, or set_peer will.
void keep_in_place(const App& app, SocketOptionsView& v) noexcept {
  const IfIndex own = app.ns->interface.load(std::memory_order_relaxed);
  if (own == kNoIndex) return;
  v.ip4_group_if = v.ip6_group_if = own;
  if (v.interface != kNoIndex) v.interface = own;
}

namespace {
PathMtu path_mtu_of(uint8_t option) noexcept {
  if (option == 0) return PathMtu::kWant;
  return option <= 6 ? static_cast<PathMtu>(option - 1) : PathMtu::kDont;
}
}  // namespace

SocketOptionsView options_view(const svm::SocketOptions& o, char (&congestion)[16]) noexcept {
  std::memcpy(congestion, o.congestion, sizeof congestion);
  congestion[sizeof congestion - 1] = 0;
  SocketOptionsView v;
  v.nodelay = o.nodelay;
  v.keepalive = o.keepalive;
  v.cork = o.cork;
  v.v6only = o.v6only;
  v.reuseport = o.reuseport;
  v.tos = o.dscp_tos;
  v.ip6_class = o.ip6_class;
  v.ip4_ttl = o.ip4_ttl;
  v.ip6_hop_limit = o.ip6_hop_limit;
  v.user_mss = o.user_mss;
  v.keepidle = o.keepidle_ms * kMillisecond;
  v.keepintvl = o.keepintvl_ms * kMillisecond;
  v.keepcnt = o.keepcnt;
  v.user_timeout = o.user_timeout_ms * kMillisecond;
  v.congestion = congestion;
  v.reuseaddr = o.reuseaddr;
  v.ip4_path_mtu = path_mtu_of(o.ip4_path_mtu);
  v.ip6_path_mtu = path_mtu_of(o.ip6_path_mtu);
  v.arrival = o.arrival;
  v.answers_from = o.answers_from;
  v.ip4_errors = o.ip4_errors;
  v.ip6_errors = o.ip6_errors;
  v.gro = o.gro;
  v.broadcast = o.broadcast;
  v.ip4_group_if = uint32_t{o.ip4_group_if} - 1;  // 0: kNoIndex
  v.ip6_group_if = uint32_t{o.ip6_group_if} - 1;
  std::memcpy(v.ip4_group_source.bytes.data(), o.ip4_group_source, sizeof o.ip4_group_source);
  v.ip4_group_loop = !(o.group_off & svm::kIp4GroupLoopOff);
  v.ip6_group_loop = !(o.group_off & svm::kIp6GroupLoopOff);
  v.ip4_group_all = !(o.group_off & svm::kIp4GroupAllOff);
  v.ip6_group_all = !(o.group_off & svm::kIp6GroupAllOff);
  v.settings = o.settings;
  v.no_check6_rx = o.no_check6_rx;
  v.interface = uint32_t{o.interface} - 1;  // 0: kNoIndex
  return v;
}

Endpoints endpoints_of(const svm::Endpoint& local, const svm::Endpoint& remote) noexcept {
  const auto address = [](const svm::Endpoint& e) -> IpAddress {
    Ip6Address bits;
    std::memcpy(bits.bytes.data(), e.ip, 16);
    if (!e.is_ip4) return bits;
    Ip4Address a;
    std::memcpy(a.bytes.data(), e.ip, 4);
    return a;
  };
  Endpoints e;
  e.local = address(local);
  e.remote = address(remote);
  e.local_port = Be16::from_raw(local.port);
  e.remote_port = Be16::from_raw(remote.port);
  return e;
}

svm::Endpoint endpoint_of(const IpAddress& a, uint16_t port) noexcept {
  svm::Endpoint e{};
  e.is_ip4 = a.is_ip4;
  e.port = Be16(port).raw();
  std::memcpy(e.ip, a.bits.bytes.data(), 16);
  return e;
}

uint32_t poll_requests(SessionWorker& sw) noexcept {
  uint32_t found = 0;
  for (std::size_t i = 0; i < sw.ports.size(); ++i) {
    AppPort& p = *sw.ports[i];
    if (p.requests.empty()) [[likely]]
      continue;
    svm::MqEvent e;
    for (uint32_t n = 0; n < kRequestsPerRound && is_heard(p) && p.requests.pop(e); ++n, ++found)
      handle_request(sw, *p.app_worker, e, 0);
  }
  return found;
}

bool may_sleep(SessionWorker& sw) noexcept {
  if (!sw.ready.empty() || !sw.again.empty() || !sw.notify.empty() || !sw.accepting.empty())
    return false;
  bool all_heard = true;
  for (std::size_t i = 0; i < sw.ports.size(); ++i) {
    if (!is_heard(*sw.ports[i])) {  // what it asks would be no reason to be awake
      all_heard = false;
      continue;
    }
    if (sw.ports[i]->requests.prepare_sleep()) continue;
    while (i-- > 0) sw.ports[i]->requests.finish_sleep();
    return false;
  }
  if (!all_heard && !sw.hearing_timer.is_running())
    sw.worker->timer_start_in(sw.hearing_timer, kHearAgain);
  return true;
}

bool is_alone(const SessionWorker& sw) noexcept {
  return sw.ports.size() <= kMostAsked &&
         std::all_of(sw.ports.begin(), sw.ports.end(),
                     [](const AppPort* p) { return p->app_worker->events.consumer_sleeps(); });
}

}  // namespace loom::session
