// See migrate.h, and TransportOps for what each promises.
#include "migrate.h"

#include "controller.h"
#include "tcp_worker.h"
#include "timers.h"

namespace loom::tcp {
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
  w.timer_stop(c->timer);  // its deadlines are times of a clock that all workers share
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
  c->timer = Timer{};
  init_timers(*c);
  c->sack = old.sack ? t.scoreboards.alloc() : nullptr;
  if (!copy_controller_state(t, *c, old) || (old.sack && !c->sack)) {
    t.free_connection(*c);
    return kNoConn;
  }
  if (old.sack) {
    const ConnId scoreboard = c->sack->id;
    *c->sack = *old.sack;
    c->sack->id = scoreboard;
  }
  resume_timers(t, *c);
  w.sessions->flow_move(w, c->ends, kProtoTcp, id);
  return id;
}

void thaw(Worker& w, ConnId id, bool adopted) noexcept {
  TcpWorker& t = tcp_worker(w);
  TcpWorker::Scope scope(t);
  Connection* c = t.connections.find(id);
  if (!c || c->state != State::kFrozen) return;
  if (adopted) {
    return t.free_connection(*c);
  }
  c->state = c->frozen_state;
  resume_timers(t, *c);
}

}  // namespace loom::tcp
