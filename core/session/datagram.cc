// Datagram sessions: whole datagrams in both fifos, each behind an svm::DatagramHeader.
//   in    tx fifos of datagram sessions (send_datagrams, from node "session-queue")
//   out   chains with a Datagram beside each, to push_datagrams
//   cost  what is sent is referred to, as streams'
//
// What they receive is datagram_receive.cc's. What waits in the tx fifo at close is sent before the
// transport is told.
#include <hostloom/datagram.h>
#include <hostloom/net.h>

#include <algorithm>
#include <cstring>

#include "net/net_ops.h"
#include "session/impl.h"
#include "svm/datagram.h"

namespace loom::session {
namespace {

constexpr uint32_t kHeader = sizeof(svm::DatagramHeader);
constexpr uint32_t kMaxChainsPerVisit = 32;  // of one session in one round: fairness
constexpr uint32_t kMostWanted = 4;          // destinations of one visit that may become links
constexpr int kMaxVisitsBefore = 64;         // one after the other, for what must come after them
// A datagram that is cut into many is sent in one visit.
constexpr uint32_t kMostChains = kMaxChainsPerVisit + svm::kMaxGsoSegments;

// Where the datagrams of one visit gather before the transport gets them. Made only as far as it is
// used: most visits find a few.
struct Outbox {
  Buffer* chains[kMostChains];
  alignas(Datagram) std::byte data_bytes[kMostChains * sizeof(Datagram)];
  uint32_t n = 0;
  uint32_t taken = 0;  // bytes of the fifo, headers included
  Datagram* data() noexcept { return reinterpret_cast<Datagram*>(data_bytes); }
  void add(Buffer* b, const Datagram& d) noexcept {
    std::construct_at(data() + n, d);
    chains[n++] = b;
  }
};
static_assert(std::is_trivially_destructible_v<Datagram>);

std::span<std::byte> bytes_of(svm::DatagramHeader& h) noexcept {
  return std::as_writable_bytes(std::span(&h, 1));
}

// What only daemon workers of the session's write. The application reads it.
void count(std::atomic<uint32_t>& n) noexcept {
  n.store(n.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
}

enum class Check { kOk, kBad, kDenied };

// From a header that the framing holds for, to what the transport gets.
Check check(SessionWorker& sw, const Session& s, const svm::DatagramHeader& h,
            Datagram& out) noexcept {
  constexpr uint32_t kToSend = svm::kDatagramKnownFlags | kDatagramInterface |
                               kDatagramLocalInterface | kDatagramNoChecksum | kDatagramWhole;
  if ((h.flags & ~kToSend) || h.is_ip4 > 1) return Check::kBad;
  if ((h.flags & kDatagramLocalInterface) && !(h.flags & kDatagramLocal)) return Check::kBad;
  if (h.gso_size != 0 && h.length > uint32_t{h.gso_size} * svm::kMaxGsoSegments) return Check::kBad;
  if ((h.flags & kDatagramNoChecksum) && (h.is_ip4 || h.gso_size != 0)) return Check::kBad;
  if ((h.flags & kDatagramWhole) && h.is_ip4) return Check::kBad;
  svm::Endpoint local{}, remote{};
  local.is_ip4 = remote.is_ip4 = h.is_ip4;
  remote.port = h.remote_port;
  std::memcpy(local.ip, h.local_ip, sizeof local.ip);
  std::memcpy(remote.ip, h.remote_ip, sizeof remote.ip);
  out.ends = endpoints_of(local, remote);
  out.flags = h.flags;
  out.interface = h.flags & kDatagramInterface ? h.interface : kNoIndex;
  out.tos = h.tos;
  out.ttl = h.ttl;
  // None leaves the host with a time to live of 0; groups may be here.
  if ((h.flags & kDatagramTtl) && h.ttl == 0 &&
      !(h.flags & kDatagramRemote && is_multicast(out.ends.remote)))
    return Check::kBad;
  // What an in-process application sends belongs to a connection that rules have looked at.
  const bool is_inside = s.app->owner->in_this_process;
  const bool has_rules = sw.layer->filters->has_egress() && !is_inside;
  if (!(h.flags & kDatagramRemote)) {
    // Of which family would it be, and what for?
    if (h.flags & (kDatagramLocal | kDatagramInterface)) return Check::kBad;
    out.ends = {};
    if (!has_rules) [[likely]]
      return Check::kOk;
    // A rule may have come since it was connected.
    const TransportOps* ops = ops_of(sw, s);
    ConnectionInfo info;
    if (ops->info) ops->info(*sw.worker, s.conn, info);
    if (info.endpoints.remote_port == 0) return Check::kOk;
    ConnectArgs args{.transport = s.transport, .endpoints = info.endpoints};
    Listener* to = nullptr;
    const Status allowed = sw.layer->filters->filter_connect(sw, *s.app, args, true, to);
    return allowed == Status::kOk ? Check::kOk : Check::kDenied;
  }
  const App& app = *s.app;
  Endpoints& e = out.ends;
  e.fib_index = app.ns->fibs().of(e.remote.is_ip4);
  if (is_inside) {  // it is there in another's name
    ConnectionInfo own;
    const TransportOps* ops = ops_of(sw, s);
    if (ops->info) ops->info(*sw.worker, s.conn, own);
    e.fib_index = own.endpoints.fib_index;
  }
  const IfIndex own_interface = app.ns->interface.load(std::memory_order_relaxed);
  if ((h.flags & kDatagramInterface) && own_interface != kNoIndex && h.interface != own_interface)
    return Check::kBad;  // a namespace of one interface has no other
  if (e.remote_port == 0 || e.remote.is_zero() || e.fib_index == kNoIndex) return Check::kBad;
  if (!(h.flags & kDatagramLocal))
    e.local = e.remote.is_ip4 ? IpAddress(Ip4Address{}) : IpAddress(Ip6Address{});
  else if (!may_send_from(sw, app, e.local, e.fib_index))
    return Check::kBad;
  if (has_rules) [[unlikely]] {
    ConnectArgs args{.transport = s.transport, .endpoints = e};
    Listener* to = nullptr;
    if (sw.layer->filters->filter_connect(sw, app, args, true, to) != Status::kOk || to)
      return Check::kDenied;
  }
  return Check::kOk;
}

// The payload at `offset` in the fifo as one chain, or as several of gso_size. False: no buffers,
// nothing was added.
bool append(SessionWorker& sw, Session& s, const svm::DatagramHeader& h, const Datagram& d,
            uint32_t offset, Outbox& out) noexcept {
  Worker& w = *sw.worker;
  const uint32_t first = out.n;
  const uint32_t most = h.gso_size != 0 ? h.gso_size : h.length;
  uint32_t done = 0;
  do {
    const uint32_t length = std::min(most, h.length - done);
    Buffer* b = w.alloc();
    if (b) out.add(b, d);
    if (!b || (length != 0 && !append_tx(sw, s, offset + done, length, *b))) {
      w.free({out.chains + first, out.n - first});
      out.n = first;
      return false;
    }
    done += length;
  } while (done < h.length);
  return true;
}

// The transport has got them; which links would spare it the next ones.
void want_links(SessionWorker& sw, Session& s, std::span<const Datagram> sent) noexcept {
  if (!may_want_links(s)) return;
  const auto n = static_cast<uint32_t>(sent.size());
  const uint32_t first = sw.wanted_from++ % n;  // of many, each comes first in some visit
  const Endpoints* before = nullptr;
  uint32_t n_wanted = 0;
  for (uint32_t i = 0; i < n && n_wanted < kMostWanted && s.state == State::kOpen; ++i) {
    const Datagram& d = sent[(first + i) % n];
    // From where it likes, or by which interface.
    if (d.flags & (kDatagramLocal | kDatagramInterface)) continue;
    const Endpoints* to = d.flags & kDatagramRemote ? &d.ends : nullptr;
    const bool is_same = n_wanted != 0 && (to && before ? to->remote == before->remote &&
                                                              to->remote_port == before->remote_port
                                                        : to == before);
    if (is_same) continue;
    before = to;
    ++n_wanted;
    want_link(sw, s, to);
  }
}

// Takes what the fifo has, in turn, at most `queued` bytes. False: the application has been
// condemned.
bool take(SessionWorker& sw, Session& s, uint32_t queued, Outbox& out) noexcept {
  auto tx = tx_of(s);
  for (uint32_t looked = 0; out.taken < queued && looked < kMaxChainsPerVisit; ++looked) {
    if (out.n >= kMaxChainsPerVisit) break;
    svm::DatagramHeader h;
    const uint32_t left = queued - out.taken;
    // Read once: from here on the application may write there what it likes.
    if (left < kHeader || tx.peek(s.hold.total_deferred() + out.taken, bytes_of(h)) != kHeader ||
        h.length > kMaxDatagramBytes || h.length > left - kHeader) {
      condemn(sw, *s.app);
      return false;
    }
    Datagram d;
    switch (check(sw, s, h, d)) {
      case Check::kOk:
        if (!append(sw, s, h, d, out.taken + kHeader, out)) {
          if (tx.violation()) return false;  // append_tx has condemned it
          ++sw.counters[kNoBuffers];
          return true;
        }
        break;
      case Check::kBad:
        ++sw.counters[kBadDatagram];
        count(s.fifos().daemon.n_unreachable);  // perhaps it is a source no more
        break;
      case Check::kDenied:
        ++sw.counters[kDatagramDenied];
        break;
    }
    out.taken += kHeader + h.length;
  }
  return true;
}

}  // namespace

bool may_send_from(SessionWorker& sw, const App& app, const IpAddress& local,
                   uint32_t fib) noexcept {
  Worker& w = *sw.worker;
  const IfIndex interface = app.ns->interface.load(std::memory_order_relaxed);
  if (interface != kNoIndex) return has_address(w, interface, local);
  return w.net && w.net->is_local(w, local, fib);
}

bool is_multicast(const IpAddress& a) noexcept {
  return a.is_ip4 ? a.ip4().is_multicast() : a.ip6().is_multicast();
}

void unreachable(Worker& w, SessionId id) noexcept {
  if (Session& s = of(w).pool.at(id); s.shared) count(s.fifos().daemon.n_unreachable);
}

void send_before(SessionWorker& sw, Session& s) noexcept {
  const SessionId id = s.id;
  const uint32_t generation = s.generation;
  for (int i = 0; i < kMaxVisitsBefore; ++i)
    if (!send_datagrams(sw, s) || sw.pool.at(id).generation != generation) return;
}

bool send_datagrams(SessionWorker& sw, Session& s) noexcept {
  Worker& w = *sw.worker;
  const TransportOps& ops = *ops_of(sw, s);
  auto tx = tx_of(s);
  for (int look = 0; look < 2; ++look) {
    const uint32_t in_fifo = tx.refresh();
    if (tx.violation()) [[unlikely]] {
      condemn(sw, *s.app);
      return false;
    }
    const uint32_t waiting = s.hold.total_deferred();
    const uint32_t queued = in_fifo > waiting ? in_fifo - waiting : 0;
    if (queued == 0) {
      if (s.state == State::kClosing) {
        ops.close(w, s.conn, false);
        return false;
      }
      if (tx.arm(in_fifo)) return false;
      continue;
    }
    Outbox out;
    const bool is_sound = take(sw, s, queued, out);
    const SessionId id = s.id;
    if (out.taken != 0) w.sessions->tx_drop(w, id, out.taken);
    if (out.n != 0) {
      sw.counters[kSentChains] += out.n;
      w.work += out.n;
      ops.push_datagrams(w, s.conn, {out.chains, out.n}, out.data());
      if (s.state == State::kOpen) want_links(sw, s, {out.data(), out.n});
    }
    return is_sound;
  }
  return true;
}

Status flow_bind(Worker& w, Endpoints& e, uint8_t protocol, bool dual_stack, ConnId conn) noexcept {
  return of(w).layer->flows->bind(e, protocol, dual_stack, static_cast<uint8_t>(w.index), conn,
                                  w.ops->random(w));
}

void flow_unbind(Worker& w, const Endpoints& e, uint8_t protocol, bool dual_stack) noexcept {
  of(w).layer->flows->unbind(e, protocol, dual_stack, w.now);
}

Status flow_bind_shared(Worker& w, Endpoints& e, uint8_t protocol, bool dual_stack, ConnId conn,
                        SessionId id, const SocketOptionsView& options) noexcept {
  SessionWorker& sw = of(w);
  const App& app = *sw.pool.at(id).app;
  const PortShare share{options.reuseport, options.reuseaddr, app.uid, app.ns.get()};
  return sw.layer->flows->bind_shared(e, protocol, dual_stack, static_cast<uint8_t>(w.index), conn,
                                      share, w.ops->random(w));
}

Status flow_share(Worker& w, const Endpoints& e, uint8_t protocol, ConnId conn, SessionId id,
                  const SocketOptionsView& options) noexcept {
  SessionWorker& sw = of(w);
  const App& app = *sw.pool.at(id).app;
  const PortShare share{options.reuseport, options.reuseaddr, app.uid, app.ns.get()};
  return sw.layer->flows->share(e, protocol, static_cast<uint8_t>(w.index), conn, share);
}

void flow_unshare(Worker& w, const Endpoints& e, uint8_t protocol, ConnId conn) noexcept {
  of(w).layer->flows->unshare(e, protocol, static_cast<uint8_t>(w.index), conn, w.now);
}

void flow_unbind_shared(Worker& w, const Endpoints& e, uint8_t protocol, bool dual_stack,
                        ConnId conn) noexcept {
  of(w).layer->flows->unbind_shared(e, protocol, dual_stack, static_cast<uint8_t>(w.index), conn,
                                    w.now);
}

}  // namespace loom::session
