// A transport whose segments are packets that travel between workers, for tests of the session
// layer on several of them: each segment first goes to a worker that its flow's ports choose, as a
// device's receive queue would, and from there to the worker of its connection. Nothing is lost,
// windows are unlimited, and both hosts are this one. While a connection moves a segment may
// overtake another one: who comes early goes round again until it is its turn.
#pragma once
#include <atomic>
#include <deque>
#include <functional>
#include <map>
#include <vector>

#include <hostloom/net.h>
#include <hostloom/transport.h>

#include "graph/engine.h"
#include "transport/registry.h"

namespace loom::test {

class WireTransport {
 public:
  static constexpr uint8_t kProto = 0, kIpProtocol = 253;
  static inline WireTransport* self = nullptr;

  explicit WireTransport(Engine& engine) : engine_(engine), sides_(engine.n_workers()) {
    self = this;
    node_ = engine.add_node({.name = "wire-input", .run = input, .counters = kCounters}).value();
  }
  ~WireTransport() { self = nullptr; }

  TransportId id = kNoTransport;
  // Where a connection must be accepted, and how often it was not; empty: anywhere.
  std::function<uint32_t(const Endpoints&)> accepts_on;
  std::atomic<uint32_t> misplaced{0};
  uint32_t refuse_every = 0;  // of the connections that a worker is to adopt; 0: none
  uint32_t dawdle_every = 0;  // of the segments for another worker; 0: none
  // Ends a connection whose application does not read: windows are unlimited. Else all do read.
  bool resets_when_full = false;
  // TOS bytes of the options that were set, with the worker: of tests in one thread.
  std::vector<std::pair<uint32_t, uint32_t>> options_set;
  const TransportOps& ops();
  // All workers together; while none runs.
  uint64_t count(const char* counter) { return engine_.stats().counter("wire-input", counter); }

 private:
  enum class Kind : uint8_t { kSyn, kSynAck, kData, kFin, kReset };
  struct Header {
    FlowKey4 key;  // as the receiver looks it up
    Kind kind;
    uint32_t number;  // of data and FIN: that many were sent before
  };
  struct End {
    SessionId session = kNoSession;
    Endpoints ends;
    bool established = false, wants_fin = false, fin_sent = false, fin_received = false;
    bool app_closed = false;
    uint32_t sent = 0, received = 0;  // data and FIN
    bool frozen = false;
    uint32_t frozen_for = 0;
  };
  struct Side {  // of one worker
    std::deque<End> ends;
    std::vector<ConnId> free;
    std::map<ConnId, SessionId> listeners;
    ConnId next_listener = 0;
    uint32_t adoptions = 0, passed_on = 0;
  };
  enum Counter : uint16_t { kHere, kHandedOff, kEarly, kDawdled, kNobody, kCounterCount };
  static constexpr CounterInfo kCounters[kCounterCount] = {
      {"here", Severity::kInfo, "segments of this worker's connections"},
      {"handed-off", Severity::kInfo, "of others'"},
      {"early", Severity::kInfo, "rounds of segments that had overtaken another one"},
      {"dawdled", Severity::kInfo, "of others', sent round once more first"},
      {"nobody", Severity::kInfo, "of none"}};

  static Side& side(Worker& w) { return self->sides_[w.index]; }
  static End& end(Worker& w, ConnId c) { return side(w).ends[c]; }
  static ConnId make(Worker& w, SessionId session, const Endpoints& e) {
    Side& s = side(w);
    if (s.free.empty()) {
      s.ends.emplace_back();
      s.free.push_back(static_cast<ConnId>(s.ends.size() - 1));
    }
    const ConnId c = s.free.back();
    s.free.pop_back();
    s.ends[c] = End{.session = session, .ends = e};
    return c;
  }
  static void forget(Worker& w, ConnId c) {
    w.sessions->flow_del(w, end(w, c).ends, kIpProtocol);
    end(w, c).established = false;  // session_of: it has none any more
    side(w).free.push_back(c);
  }

  // Takes over `b`, which has the payload.
  static void send(Worker& w, const Endpoints& e, Kind kind, Buffer* b, uint32_t number = 0) {
    LOOM_CHECK(b);
    const Header h{
        {e.remote.ip4(), e.local.ip4(), e.remote_port, e.local_port, kIpProtocol}, kind, number};
    std::memcpy(b->prepend(sizeof h), &h, sizeof h);
    const uint32_t first = (e.local_port * 7u + e.remote_port) % self->engine_.n_workers();
    w.hand_off(first, self->node_, {&b, 1});
  }
  static void send(Worker& w, const Endpoints& e, Kind kind) { send(w, e, kind, w.alloc()); }
  static bool is_numbered(Kind kind) { return kind == Kind::kData || kind == Kind::kFin; }

