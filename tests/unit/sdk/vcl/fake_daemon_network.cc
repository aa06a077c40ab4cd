// What applications ask for, and the "network" that joins them and moves their bytes.
#include <arpa/inet.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <new>

#include "fake_daemon_impl.h"

namespace loom::test {
namespace {

uint64_t handle_of(uint32_t index, bool listener) {
  // generation:24 | worker:8 | index:32; listeners are on no worker in particular.
  return uint64_t{1} << 40 | uint64_t{listener ? 0xffu : 0u} << 32 | index;
}

// What may leave now: MSG_MORE holds a segment back until it is full or a plain write follows.
uint32_t due_bytes(DaemonFifoConsumer& tx, bool is_over) {
  constexpr uint32_t kMss = 1000;
  const uint32_t queued = tx.refresh(), held = tx.held();
  return held == 0 || is_over ? queued : std::max(queued - held, queued / kMss * kMss);
}

}  // namespace

FakeDaemon::Session& FakeDaemon::new_session(App& app, const Endpoint& local,
                                             const Endpoint& remote, uint32_t rx_size,
                                             uint32_t tx_size) {
  auto s = std::make_unique<Session>();
  s->app = &app;
  s->handle = handle_of(static_cast<uint32_t>(sessions_.size()), false);
  const auto object = app.arena.alloc_object(sizeof(SessionShared));
  s->shared = new (object.ptr) SessionShared{};
  s->ref = object.ref;
  s->shared->handle = s->handle;
  s->shared->rx_size = rx_size ? rx_size : app.rx_size;
  s->shared->tx_size = tx_size ? tx_size : app.tx_size;
  init_fifos(*s->shared);
  s->rx.open(s->shared->rx(), app.arena, s->shared->rx_size);
  s->tx.open(s->shared->tx(), app.table, s->shared->tx_size);
  s->local = local;
  s->remote = remote;
  sessions_.push_back(std::move(s));
  return *sessions_.back();
}

bool FakeDaemon::offer(Listener& l, Session& s) {
  AcceptedSession a;
  a.handle = s.handle;
  a.session = s.ref;
  a.is_ip4 = s.local.is_ip4;
  a.local_port = s.local.port;
  a.remote_port = s.remote.port;
  std::memcpy(a.local_ip, s.local.ip, 16);
  std::memcpy(a.remote_ip, s.remote.ip, 16);
  uint32_t position;
  if (l.queue.push(a, position) != AcceptProducer::Push::kOk) return false;
  wake_acceptor(l);
  return true;
}

// One of those that wait, the first.
void FakeDaemon::wake_acceptor(Listener& l) {
  const uint64_t interested = l.queue.interested();
  for (uint32_t i = 0; i < kMaxAppWorkers; ++i) {
    Worker* w = interested >> i & 1 ? worker(*l.app, i) : nullptr;
    if (!w || !l.queue.take_interest(i)) continue;
    send(*w, ToApp::kAcceptReady, SessionEvent{l.handle, 0});
    return;
  }
}

void FakeDaemon::connect(Worker& w, const ConnectEvent& e) {
  const uint16_t port = ntohs(e.remote.port);
  ConnectedEvent answer{};
  answer.context = e.context;
  if (port == kSilent) return;
  if (port == kPeer) return connect_to_peer(w, e);
  Listener* l = nullptr;
  for (auto& candidate : listeners_)
    if (candidate->local.port == e.remote.port) l = candidate.get();
  const bool is_datagram = e.proto == 1;  // opens at once, and the other end is always the test
  if (!l && port != 7 && (!is_datagram || port == kRefused)) {
    answer.status = static_cast<int32_t>(Status::kRefused);
    send(w, ToApp::kConnected, answer);
    return;
  }
  Endpoint local = e.local;
  if (local.port == 0) local.port = htons(next_port_++);
  if (local.is_ip4 && local.ip[0] == 0) std::memcpy(local.ip, "\x0a\x00\x00\x02", 4);
  const bool has_sizes = is_datagram || e.proto == 5;
  Session& near = new_session(*w.app, local, e.remote, has_sizes ? e.rx_fifo_size : 0,
                              has_sizes ? e.tx_fifo_size : 0);
  near.options = e.options;
  if (l) {
    Session& far = new_session(*l->app, e.remote, local);
    far.options = l->options;
    near.peer = &far;
    far.peer = &near;
    if (!offer(*l, far)) {
      near.closed = far.closed = true;
      answer.status = static_cast<int32_t>(Status::kRefused);
      send(w, ToApp::kConnected, answer);
      return;
    }
  }
  answer.handle = near.handle;
  answer.session = near.ref;
  answer.everywhere = everywhere_;
  answer.local = local;
  answer.remote = e.remote;
  send(w, ToApp::kConnected, answer);
}

void FakeDaemon::set_peer(Worker& w, const PeerEvent& e) {
  Session& s = *sessions_.at(static_cast<uint32_t>(e.handle));
  ConnectedEvent answer{};
  answer.context = e.context;
  if (ntohs(e.remote.port) == kRefused) {
    answer.status = static_cast<int32_t>(Status::kUnreachable);
  } else {
    s.remote = e.remote;
    answer.handle = s.handle;
    answer.session = s.ref;
    answer.local = s.local;
    answer.remote = s.remote;
  }
  send(w, ToApp::kConnected, answer);
}

void FakeDaemon::release_listens() {
  run([this] {
    holds_listens_ = false;
    for (auto& [w, e] : std::exchange(held_listens_, {})) listen(*w, e);
  });
}

void FakeDaemon::listen(Worker& w, const ListenEvent& e) {
  if (holds_listens_) return (void)held_listens_.emplace_back(&w, e);
  BoundEvent answer{};
  answer.context = e.context;
  answer.local = e.local;
  if (answer.local.port == 0) answer.local.port = htons(next_port_++);
  for (auto& other : listeners_)
    if (other->local.port == answer.local.port) {
      answer.status = static_cast<int32_t>(Status::kInUse);
      send(w, ToApp::kBound, answer);
      return;
    }
  if (e.only_binds != 0) {
    answer.handle = ++bound_ends_;
    return send(w, ToApp::kBound, answer);
  }
  auto l = std::make_unique<Listener>();
  l->app = w.app;
  l->handle = handle_of(static_cast<uint32_t>(listeners_.size() + 1000 * counts_[2]), true);
  const uint32_t capacity = std::bit_ceil(std::max(1u, e.backlog));
  const auto object = w.app->arena.alloc_object(listener_bytes(capacity));
  l->shared = new (object.ptr) ListenerShared{};
  l->queue = AcceptProducer(*l->shared, capacity, l->handle);
  l->local = answer.local;
  l->options = e.options;
  answer.handle = l->handle;
  answer.listener = object.ref;
  listeners_.push_back(std::move(l));
  send(w, ToApp::kBound, answer);
}

void FakeDaemon::handle(Worker& w, const MqEvent& event) {
  const auto type = static_cast<ToDaemon>(event.type);
  if (type == ToDaemon::kConnect) return connect(w, event.as<ConnectEvent>());
  if (type == ToDaemon::kSetPeer) return set_peer(w, event.as<PeerEvent>());
  if (type == ToDaemon::kListen) return listen(w, event.as<ListenEvent>());
  const auto e = event.as<SessionEvent>();
  if (type == ToDaemon::kUnlisten) {
    std::erase_if(listeners_, [&](const auto& l) { return l->handle == e.handle; });
    return;
  }
  if (type == ToDaemon::kAcceptPass) {
    for (const auto& l : listeners_)
      if (l->handle == e.handle && l->queue.count() != 0) wake_acceptor(*l);
    return;
  }
  const auto index = static_cast<uint32_t>(e.handle);
  if (index >= sessions_.size()) {
    if (!lies_) std::abort();
    return;
  }
  Session& s = *sessions_[index];
  const auto answer = [&](uint32_t context, auto&& fill) {
    InfoEvent info{};
    info.context = context;
    fill(info);
    send(w, ToApp::kInfo, info);
  };
  switch (type) {
    case ToDaemon::kClaim:
      // What came while the owner changed may have been announced to the old one.
      to_owner(s, ToApp::kRx);
      break;
    case ToDaemon::kShutdown:
      s.shut = true;
      break;
    case ToDaemon::kClose:
    case ToDaemon::kReset:
      s.reset = type == ToDaemon::kReset;
      after_holders(s);
      break;
    case ToDaemon::kSetOption:
      s.options = event.as<OptionEvent>().options;
      s.options_number = event.as<OptionEvent>().number;
      break;
    case ToDaemon::kGroup: {
      const auto g = event.as<GroupEvent>();
      groups_.push_back(g);
      answer(g.context, [&](InfoEvent& info) { info.status = group_status_; });
      break;
    }
    case ToDaemon::kResize: {
      const auto r = event.as<ResizeEvent>();
      if (r.rx_fifo_size) {
        s.shared->rx_size = r.rx_fifo_size;
        s.rx.set_size(r.rx_fifo_size);
      }
      if (r.tx_fifo_size) {
        s.shared->tx_size = r.tx_fifo_size;
        s.tx.set_size(std::max(s.tx.size(), r.tx_fifo_size));
      }
      answer(r.context, [](InfoEvent&) {});
      break;
    }
    case ToDaemon::kGetPath:
      if (is_silent_about_paths_) break;
      answer(e.context, [&](InfoEvent& info) {
        info.pmtu = path_mtu_;
        if (path_answer_) path_answer_(event.as<PathEvent>(), info);
      });
      break;
    case ToDaemon::kGetInfo:
      answer(e.context, [&](InfoEvent& info) {
        info.state = 1;
        info.rtt = 1234;
        info.snd_mss = path_mtu_;
      });
      break;
    default:
      break;
  }
}

void FakeDaemon::pump() {
  bool again = true;
  while (again) {
    again = false;
    for (size_t i = 0; i < sessions_.size(); ++i) again = pump_one(*sessions_[i]) || again;
  }
}

// Moves what session `s` has sent to its peer. True: something moved.
bool FakeDaemon::pump_one(Session& s) {
  bool moved = false;
  if (s.eof_sent) return false;
  if (s.reset) {
    if (s.peer && !s.peer->closed) {
      s.peer->rx.set_reset(ECONNRESET);
      if (s.peer->rx.should_notify()) to_owner(*s.peer, ToApp::kRx);
    }
    s.eof_sent = true;
    return true;
  }
  while (const uint32_t due = due_bytes(s.tx, s.shut || s.closed)) {
    ByteView views[8];
    const uint32_t n = s.tx.segments(0, due, views);
    if (s.tx.violation()) std::abort();
    uint32_t taken = 0;
    if (!s.peer) {
      for (uint32_t i = 0; i < n; ++i) {
        s.outside.append(reinterpret_cast<const char*>(views[i].data()), views[i].size());
        taken += static_cast<uint32_t>(views[i].size());
      }
    } else if (s.peer->closed) {
      for (uint32_t i = 0; i < n; ++i) taken += static_cast<uint32_t>(views[i].size());
    } else {
      s.peer->rx.refresh();
      taken = s.peer->rx.enqueue(std::span<const ByteView>(views, n));
      if (taken == 0) {
        if (s.peer->rx.want_space(s.peer->rx.size() / 2)) break;
        continue;
      }
      if (s.peer->rx.should_notify()) to_owner(*s.peer, ToApp::kRx);
    }
    s.tx.drop(taken);
    moved = true;
    if (s.tx.should_notify() && !s.closed) to_owner(s, ToApp::kTxSpace);
  }
  if (s.shut && s.tx.available() == 0) {
    s.eof_sent = true;
    if (s.peer && !s.peer->closed) {
      s.peer->rx.set_eof();
      if (s.peer->rx.should_notify()) to_owner(*s.peer, ToApp::kRx);
    }
    return true;
  }
  return moved;
}

}  // namespace loom::test
