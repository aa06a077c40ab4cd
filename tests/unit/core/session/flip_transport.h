// A transport that is an application (TxKind::kInternal): what it carries over the pipe has every
// bit turned. As little as such a transport can do; docs/transports.md explains it by this one's
// steps. For tests of the session layer. One worker.
#pragma once
#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <vector>

#include <hostloom/app.h>

#include "tests/unit/core/session/test_app.h"

namespace loom::test {

class FlipTransport {
 public:
  static constexpr uint8_t kProto = 200;
  struct Conn {
    SessionId upper = kNoSession, lower = kNoSession;
    ConnId self = kNoConn;
    bool shut = false;
  };
  struct Listener {
    SessionId upper;
    SessionHandle lower;
  };

  explicit FlipTransport(SessionBed& b, AppConfig config = {}) : bed(b) {
    self = this;
    id = bed.transports.add(ops()).value();
    AppOps calls;
    calls.name = "flip";
    calls.accepted = [](Worker& w, SessionId, SessionId lower, void** context) noexcept {
      auto& l = *static_cast<Listener*>(*context);
      Conn& c = self->make();
      c.lower = lower;
      *context = &c;
      ConnectionInfo info;
      (void)AppSession(w, lower).info(info);
      return w.sessions->accepted(w, l.upper, self->id, c.self, info.endpoints, &c.upper) ==
             Status::kOk;
    };
    calls.connected = [](Worker& w, SessionId lower, Status s, void* context) noexcept {
      Conn& c = of(context);
      if (c.upper == kNoSession) return;
      ConnectionInfo info;
      (void)AppSession(w, lower).info(info);
      w.sessions->connected(w, s == Status::kOk ? c.upper : std::exchange(c.upper, kNoSession), s,
                            info.endpoints);
    };
    calls.readable = [](Worker& w, SessionId, void* context) noexcept { receive(w, of(context)); };
    calls.writable = [](Worker& w, SessionId, void* context) noexcept {
      if (of(context).upper != kNoSession) w.sessions->tx_schedule(w, of(context).upper);
    };
    calls.reset = [](Worker& w, SessionId, ResetReason r, void* context) noexcept {
      Conn& c = of(context);
      if (c.upper != kNoSession) w.sessions->reset(w, std::exchange(c.upper, kNoSession), r);
    };
    calls.closed = [](Worker& w, SessionId, void* context) noexcept {
      Conn& c = of(context);
      c.lower = kNoSession;
      if (c.upper != kNoSession)
        w.sessions->reset(w, std::exchange(c.upper, kNoSession), ResetReason::kAborted);
    };
    app = bed.layer->add_application(calls, config).value();
  }
  ~FlipTransport() {
    bed.layer->remove_application(*app);
    self = nullptr;
  }

  static Conn& of(void* context) { return *static_cast<Conn*>(context); }
  static Conn& at(ConnId c) { return *self->conns[c]; }
  Conn& make() {
    conns.push_back(std::make_unique<Conn>());
    conns.back()->self = static_cast<ConnId>(conns.size() - 1);
    return *conns.back();
  }
  static AppEndpoint over() {
    AppEndpoint e;
    std::strcpy(e.transport, "pipe");
    return e;
  }