  static void maybe_end(Worker& w, ConnId c) {
    End& e = end(w, c);
    if (e.wants_fin && !e.fin_sent && w.sessions->tx_queued(w, e.session) == 0) {
      e.fin_sent = true;
      send(w, e.ends, Kind::kFin, w.alloc(), e.sent++);
    }
    if (!e.fin_sent || !e.fin_received) return;
    const SessionId session = e.session;
    forget(w, c);
    w.sessions->closed(w, session);
  }

  static void syn(Worker& w, const FlowMatch& m, const Endpoints& e) {
    const auto listener = side(w).listeners.find(m.conn);
    if (listener == side(w).listeners.end()) return send(w, e, Kind::kReset);
    if (self->accepts_on && self->accepts_on(e) != w.index) ++self->misplaced;
    const ConnId c = make(w, kNoSession, e);
    LOOM_CHECK(w.sessions->flow_add(w, e, kIpProtocol, FlowKind::kEstablished, c) == Status::kOk);
    SessionId session = kNoSession;
    if (w.sessions->accepted(w, listener->second, self->id, c, e, &session) != Status::kOk) {
      forget(w, c);
      return send(w, e, Kind::kReset);
    }
    end(w, c).session = session;
    end(w, c).established = true;
    send(w, e, Kind::kSynAck);
  }

  static void arrive(Worker& w, const FlowMatch& m, const Header& h, const Buffer& b) {
    Endpoints e;
    e.local = h.key.local;
    e.remote = h.key.remote;
    e.local_port = h.key.local_port;
    e.remote_port = h.key.remote_port;
    if (m.kind == FlowKind::kListener) {
      if (h.kind == Kind::kSyn) return syn(w, m, e);
      if (h.kind != Kind::kReset) send(w, e, Kind::kReset);
      return;
    }
    End& c = end(w, m.conn);
    c.received += is_numbered(h.kind);
    switch (h.kind) {
      case Kind::kSyn:
        LOOM_CHECK(false);
      case Kind::kSynAck:
        LOOM_CHECK(w.sessions->flow_add(w, c.ends, kIpProtocol, FlowKind::kEstablished, m.conn) ==
                   Status::kOk);
        c.established = true;
        w.sessions->connected(w, c.session, Status::kOk, c.ends);
        return;
      case Kind::kData: {
        const uint32_t n = b.length() - static_cast<uint32_t>(sizeof h);
        if (c.app_closed || w.sessions->rx_enqueue(w, c.session, b, sizeof h, n) == n) return;
        LOOM_CHECK(self->resets_when_full);
        const End gone = c;
        send(w, c.ends, Kind::kReset);
        forget(w, m.conn);
        return w.sessions->reset(w, gone.session, ResetReason::kPeerReset);
      }
      case Kind::kFin:
        c.fin_received = true;
        w.sessions->peer_closed(w, c.session);
        return maybe_end(w, m.conn);
      case Kind::kReset: {
        const End gone = c;
        forget(w, m.conn);
        if (gone.established)
          w.sessions->reset(w, gone.session, ResetReason::kPeerReset);
        else
          w.sessions->connected(w, gone.session, Status::kRefused, gone.ends);
        return;
      }
    }
  }

  static void input(Worker& w, NodeRuntime& rt, std::span<Buffer* const> in) noexcept {
    for (Buffer* b : in) {
      Header h;
      std::memcpy(&h, b->data, sizeof h);
      FlowMatch m;
      w.sessions->lookup4(w, {&h.key, 1}, &m);
      if (m.kind == FlowKind::kEstablished && m.worker == w.index && end(w, m.conn).frozen)
        m.worker = static_cast<uint8_t>(end(w, m.conn).frozen_for);
      const bool is_anothers = m.kind != FlowKind::kNone && m.worker != w.index;
      if (is_anothers && self->dawdle_every != 0 && ++side(w).passed_on % self->dawdle_every == 0) {
        rt.count(kDawdled);
        w.hand_off(w.index, rt.id, {&b, 1});
        continue;
      }
      if (is_anothers) {
        rt.count(kHandedOff);
        w.hand_off(m.worker, rt.id, {&b, 1});
        continue;
      }
      if (m.kind == FlowKind::kEstablished && is_numbered(h.kind) &&
          h.number != end(w, m.conn).received) {
        rt.count(kEarly);
        w.hand_off(w.index, rt.id, {&b, 1});
        continue;
      }
      rt.count(m.kind == FlowKind::kNone ? kNobody : kHere);
      if (m.kind != FlowKind::kNone) {
        arrive(w, m, h, *b);
      } else if (h.kind != Kind::kReset) {
        Endpoints e;
        e.local = h.key.local;
        e.remote = h.key.remote;
        e.local_port = h.key.local_port;
        e.remote_port = h.key.remote_port;
        send(w, e, Kind::kReset);
      }
      w.free(b);
    }
  }

