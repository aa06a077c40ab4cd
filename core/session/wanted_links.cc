#include "session/wanted_links.h"

#include <algorithm>
#include <span>

#include "session/impl.h"

namespace loom::session {
namespace {

constexpr uint32_t kRounds = 2;
constexpr uint32_t kMaxPostedForLinks =
    16;  // of an application, on their way to the control thread

uint64_t mixed(uint64_t h, uint64_t v) noexcept {
  h = (h ^ v) * 0x9e3779b97f4a7c15;
  return h ^ h >> 29;
}

uint64_t way_key(const Session& s, const Endpoints* to) noexcept {
  uint64_t h = mixed(s.id, s.generation);
  if (to) {
    h = mixed(h, to->remote_port);
    for (const auto b : to->remote.bits.bytes) h = mixed(h, static_cast<uint64_t>(b));
  }
  return h | 1;  // 0 is nobody's
}

void make_link(SessionWorker& sw, Session& s, const Endpoints* to, bool may_ask) noexcept {
  const TransportOps& ops = *ops_of(sw, s);
  if (s.state != State::kOpen || !s.shared || !ops.info) return;
  ConnectionInfo c;
  ops.info(*sw.worker, s.conn, c);
  if (c.endpoints.remote_port != 0) {
    if (to && (to->remote != c.endpoints.remote || to->remote_port != c.endpoints.remote_port))
      return;  // who has a peer hears of nobody else
    to = nullptr;
  } else if (!to) {
    return;
  }
  const Endpoints e = to ? flow_with(sw, s, ops, *to) : c.endpoints;
  Session* peer = find_datagram_peer(sw, *s.app, s.transport, e);
  // The answer must come to this one as well.
  if (!peer || peer == &s || find_datagram_peer(sw, *peer->app, s.transport, turned(e)) != &s)
    return;
  // What deny lists and rules refuse by the transport must not come by a link.
  if (!may_link(sw, s, *peer, e)) return;
  if (pair_of(sw, *s.app, *peer->app)) {
    link_datagrams(sw, s, e, to == nullptr);
    return;
  }
  AppWorker* owner = may_ask ? owner_of(s) : nullptr;
  if (!owner || s.app->for_control.load(std::memory_order_relaxed) >= kMaxPostedForLinks) return;
  const Endpoints copy = to ? *to : Endpoints{};
  const bool is_named = to != nullptr;
  (void)ask_pair(
      sw, *owner, *peer->app,
      [handle = handle_of(sw, s), copy, is_named](SessionWorker& at, AppWorker& a, Status) {
        if (Session* again = find_session(at, *a.app, handle))
          make_link(at, *again, is_named ? &copy : nullptr, false);
      });
}

}  // namespace

bool WantedLinks::note(uint64_t key, TimeNs now) noexcept {
  const auto set = std::span(ways_).subspan(key / 2 % kSets * kPlaces, kPlaces);
  auto way = std::ranges::find(set, key, &Way::key);
  if (way == set.end()) way = std::ranges::find(set, uint64_t{0}, &Way::key);
  if (way == set.end()) {
    next_ = next_ * 1664525 + 1013904223;  // not in turn, as they may come
    way = set.begin() + (next_ >> 16) % kPlaces;
  }
  if (way->key != key) *way = {.key = key};
  if (++way->rounds < kRounds || now < way->not_before) return false;
  way->not_before = now + kLookAgain;
  return true;
}

bool may_want_links(const Session& s) noexcept {
  return s.app->scope.local && !(s.link_bound & kWithoutLinks) && !s.app->wanted_links.empty();
}

void want_link(SessionWorker& sw, Session& s, const Endpoints* to) noexcept {
  if (s.app->wanted_links[sw.worker->index].note(way_key(s, to), sw.worker->now))
    make_link(sw, s, to, true);
}

}  // namespace loom::session
