// A transport without packets: a connection is a pair of ends in this process, and what one end
// sends the other receives in the same call. For tests of the session layer. One worker.
#pragma once
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <hostloom/congestion.h>
#include <hostloom/transport.h>

namespace loom::test {

struct PipeEnd {
  SessionId session = kNoSession;
  ConnId self = kNoConn, peer = kNoConn;
  Endpoints endpoints;
  bool open = false, fin_sent = false, want_fin = false, app_closed = false;
  uint32_t rx_drained = 0, in_flight = 0;
  uint64_t received = 0, acked = 0;  // bytes
  Timer connected_timer;
  Status outcome = Status::kOk;
  std::string congestion;  // what set_congestion was told
};

// Call install() before using ops(); one instance at a time.
class PipeTransport {
 public:
  static constexpr uint8_t kProto = 0, kIpProtocol = 253;
  static inline PipeTransport* self = nullptr;
  std::vector<std::unique_ptr<PipeEnd>> ends;
  std::map<uint16_t, SessionId> listeners;  // by port
  TransportId id = kNoTransport;
  uint32_t segment = 1000;
  uint32_t asked = 0;          // how often a window was asked for
  uint32_t described = 0;      // how often a connection was, for people
  uint32_t total_retrans = 0;  // what info tells of each connection, as the next
  IfIndex interface = kNoIndex;
  bool hold_acks = false;      // what arrives stays unacknowledged
  TimeNs connect_time = kMillisecond;
  uint32_t aborted = 0, closed_unread = 0;
  SocketOptionsView last_options;
  std::function<void(Worker&)> between;  // runs while a listener comes or goes
  std::vector<uint32_t> due;             // what tx_due was told

  PipeTransport() { self = this; }
  ~PipeTransport() { self = nullptr; }

  static PipeEnd& end(ConnId c) { return *self->ends[c]; }
  static PipeEnd* peer_of(const PipeEnd& e) { return e.peer == kNoConn ? nullptr : &end(e.peer); }

  ConnId make(SessionId s) {
    ends.push_back(std::make_unique<PipeEnd>());
    ends.back()->self = static_cast<ConnId>(ends.size() - 1);
    ends.back()->session = s;
    ends.back()->open = true;
    return ends.back()->self;
  }

  static void finish_connect(Worker& w, Timer& t) noexcept {
    PipeEnd& e = LOOM_TIMER_OWNER(PipeEnd, connected_timer, t);
    const auto l = self->listeners.find(e.endpoints.remote_port);
    Status outcome = Status::kRefused;
    if (l != self->listeners.end()) {
      const ConnId other = self->make(kNoSession);
      PipeEnd& o = end(other);
      o.endpoints = e.endpoints;
      std::swap(o.endpoints.local, o.endpoints.remote);
      std::swap(o.endpoints.local_port, o.endpoints.remote_port);
      outcome = w.sessions->accepted(w, l->second, self->id, other, o.endpoints, &o.session);
      if (outcome == Status::kOk) {
        o.peer = e.self;
        e.peer = other;
      } else {
        o.open = false;
      }
    }
    if (outcome != Status::kOk) e.open = false;
    w.sessions->connected(w, e.session, outcome, e.endpoints);
  }

  // Both directions are through: nobody touches the sessions again.
  static void maybe_done(Worker& w, PipeEnd& e) {
    PipeEnd* p = peer_of(e);
    if (!e.fin_sent || (p && !p->fin_sent)) return;
    for (PipeEnd* x : {&e, p}) {
      if (!x || !x->open) continue;
      x->open = false;
      w.sessions->closed(w, x->session);
    }
  }

  static void maybe_fin(Worker& w, PipeEnd& e) {
    if (!e.open || !e.want_fin || e.fin_sent || w.sessions->tx_queued(w, e.session) != 0) return;
    e.fin_sent = true;
    if (PipeEnd* p = peer_of(e); p && p->open) w.sessions->peer_closed(w, p->session);
    maybe_done(w, e);
  }

  // What was written and not announced is still to be sent.
  static void finish_sending(Worker& w, PipeEnd& e) {
    if (e.open && w.sessions->tx_queued(w, e.session) != 0) w.sessions->tx_schedule(w, e.session);
    maybe_fin(w, e);
  }