  Engine& engine_;
  NodeId node_ = kNoNode;
  std::vector<Side> sides_;
};

inline const TransportOps& WireTransport::ops() {
  static const TransportOps kOps = [] {
    TransportOps o;
    o.name = "tcp";
    o.proto = kProto;
    o.ip_protocol = kIpProtocol;
    o.connect = [](Worker& w, SessionId s, Endpoints& e, const SocketOptionsView&,
                   ConnId* out) noexcept {
      e.local = IpAddress::parse("10.0.0.2").value();
      *out = make(w, s, e);
      if (const Status status = w.sessions->flow_open(w, e, kIpProtocol, *out);
          status != Status::kOk) {
        side(w).free.push_back(*out);
        return status;
      }
      end(w, *out).ends = e;
      send(w, e, Kind::kSyn);
      return Status::kOk;
    };
    o.listen = [](Worker& w, SessionId s, const Endpoints&, const SocketOptionsView&,
                  ConnId* out) noexcept {
      *out = side(w).next_listener++;
      side(w).listeners[*out] = s;
      return Status::kOk;
    };
    o.unlisten = [](Worker& w, ConnId c) noexcept { side(w).listeners.erase(c); };
    o.send_window = [](Worker&, ConnId, uint32_t queued) noexcept {
      return SendWindow{.budget = queued, .segment = 1000};
    };
    o.push_headers = [](Worker& w, ConnId c, std::span<Buffer* const> chains) noexcept {
      End& e = end(w, c);
      uint32_t sent = 0;
      for (Buffer* b : chains) {
        sent += b->length();
        send(w, e.ends, Kind::kData, b, e.sent++);  // what refers to the fifo is copied on its way
      }
      w.sessions->tx_drop(w, e.session, sent);
      maybe_end(w, c);
    };
    o.shutdown = [](Worker& w, ConnId c) noexcept {
      end(w, c).wants_fin = true;
      maybe_end(w, c);
    };
    o.close = [](Worker& w, ConnId c, bool unread) noexcept {
      End& e = end(w, c);
      e.app_closed = e.wants_fin = true;
      if (!unread) return maybe_end(w, c);
      const SessionId session = e.session;
      send(w, e.ends, Kind::kReset);
      forget(w, c);
      w.sessions->closed(w, session);
    };
    o.abort = [](Worker& w, ConnId c) noexcept {
      send(w, end(w, c).ends, Kind::kReset);
      forget(w, c);
    };
    o.set_options = [](Worker& w, ConnId, const SocketOptionsView& v) noexcept {
      self->options_set.emplace_back(w.index, v.tos);
      return Status::kOk;
    };
    o.session_of = [](Worker& w, ConnId c) noexcept {
      const bool is_one = c < side(w).ends.size() && end(w, c).established && !end(w, c).frozen;
      return is_one ? end(w, c).session : kNoSession;
    };
    o.freeze = [](Worker& w, ConnId c, uint32_t to) noexcept -> void* {
      End& e = end(w, c);
      if (!e.established) return nullptr;
      e.frozen = true;
      e.frozen_for = to;
      return &e;
    };
    o.adopt = [](Worker& w, const void* frozen, SessionId session) noexcept {
      if (self->refuse_every != 0 && ++side(w).adoptions % self->refuse_every == 0) return kNoConn;
      const auto& old = *static_cast<const End*>(frozen);
      const ConnId c = make(w, session, old.ends);
      End& e = end(w, c);
      e = old;
      e.session = session;
      e.frozen = false;
      w.sessions->flow_move(w, e.ends, kIpProtocol, c);
      return c;
    };
    o.thaw = [](Worker& w, ConnId c, bool adopted) noexcept {
      if (adopted)
        side(w).free.push_back(c);
      else
        end(w, c).frozen = false;
    };
    return o;
  }();
  return kOps;
}

}  // namespace loom::test
