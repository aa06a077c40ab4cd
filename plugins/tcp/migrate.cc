// See migrate.h, and TransportOps for what each promises.
#include "migrate.h"

#include "tcp_worker.h"
#include "timers.h"

namespace loom::tcp {
namespace {

// What stop_timers() has stopped, by what the connection still knows: deadlines are times of a
// clock that all workers share. The wait timer looks at once how long there is to wait, except
// between two keepalive probes.
void restart_timers(TcpWorker& t, Connection& c, SendTimer send) noexcept {
  c.send_timer_kind = send;
  if (send != SendTimer::kOff) t.w.timer_start(c.send_timer, c.send_deadline);
  if (c.has(kAckDelayed)) t.w.timer_start(c.delack_timer, c.delack_deadline);
  if (c.pace_at > t.w.now) wake_sender_at(t, c, c.pace_at);
  if (c.cork_until > t.w.now) wake_sender_at(t, c, c.cork_until);
  const bool waits = c.has(kKeepalive) || c.state == State::kCloseWait;
  if (waits)
    t.w.timer_start_in(c.wait_timer,
                       c.keep_probes != 0 ? TimeNs{c.keepintvl_ms} * kMillisecond : 0);
}

}  // namespace

SessionId session_of(Worker& w, ConnId id) noexcept {
  const Connection* c = tcp_worker(w).connections.find(id);
  return c && c->is_alive() ? c->session : kNoSession;
}

void* freeze(Worker& w, ConnId id, uint32_t to) noexcept {
  TcpWorker& t = tcp_worker(w);
  TcpWorker::Scope scope(t);
  Connection* c = t.connections.find(id);
  const bool can_move = c && c->is_alive() && c->session != kNoSession && !c->has(kQueued) &&
                        c->state != State::kSynSent && c->state != State::kSynReceived;
  if (!can_move) return nullptr;
  const SendTimer send = c->send_timer_kind;
  stop_timers(t, *c);
  c->send_timer_kind = send;  // for whoever restarts it
  c->frozen_state = c->state;
  c->state = State::kFrozen;
  c->frozen_for = static_cast<uint8_t>(to);
  return c;
}

ConnId adopt(Worker& w, const void* frozen, SessionId session) noexcept {
  TcpWorker& t = tcp_worker(w);
  TcpWorker::Scope scope(t);
  const auto& old = *static_cast<const Connection*>(frozen);
  Connection* c = t.connections.alloc();
  if (!c) return kNoConn;
  const ConnId id = c->id;
  *c = old;
  c->id = id;
  c->session = session;
  c->state = old.frozen_state;
  c->next_queued = kNoConn;
  for (Timer* timer : {&c->send_timer, &c->delack_timer, &c->wait_timer, &c->pace_timer})
    *timer = Timer{};
  init_timers(*c);
  if (old.sack) {
    c->sack = t.scoreboards.alloc();
    if (!c->sack) {
      t.connections.free(*c);
      return kNoConn;
    }
    const ConnId scoreboard = c->sack->id;
    *c->sack = *old.sack;
    c->sack->id = scoreboard;
  }
  restart_timers(t, *c, old.send_timer_kind);
  w.sessions->flow_move(w, c->ends, kProtoTcp, id);
  return id;
}

void thaw(Worker& w, ConnId id, bool adopted) noexcept {
  TcpWorker& t = tcp_worker(w);
  TcpWorker::Scope scope(t);
  Connection* c = t.connections.find(id);
  if (!c || c->state != State::kFrozen) return;
  if (adopted) {
    if (c->sack) t.scoreboards.free(*c->sack);
    return t.connections.free(*c);
  }
  c->state = c->frozen_state;
  restart_timers(t, *c, c->send_timer_kind);
}

}  // namespace loom::tcp
