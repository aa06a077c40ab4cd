// SessionOps: which connection or listener a packet is for. Worker, without a lock.
#include "session/impl.h"

namespace loom::session {
namespace {

// Whether draining hides the listener: new connections of streams find nobody. A datagram transport
// serves all its peers on the listener's address; it is refused new ones by accepted().
bool is_hidden(SessionWorker& sw, const Listener& l) noexcept {
  if (sw.layer->drain_state.load(std::memory_order_relaxed) == DrainState::kOff) [[likely]]
    return false;
  if (sw.layer->transports.get(l.transport)->tx_kind == TxKind::kDatagram) return false;
  ++sw.drain_refused;
  return true;
}

// Whether packets of this worker may lead to it.
bool may_lead_to(const Listener* l, uint32_t worker) noexcept {
  return l && l->conn[worker] != kNoConn && l->face().scope.global;
}

}  // namespace

template <class Key>
void lookup(Worker& w, std::span<const Key> keys, FlowMatch* out) noexcept {
  SessionWorker& sw = of(w);
  Impl& layer = *sw.layer;
  layer.flows->lookup(keys, out);
  if (layer.filters->has_ingress()) [[unlikely]]
    layer.filters->filter(sw, keys, out);
  for (std::size_t i = 0; i < keys.size(); ++i) {
    if (out[i].kind != FlowKind::kListener) {
      if (out[i].worker != w.index && out[i].kind == FlowKind::kEstablished &&
          !layer.config.spread_flows) [[unlikely]]
        note_stray(sw, keys[i].protocol, out[i]);
      continue;
    }
    const Listener* l = layer.listener(out[i].conn);
    out[i] = {};
    if (!may_lead_to(l, w.index) || is_hidden(sw, *l)) continue;
    out[i] = {l->conn[w.index], static_cast<uint8_t>(accepting_worker(layer, w.index, keys[i])),
              FlowKind::kListener};
  }
}
template void lookup(Worker&, std::span<const FlowKey4>, FlowMatch*) noexcept;
template void lookup(Worker&, std::span<const FlowKey6>, FlowMatch*) noexcept;

ConnId listener_on(Worker& w, const Endpoints& e, uint8_t protocol, SessionId found,
                   IfIndex by) noexcept {
  SessionWorker& sw = of(w);
  Impl& layer = *sw.layer;
  struct Search {
    const Impl& layer;
    uint32_t worker;
    SessionId found;
    IfIndex by;
  };
  const Search search{layer, w.index, found, by};
  const auto hears = [](const void* context, const FlowMatch& m) noexcept {
    const auto& s = *static_cast<const Search*>(context);
    if (m.kind != FlowKind::kListener || m.conn == s.found) return false;
    const Listener* l = s.layer.listener(m.conn);
    return may_lead_to(l, s.worker) &&
           (l->options.interface == kNoIndex || l->options.interface == s.by);
  };
  const auto look = [&](const auto& key) {
    FlowMatch m;
    layer.flows->lookup(std::span(&key, 1), &m);
    // A rule has led it to that listener, and not to its neighbours.
    if (layer.filters->has_ingress() && m.conn != found) return FlowMatch{};
    const uint32_t hash = layer.flows->spread(key, PortGroups::kSlots);
    return layer.flows->find_listener(e, protocol, hash, hears, &search);
  };
  const FlowMatch m = e.local.is_ip4 ? look(key4_of(e, protocol)) : look(key6_of(e, protocol));
  const Listener* l = m.kind == FlowKind::kListener ? layer.listener(m.conn) : nullptr;
  return l && !is_hidden(sw, *l) ? l->conn[w.index] : kNoConn;
}

}  // namespace loom::session
