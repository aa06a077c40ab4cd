// Links between datagram sessions: found, made, ended. What an application says of them is checked
// against what is kept here; nothing is read back from its table.
#include "session/datagram_links.h"

#include <hostloom/net.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "session/control.h"

namespace loom::session {
namespace {

// Of a session that had a peer when its table was made; others have kMaxDatagramLinks.
constexpr uint32_t kLinksOfOnePeer = 4;

LinkedSession* linked(SessionWorker& sw, const Session& s) noexcept {
  if (sw.linked.empty()) [[likely]]
    return nullptr;
  const auto found = sw.linked.find(s.id);
  return found == sw.linked.end() ? nullptr : &found->second;
}

bool same(const svm::Endpoint& a, const svm::Endpoint& b) noexcept {
  return a.is_ip4 == b.is_ip4 && a.port == b.port &&
         std::memcmp(a.ip, b.ip, a.is_ip4 ? 4 : 16) == 0;
}

bool can_link(const TransportOps& ops) noexcept {
  // What a transport from outside the tree does to datagrams on their way, nobody here knows.
  return ops.tx_kind == TxKind::kDatagram && ops.session_of && ops.ip_protocol != 0 &&
         ops.proto < kFirstPrivateProto;
}

// The daemon's word, and the version behind it.
void publish(LinkedSession& l, uint32_t slot, svm::LinkState state) noexcept {
  svm::DatagramLinkSlot& shared = svm::link_slots(*l.shared)[slot];
  shared.word.store(svm::link_word(l.slots[slot].serial, state), std::memory_order_release);
  l.shared->version.store(++l.version, std::memory_order_release);
}

// Its application sees it once show_table() has said where it is.
LinkedSession* open_table(SessionWorker& sw, Session& s, bool has_peer) {
  if (LinkedSession* l = linked(sw, s)) return l;
  const uint32_t capacity = has_peer ? kLinksOfOnePeer : svm::kMaxDatagramLinks;
  const auto object = s.app->arena.alloc_object(sizeof(svm::DatagramLinks) +
                                                capacity * sizeof(svm::DatagramLinkSlot));
  if (!object.ptr) {
    ++sw.counters[kNoSegmentMemory];
    ask_growth(sw, *s.app);
    return nullptr;
  }
  LinkedSession& l = sw.linked[s.id];
  l.shared = reinterpret_cast<svm::DatagramLinks*>(object.ptr);
  l.shared->capacity = capacity;
  l.ref = object.ref;
  l.slots.resize(capacity);
  return &l;
}

void show_table(SessionWorker& sw, Session& s) noexcept {
  std::atomic_ref(s.shared->block).store(linked(sw, s)->ref, std::memory_order_release);
}

// No link is in it.
void close_table(SessionWorker& sw, Session& s) noexcept {
  s.app->arena.free_object(linked(sw, s)->ref);
  sw.linked.erase(s.id);
}

// The tables of both, or of neither.
bool open_tables(SessionWorker& sw, Session& s, bool has_peer, Session& to) {
  const bool was_there = linked(sw, s) != nullptr;
  if (!open_table(sw, s, has_peer)) return false;
  if (open_table(sw, to, false)) return true;
  if (!was_there) close_table(sw, s);
  return false;
}

uint32_t free_slot(const LinkedSession& l) noexcept {
  const auto found = std::ranges::find(l.slots, kNoIndex, &LinkedSession::Slot::link);
  return found == l.slots.end() ? kNoIndex : static_cast<uint32_t>(found - l.slots.begin());
}

// Of each direction. What a list of chunks may hold that an application has made up is looked
// through when the link goes: not more than that.
constexpr uint32_t kMostLinkBytes = 4u << 20;

void drop_link(SessionWorker& sw, uint32_t index) noexcept {
  DatagramLink& l = *sw.datagram_links[index];
  give_memory(l);
  l = {};
  sw.free_datagram_links.push_back(index);
}

// The session's application does not touch the link any more.
void let_go(SessionWorker& sw, LinkedSession& at, uint32_t slot) noexcept {
  LinkedSession::Slot& s = at.slots[slot];
  const uint32_t index = std::exchange(s.link, kNoIndex);
  ++s.serial;
  DatagramLink& l = *sw.datagram_links[index];
  l.ends[s.end].session = kNoSession;
  if (l.ends[1 - s.end].session == kNoSession) drop_link(sw, index);
}

// In the list of open ones, where it has been counted already, or out.
void list(SessionWorker& sw, uint32_t index, uint32_t ns) {
  OpenLinks& open = sw.open_links;
  if (open.newest.size() <= ns) open.newest.resize(ns + 1, kNoIndex);
  DatagramLink& l = *sw.datagram_links[index];
  l.ns = ns;
  l.newer = kNoIndex;
  l.older = std::exchange(open.newest[ns], index);
  if (l.older != kNoIndex) sw.datagram_links[l.older]->newer = index;
  l.is_open = true;
}
void unlist(SessionWorker& sw, DatagramLink& l) noexcept {
  OpenLinks& open = sw.open_links;
  uint32_t& at = l.newer != kNoIndex ? sw.datagram_links[l.newer]->older : open.newest[l.ns];
  if (open.next_look == at) open.next_look = l.older;
  at = l.older;
  if (l.older != kNoIndex) sw.datagram_links[l.older]->newer = l.newer;
  sw.layer->open_links.fetch_sub(1);
}

void end_link(SessionWorker& sw, DatagramLink& l) noexcept {
  if (!std::exchange(l.is_open, false)) return;
  unlist(sw, l);
  for (const DatagramLink::End& e : l.ends) {
    if (e.session == kNoSession) continue;
    Session& s = sw.pool.at(e.session);
    publish(*linked(sw, s), e.slot, svm::kLinkEnded);
    notify(sw, s, kNotifyRx | kNotifyForce);
  }
}

constexpr TimeNs kIdle = kSecond;

// There is a place in the session's table, or no table yet. Where there is none, links by which
// nothing has gone for a while end, and their places are free once their applications have let go
// of them.
bool has_slot(SessionWorker& sw, const Session& s) noexcept {
  LinkedSession* table = linked(sw, s);
  if (!table || free_slot(*table) != kNoIndex) return true;
  LinkedSession& at = *table;
  if (sw.worker->now < at.next_look) return false;
  at.next_look = sw.worker->now + kIdle;
  for (const LinkedSession::Slot& used : at.slots) {
    DatagramLink& l = *sw.datagram_links[used.link];
    if (l.looked_at >= 0 && sw.worker->now - l.looked_at < kIdle) continue;  // for its other end
    uint32_t written = 0;  // as its ends say: it is their link
    for (const svm::FifoShared& f : l.shared->fifos)
      written += f.producer.tail.load(std::memory_order_relaxed);
    if (l.looked_at >= 0 && written == l.written) end_link(sw, l);
    l.looked_at = sw.worker->now;
    l.written = written;
  }
  return false;
}

void fill_end(SessionWorker& sw, uint32_t index, uint32_t end, Session& s, LinkedSession& at,
              uint32_t slot, const Endpoints& e) noexcept {
  DatagramLink& l = *sw.datagram_links[index];
  if (end == 0) l.seen = e;
  l.ends[end] = {s.id, slot};
  l.shared->ends[end].owner.store(s.shared->owner.load(std::memory_order_relaxed),
                                  std::memory_order_relaxed);
  LinkedSession::Slot& own = at.slots[slot];
  own.link = index;
  own.end = end;
  ++own.serial;
  own.remote = endpoint_of(e.remote, e.remote_port);
  svm::DatagramLinkSlot& shared = svm::link_slots(*at.shared)[slot];
  shared.end = end;
  shared.block = l.ref;
  shared.bell = l.pair->bells[l.bell].ref;
  shared.bell_bit = l.bit;
  shared.tx_size = l.sizes[end];
  shared.rx_size = l.sizes[1 - end];
  shared.local = endpoint_of(e.local, e.local_port);
  shared.remote = own.remote;
}

// What either end sends must be allowed, on its way out and on its way in, or all goes by the
// transport, which asks for each. `e`: as the session sees them.
bool may_send(SessionWorker& sw, const Session& s, const Endpoints& e) noexcept {
  Filters& filters = *sw.layer->filters;
  if (filters.has_ingress() && !filters.admits(turned(e), ops_of(sw, s)->ip_protocol)) return false;
  if (!filters.has_egress()) [[likely]]
    return true;
  ConnectArgs args{.transport = s.transport, .endpoints = e};
  Listener* to = nullptr;
  return filters.filter_connect(sw, *s.app, args, false, to) == Status::kOk && !to;
}

// What waits for an answer of one that has died would wait for ever.
void tell_of_death(SessionWorker& sw, Session& peer) noexcept {
  const TransportOps* ops = ops_of(sw, peer);
  if (peer.state != State::kOpen || !(peer.flags & kTransportUp) || !ops->info) return;
  ConnectionInfo c;
  ops->info(*sw.worker, peer.conn, c);
  if (c.endpoints.remote_port != 0)
    sw.worker->sessions->soft_error(*sw.worker, peer.id, ResetReason::kRefused);
}

// Where the link is that the request names; nullptr: nowhere.
LinkedSession* find_named(SessionWorker& sw, const App& app, const svm::LinkEvent& e) noexcept {
  Session* s = find_session(sw, app, e.handle);
  LinkedSession* l = s ? linked(sw, *s) : nullptr;
  if (!l || e.slot >= l->slots.size() || l->slots[e.slot].link == kNoIndex ||
      svm::link_serial(svm::link_word(l->slots[e.slot].serial, svm::kLinkFree)) !=
          svm::link_serial(e.word)) {
    if (s) ++sw.counters[kStaleHandle];  // ordinary: two processes of it may say so
    return nullptr;
  }
  return l;
}

// What the sessions would send to each other is allowed, as far as that is asked for each.
bool may_stay(SessionWorker& sw, const DatagramLink& l) noexcept {
  for (uint32_t end = 0; end < 2; ++end) {
    if (l.ends[end].session == kNoSession) continue;
    const Session& s = sw.pool.at(l.ends[end].session);
    if (!may_send(sw, s, end == 0 ? l.seen : turned(l.seen))) return false;
  }
  return true;
}

// There is a link with that peer.
bool has_link(SessionWorker& sw, const Session& s, const svm::Endpoint& peer) noexcept {
  const LinkedSession* has = linked(sw, s);
  return has && std::ranges::any_of(has->slots, [&](const LinkedSession::Slot& slot) {
           return slot.link != kNoIndex && sw.datagram_links[slot.link]->is_open &&
                  same(slot.remote, peer);
         });
}

// False: there is no room, or no memory.
bool open_link(SessionWorker& sw, Session& s, Session& to, CutThroughPair& pair, const Endpoints& e,
               bool has_peer) noexcept {
  // A table costs its application 16 KB, and the peer's has not asked for it: it comes last.
  const bool has_room[] = {has_slot(sw, s), has_slot(sw, to)};
  LinkMemory memory;
  if (!has_room[0] || !has_room[1] || !take_memory(sw, pair, memory)) return false;
  if (!open_tables(sw, s, has_peer, to)) {
    give_memory(memory);
    return false;
  }
  LinkedSession &from_table = *linked(sw, s), &to_table = *linked(sw, to);
  const uint32_t from_slot = free_slot(from_table), to_slot = free_slot(to_table);
  const uint32_t index = take_place(sw.datagram_links, sw.free_datagram_links);
  DatagramLink& l = *sw.datagram_links[index];
  static_cast<LinkMemory&>(l) = memory;
  list(sw, index, s.app->ns->index);
  // An application that talks to itself has both ends.
  const uint32_t end = pair.apps[0] == s.app ? 0 : 1;
  l.sizes[end] = std::min(to.rx.size, kMostLinkBytes);
  l.sizes[1 - end] = std::min(s.rx.size, kMostLinkBytes);
  fill_end(sw, index, end, s, from_table, from_slot, e);
  fill_end(sw, index, 1 - end, to, to_table, to_slot, turned(e));
  publish(to_table, to_slot, svm::kLinkOpen);
  publish(from_table, from_slot, svm::kLinkOpen);
  show_table(sw, to);
  show_table(sw, s);
  notify(sw, to, kNotifyRx | kNotifyForce);
  notify(sw, s, kNotifyRx | kNotifyForce);
  return true;
}

}  // namespace

Session* find_datagram_peer(SessionWorker& sw, const App& app, TransportId transport,
                            const Endpoints& e, uint32_t* elsewhere) noexcept {
  if (elsewhere) *elsewhere = sw.worker->index;
  const Impl& layer = *sw.layer;
  const TransportOps* ops = layer.transports.get(transport);
  Worker& w = *sw.worker;
  if (!app.scope.local || e.remote_port == 0 || !can_link(*ops) || !w.net ||
      !w.net->is_local(w, e.remote, e.fib_index))
    return nullptr;
  const Endpoints arriving = turned(e);
  FlowMatch match;
  if (e.remote.is_ip4) {
    const FlowKey4 key = key4_of(arriving, ops->ip_protocol);
    layer.flows->lookup<FlowKey4>({&key, 1}, &match);
  } else {
    const FlowKey6 key = key6_of(arriving, ops->ip_protocol);
    layer.flows->lookup<FlowKey6>({&key, 1}, &match);
  }
  if (match.kind != FlowKind::kBound && match.kind != FlowKind::kEstablished) return nullptr;
  if (match.worker != w.index) {
    if (elsewhere && match.worker < layer.workers.size()) *elsewhere = match.worker;
    return nullptr;
  }
  const SessionId id = ops->session_of(w, match.conn);
  if (!sw.pool.contains(id)) return nullptr;
  Session& s = sw.pool.at(id);
  // Whose peers are on one link is not whom those of another mean by the same address (RFC 4007).
  const bool is_there = s.state == State::kOpen && s.shared && s.transport == transport &&
                        !(s.link_bound & kWithoutLinks);
  return is_there && s.app->ns == app.ns && s.app->scope.local && !s.app->owner->in_this_process &&
                 s.app->live_mask() != 0
             ? &s
             : nullptr;
}

bool may_link(SessionWorker& sw, const Session& s, const Session& to, const Endpoints& e) noexcept {
  return may_send(sw, to, turned(e)) && may_send(sw, s, e);
}

void link_datagrams(SessionWorker& sw, Session& s, const Endpoints& e, bool has_peer) noexcept {
  if (s.link_bound & kWithoutLinks) return;
  Session* to = find_datagram_peer(sw, *s.app, s.transport, e);
  CutThroughPair* pair = to && to != &s && s.shared ? pair_of(sw, *s.app, *to->app) : nullptr;
  if (!pair || has_link(sw, s, endpoint_of(e.remote, e.remote_port))) return;
  // Counted before the rules are asked: who changes them looks at the number afterwards.
  sw.layer->open_links.fetch_add(1);
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (!may_link(sw, s, *to, e) || !open_link(sw, s, *to, *pair, e, has_peer))
    sw.layer->open_links.fetch_sub(1);
}

void end_links(SessionWorker& sw, Session& s, const svm::Endpoint* keep, bool has_died) noexcept {
  LinkedSession* at = linked(sw, s);
  if (!at) return;
  for (const LinkedSession::Slot& slot : at->slots) {
    if (slot.link == kNoIndex) continue;
    DatagramLink& l = *sw.datagram_links[slot.link];
    if (!l.is_open || (keep && same(slot.remote, *keep))) continue;
    // It has written its last before it closed, or died: nobody waits for its word.
    if (!keep) l.shared->ends[slot.end].stopped.store(1, std::memory_order_release);
    end_link(sw, l);
    // What it sent before comes first, as its last answer.
    const svm::FifoShared& sent = l.shared->fifos[slot.end];
    const bool is_read = sent.producer.tail.load(std::memory_order_acquire) ==
                         sent.consumer.head.load(std::memory_order_acquire);
    if (has_died && is_read && l.ends[1 - slot.end].session != kNoSession)
      tell_of_death(sw, sw.pool.at(l.ends[1 - slot.end].session));
  }
}

void release_links(SessionWorker& sw, Session& s) noexcept {
  LinkedSession* at = linked(sw, s);
  if (!at) return;
  end_links(sw, s);
  for (uint32_t i = 0; i < at->slots.size(); ++i)
    if (at->slots[i].link != kNoIndex) let_go(sw, *at, i);
  close_table(sw, s);
}

void set_link_owners(SessionWorker& sw, Session& s, uint32_t worker) noexcept {
  const LinkedSession* at = linked(sw, s);
  if (!at) return;
  for (const LinkedSession::Slot& slot : at->slots)
    if (slot.link != kNoIndex)
      sw.datagram_links[slot.link]->shared->ends[slot.end].owner.store(worker);
}

void review_links(Impl& layer, uint32_t ns) {
  // One that is counted later is opened by the rules as they are, and listed before all others.
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (layer.open_links.load() == 0) return;
  for (uint32_t i = 0; i < layer.engine.n_workers(); ++i)
    in_slices(layer, i,
              [=, at = ns == kAllNamespaces ? 0 : ns, begun = false](SessionWorker& sw) mutable {
                OpenLinks& open = sw.open_links;
                if (!std::exchange(begun, true))
                  open.next_look = at < open.newest.size() ? open.newest[at] : kNoIndex;
                if (open.next_look == kNoIndex) {
                  begun = false;
                  return ns == kAllNamespaces && ++at < open.newest.size();
                }
                DatagramLink& l = *sw.datagram_links[open.next_look];
                open.next_look = l.older;
                ++open.looks;
                if (!may_stay(sw, l)) end_link(sw, l);
                return true;
              });
}

void link_done(SessionWorker& sw, const App& app, const svm::LinkEvent& e) noexcept {
  LinkedSession* at = find_named(sw, app, e);
  if (!at) return;
  DatagramLink& l = *sw.datagram_links[at->slots[e.slot].link];
  const Session& s = sw.pool.at(l.ends[at->slots[e.slot].end].session);
  end_link(sw, l);
  // Processes that share the session have not seen the end yet, and may still look at what it has.
  const uint64_t holders = s.shared->holders.load(std::memory_order_acquire) & app.live_mask();
  if (svm::link_state(e.word) == svm::kLinkOpen && std::popcount(holders) > 1) return;
  let_go(sw, *at, e.slot);
  publish(*at, e.slot, svm::kLinkFree);
}

void link_ring(SessionWorker& sw, const App& app, const svm::LinkEvent& e) noexcept {
  const LinkedSession* at = find_named(sw, app, e);
  if (!at) return;
  const LinkedSession::Slot& slot = at->slots[e.slot];
  const SessionId peer = sw.datagram_links[slot.link]->ends[1 - slot.end].session;
  // Who sleeps has armed the session's own fifo, too: one event, and no more until then.
  if (peer != kNoSession) notify(sw, sw.pool.at(peer), kNotifyRx);
}

LinkFigures link_figures(SessionWorker& sw, const Session& s) {
  LinkFigures f;
  const LinkedSession* at = linked(sw, s);
  if (!at) return f;
  for (const LinkedSession::Slot& slot : at->slots) {
    if (slot.link == kNoIndex) continue;
    const DatagramLink& l = *sw.datagram_links[slot.link];
    f.open += l.is_open;
    f.dropped += l.shared->ends[1 - slot.end].dropped.load(std::memory_order_relaxed);
    const svm::FifoShared& in = l.shared->fifos[1 - slot.end];
    const uint32_t head = in.consumer.head.load(std::memory_order_acquire);
    f.links.push_back({slot.remote, l.is_open,
                       in.producer.tail.load(std::memory_order_relaxed) - head,
                       in.consumer.armed.load(std::memory_order_relaxed) != 0});
  }
  return f;
}

}  // namespace loom::session