  const TransportOps& ops() {
    static const TransportOps kOps = [] {
      TransportOps o;
      o.name = "pipe";
      o.proto = kProto;
      o.ip_protocol = kIpProtocol;
      o.connect = [](Worker& w, SessionId s, Endpoints& e, const SocketOptionsView& v,
                     ConnId* out) noexcept {
        self->last_options = v;
        self->last_options.congestion = "";
        if (e.remote_port == 1) return Status::kUnreachable;
        *out = self->make(s);
        PipeEnd& p = end(*out);
        e.local_port = 40000;
        p.endpoints = e;
        p.connected_timer.fired = finish_connect;
        w.timer_start_in(p.connected_timer, self->connect_time);
        return Status::kOk;
      };
      o.listen = [](Worker& w, SessionId s, const Endpoints& e, const SocketOptionsView&,
                    ConnId* out) noexcept {
        if (self->between) self->between(w);
        self->listeners[e.local_port] = s;
        *out = e.local_port;
        return Status::kOk;
      };
      o.unlisten = [](Worker& w, ConnId port) noexcept {
        if (self->between) self->between(w);
        self->listeners.erase(static_cast<uint16_t>(port));
      };
      o.send_window = [](Worker& w, ConnId c, uint32_t queued) noexcept {
        ++self->asked;
        const PipeEnd* p = peer_of(end(c));
        SendWindow s;
        s.segment = self->segment;
        const uint32_t in_flight = end(c).in_flight;
        if (queued <= in_flight) return SendWindow{};
        s.budget = p && p->open ? queued - in_flight : 0;
        // Who reads no more has no window either, but is to answer.
        if (s.budget != 0 && !p->app_closed)
          s.budget = std::min(s.budget, w.sessions->rx_space(w, p->session));
        s.offset = in_flight;
        return s;
      };
      o.push_headers = [](Worker& w, ConnId c, std::span<Buffer* const> chains) noexcept {
        PipeEnd& e = end(c);
        PipeEnd* p = peer_of(e);
        if (p->app_closed) {  // RFC 1122 section 4.2.2.13
          w.free(chains);
          e.open = p->open = false;
          w.sessions->closed(w, p->session);
          w.sessions->reset(w, e.session, ResetReason::kPeerReset);
          return;
        }
        for (Buffer* b : chains) {
          const uint32_t n = b->length();
          const uint32_t got = w.sessions->rx_enqueue(w, p->session, *b, 0, n);
          w.free(b);
          p->received += got;
          if (self->hold_acks) {
            e.in_flight += got;
          } else {
            e.acked += got;
            w.sessions->tx_drop(w, e.session, got);
          }
        }
        if (w.sessions->rx_space(w, p->session) == 0) w.sessions->rx_want_space(w, p->session);
        maybe_fin(w, e);
      };
      o.rx_drained = [](Worker& w, ConnId c) noexcept {
        ++end(c).rx_drained;
        if (PipeEnd* p = peer_of(end(c)); p && p->open) w.sessions->tx_schedule(w, p->session);
      };
      o.shutdown = [](Worker& w, ConnId c) noexcept {
        end(c).want_fin = true;
        finish_sending(w, end(c));
      };
      o.close = [](Worker& w, ConnId c, bool unread) noexcept {
        PipeEnd& e = end(c);
        e.app_closed = e.want_fin = true;
        if (unread) {
          ++self->closed_unread;
          if (PipeEnd* p = peer_of(e); p && p->open) {
            p->open = false;
            w.sessions->reset(w, p->session, ResetReason::kPeerReset);
          }
          e.open = false;
          w.sessions->closed(w, e.session);
          return;
        }
        finish_sending(w, e);
      };
      o.abort = [](Worker& w, ConnId c) noexcept {
        PipeEnd& e = end(c);
        ++self->aborted;
        e.open = false;
        w.timer_stop(e.connected_timer);
        if (PipeEnd* p = peer_of(e); p && p->open) {
          p->open = false;
          w.sessions->reset(w, p->session, ResetReason::kPeerReset);
        }
      };
      o.set_options = [](Worker&, ConnId, const SocketOptionsView& v) noexcept {
        self->last_options = v;
        self->last_options.congestion = "";
        return Status::kOk;
      };
      o.set_congestion = [](Worker&, ConnId c, const char* name) noexcept {
        end(c).congestion = name;
        return Status::kOk;
      };
      o.tx_due = [](Worker&, ConnId, uint32_t due) noexcept { self->due.push_back(due); };
      o.info = [](Worker&, ConnId c, ConnectionInfo& i) noexcept {
        i.endpoints = end(c).endpoints;
        i.state = 1;
        i.snd_mss = self->segment;
        i.cwnd = 10 * self->segment;
        i.ssthresh = kNoSsthresh;
        i.srtt = 250 * kMicrosecond;
        i.tcpi_options = 1 | 4;
        i.bytes_received = end(c).received;
        i.bytes_acked = end(c).acked;
        i.total_retrans = self->total_retrans;
        i.interface = self->interface;
        std::strcpy(i.congestion, "pipe-cc");
      };
      o.describe = [](Worker&, ConnId c, std::string& out) noexcept {
        ++self->described;
        out += "  in flight " + std::to_string(end(c).in_flight) + "\n";
      };
      return o;
    }();
    return kOps;
  }
};

}  // namespace loom::test
