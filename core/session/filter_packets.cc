// Filters on workers: what becomes of a packet that matched no connection, and of a connect.
#include <hostloom/net.h>

#include "session/filters.h"
#include "session/impl.h"

namespace loom::session {

// What the rule says: its number and its code; or kNoRule.
template <class Key>
uint64_t Filters::decide(RuleScope scope, uint32_t table, const Key& flow) const noexcept {
  const RuleTable* rules =
      tables_[static_cast<std::size_t>(scope)][table].load(std::memory_order_acquire);
  return rules ? rules->lookup(flow) : RuleTable::kNoRule;
}

void Filters::count_hit(PerWorker& mine, uint64_t decision) noexcept {
  if (decision == RuleTable::kNoRule) return;
  auto& hits = mine.hits[decision >> 32];
  hits.store(hits.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
}

// The application's listener on that port, or else its first, of those that fit. Of n that share
// the port it is the one that choose(n) says.
template <class Fits, class Choose>
uint32_t Filters::find_listener(uint32_t code, uint16_t port, Fits&& fits,
                                Choose&& choose) const noexcept {
  const TargetListeners* listeners =
      target_listeners_[code - kFirstTargetCode].load(std::memory_order_acquire);
  uint32_t first = kNoIndex, n_sharing = 0;
  if (!listeners) return first;
  for (const TargetListener& l : *listeners) {
    if (!fits(l)) continue;
    if (l.port == port && !l.shares) return l.index;
    n_sharing += l.port == port;
    if (first == kNoIndex) first = l.index;
  }
  if (n_sharing == 0) return first;
  uint32_t before = choose(n_sharing);
  for (const TargetListener& l : *listeners)
    if (l.port == port && fits(l) && before-- == 0) return l.index;
  return first;
}

template <class Key>
FlowMatch Filters::filter_one(PerWorker& mine, uint32_t worker, const Key& key,
                              FlowMatch found) const noexcept {
  constexpr bool kIsIp4 = sizeof(Key) == sizeof(FlowKey4);
  const uint32_t fib = key.fib_index;
  if (fib >= kMaxTables) return found;
  const FlowMatch denied{kNoConn, 0, FlowKind::kDenied};
  const DenyList* list = lists_[fib].load(std::memory_order_acquire);
  if (list && list->denies(key.remote)) {
    ++mine.denied_sources;
    return denied;
  }
  const uint64_t decision = decide(RuleScope::kGlobal, fib, key);
  const uint32_t code =
      decision == RuleTable::kNoRule ? kAllowCode : static_cast<uint32_t>(decision);
  const FlowMatch match = [&] {
    if (code == kAllowCode) return found;
    if (code == kDenyCode) return denied;
    // The addresses of a cut-through session are taken; what claims them comes from outside.
    if (found.kind == FlowKind::kListener && found.conn == kNoIndex) return found;
    const uint32_t listener = find_listener(
        code, key.local_port,
        [&](const TargetListener& l) {
          return l.protocol == key.protocol && (kIsIp4 ? l.ip4 : l.ip6);
        },
        [&](uint32_t n) { return layer_.flows->spread(key, n); });
    if (listener != kNoIndex) return FlowMatch{listener, 0, FlowKind::kListener};
    ++mine.redirects_to_nobody;
    return FlowMatch{};
  }();
  // What goes to a listener may be handed to the worker that the flow is for, which looks again.
  if (match.kind != FlowKind::kListener || accepting_worker(layer_, worker, key) == worker)
    count_hit(mine, decision);
  return match;
}

template <class Key>
void Filters::filter(SessionWorker& sw, std::span<const Key> keys, FlowMatch* out) noexcept {
  const auto worker = static_cast<uint8_t>(sw.worker->index);
  PerWorker& mine = per_worker_[worker];
  for (std::size_t i = 0; i < keys.size(); ++i) {
    if (out[i].kind == FlowKind::kEstablished || out[i].kind == FlowKind::kHalfOpen) continue;
    out[i] = filter_one(mine, worker, keys[i], out[i]);
    if (out[i].kind == FlowKind::kDenied) out[i].worker = worker;
  }
}
template void Filters::filter(SessionWorker&, std::span<const FlowKey4>, FlowMatch*) noexcept;
template void Filters::filter(SessionWorker&, std::span<const FlowKey6>, FlowMatch*) noexcept;

template <class Key>
bool Filters::admits_key(const Key& key) const noexcept {
  const DenyList* list = lists_[key.fib_index].load(std::memory_order_acquire);
  if (list && list->denies(key.remote)) return false;
  const uint64_t decision = decide(RuleScope::kGlobal, key.fib_index, key);
  return decision == RuleTable::kNoRule || static_cast<uint32_t>(decision) == kAllowCode;
}

bool Filters::admits(const Endpoints& arriving, uint8_t protocol) const noexcept {
  if (arriving.fib_index >= kMaxTables) return true;
  return arriving.local.is_ip4 ? admits_key(key4_of(arriving, protocol))
                               : admits_key(key6_of(arriving, protocol));
}

Status Filters::filter_connect(SessionWorker& sw, const App& app, ConnectArgs& args, bool is_new,
                               Listener*& to) noexcept {
  const TransportOps* ops = layer_.transports.get(args.transport);
  if (!ops || ops->ip_protocol == 0) return Status::kOk;
  Worker& w = *sw.worker;
  PerWorker& mine = per_worker_[w.index];
  Endpoints e = args.endpoints;
  // Rules may be for a local address, which is the route's when none was bound.
  RouteInfo route;
  if (e.local.is_zero() && w.net && w.net->route(w, e.remote, e.fib_index, &route) == Status::kOk)
    e.local = route.source;
  const uint32_t table = app.ns->index;
  const uint64_t decision = e.remote.is_ip4
                                ? decide(RuleScope::kLocal, table, key4_of(e, ops->ip_protocol))
                                : decide(RuleScope::kLocal, table, key6_of(e, ops->ip_protocol));
  if (is_new) count_hit(mine, decision);
  if (decision == RuleTable::kNoRule) return Status::kOk;
  const auto code = static_cast<uint32_t>(decision);
  if (code == kAllowCode) return Status::kOk;
  if (code == kDenyCode) return Status::kRefused;
  const uint32_t listener = find_listener(
      code, e.remote_port,
      [&](const TargetListener& l) {
        return l.transport == args.transport && (e.remote.is_ip4 ? l.ip4 : l.ip6);
      },
      [&](uint32_t n) { return static_cast<uint32_t>(args.chance % n); });
  Listener* l = layer_.listener(listener);
  if (!l) {
    ++mine.redirects_to_nobody;
    return Status::kRefused;
  }
  // To which namespace is the rule's affair: who made it may see them all.
  if (app.owner->in_this_process || !takes_cut_through(sw, *l, args.transport))
    return Status::kUnsupported;
  if (w.net && !w.net->is_local(w, e.remote, e.fib_index)) args.endpoints.local = e.local;
  to = l;
  return Status::kOk;
}

}  // namespace loom::session