  static void receive(Worker& w, Conn& c) {
    AppSession lower(w, c.lower);
    if (c.upper == kNoSession) return lower.consume(lower.unread());
    std::span<const std::byte> from[1];
    while (lower.peek(from) != 0) {
      std::span<std::byte> to[1];
      if (w.sessions->rx_reserve(w, c.upper, static_cast<uint32_t>(from[0].size()),
                                 std::span(to)) == 0) {
        w.sessions->rx_want_space(w, c.upper);
        return;
      }
      const auto n = static_cast<uint32_t>(std::min(from[0].size(), to[0].size()));
      std::transform(from[0].begin(), from[0].begin() + n, to[0].begin(),
                     [](std::byte b) { return ~b; });
      w.sessions->rx_commit(w, c.upper, n);
      lower.consume(n);
    }
    if (!lower.eof()) return;
    w.sessions->peer_closed(w, c.upper);
    if (c.shut) send(w, c);
  }
  static void send(Worker& w, Conn& c) {
    AppSession lower(w, c.lower);
    std::span<const std::byte> from[1];
    for (uint32_t left = self->most_per_call; left != 0;) {
      if (w.sessions->tx_views(w, c.upper, std::span(from)) == 0) break;
      std::span<std::byte> to[1];
      if (lower.reserve(std::min(left, static_cast<uint32_t>(from[0].size())), to) == 0)
        return lower.want_writable();
      const auto n = static_cast<uint32_t>(std::min(from[0].size(), to[0].size()));
      std::transform(from[0].begin(), from[0].begin() + n, to[0].begin(),
                     [](std::byte b) { return ~b; });
      lower.commit(n);
      w.sessions->tx_drop(w, c.upper, n);
      left -= n;
    }
    if (!c.shut || w.sessions->tx_queued(w, c.upper) != 0) return;
    lower.shutdown();
    if (!lower.eof()) return;
    lower.close();
    w.sessions->closed(w, std::exchange(c.upper, kNoSession));
  }

  static TransportOps ops() {
    TransportOps o;
    o.name = "flip";
    o.proto = kProto;
    o.tx_kind = TxKind::kInternal;
    o.connect = [](Worker& w, SessionId upper, Endpoints& e, const SocketOptionsView& v,
                   ConnId* out) noexcept {
      Conn& c = self->make();
      AppEndpoint how = over();
      how.options = v;
      const Status s = AppSession::connect_for(w, *self->app, upper, how, e, &c, &c.lower);
      if (s != Status::kOk) return s;
      c.upper = upper;
      *out = c.self;
      return Status::kOk;
    };
    o.open_listener = [](SessionId upper, const SocketOptionsView& v, ConnId* out) noexcept {
      self->listener_interface = v.interface;
      auto l = std::make_unique<Listener>(Listener{upper, 0});
      const auto lower = self->bed.layer->listen_for(*self->app, upper, over(), l.get());
      if (!lower) return lower.error().code;
      l->lower = *lower;
      *out = self->next_listener++;
      self->listeners[*out] = std::move(l);
      return Status::kOk;
    };
    o.close_listener = [](ConnId c) noexcept {
      (void)self->bed.layer->unlisten(*self->app, self->listeners[c]->lower);
      self->listeners.erase(c);
    };
    o.tx_ready = [](Worker& w, ConnId c, uint32_t queued) noexcept {
      self->offered.push_back(queued);
      send(w, at(c));
      if (self->meanwhile) std::exchange(self->meanwhile, nullptr)();
    };
    o.rx_drained = [](Worker& w, ConnId c) noexcept { receive(w, at(c)); };
    o.shutdown = [](Worker& w, ConnId c) noexcept {
      at(c).shut = true;
      w.sessions->tx_schedule(w, at(c).upper);
    };
    o.close = [](Worker& w, ConnId c, bool) noexcept {
      at(c).shut = true;
      if (at(c).lower == kNoSession) return;
      w.sessions->tx_schedule(w, at(c).upper);
    };
    o.abort = [](Worker& w, ConnId c) noexcept {
      at(c).upper = kNoSession;
      AppSession(w, at(c).lower).abort();
    };
    return o;
  }

  static inline FlipTransport* self = nullptr;
  SessionBed& bed;
  TransportId id = kNoTransport;
  Application* app = nullptr;
  std::vector<std::unique_ptr<Conn>> conns;
  std::map<ConnId, std::unique_ptr<Listener>> listeners;
  ConnId next_listener = 0;
  IfIndex listener_interface = kNoIndex;  // that the last one was opened with
  uint32_t most_per_call = ~0u;
  std::vector<uint32_t> offered;    // what tx_ready was told
  std::function<void()> meanwhile;  // once, behind a tx_ready: what an application does then
};

}  // namespace loom::test
