// Where namespaces are in the network: their routing tables and interfaces, and with these the
// places where listeners are found and the addresses that connects come from.
#include <hostloom/net.h>

#include <algorithm>

#include "net/interface/interface.h"
#include "net/net.h"
#include "net/net_ops.h"
#include "session/impl.h"

namespace loom::session {
namespace {

Result<uint32_t> fib_of_table(const Impl& layer, uint32_t table, bool is_ip6) {
  if (layer.net) return layer.net->fib_index(table, is_ip6);
  if (table == 0) return 0u;
  return error(Status::kNotFound, "no table " + std::to_string(table));
}

// Runs fn(const Interface&) for it. False: there is none.
template <class Fn>
bool with_interface(const Impl& layer, IfIndex index, Fn&& fn) {
  bool found = false;
  if (layer.net)
    layer.net->visit_interfaces([&](const Interface& f) {
      if (f.index != index) return;
      found = true;
      fn(f);
    });
  return found;
}

void take_tables(Namespace& ns, const Interface& f) {
  ns.ip4_table = f.ip4_table;
  ns.ip6_table = f.ip6_table;
  ns.ip4_fib.store(f.ip4_fib_index.load(std::memory_order_relaxed), std::memory_order_relaxed);
  ns.ip6_fib.store(f.ip6_fib_index.load(std::memory_order_relaxed), std::memory_order_relaxed);
}

// Brings a listener's places up to date. Connections stay.
void move_listener(Impl& layer, Listener& l) {
  std::vector<Place> now = places_of(layer, l.face(), l.endpoints, l.dual_stack, l.fibs);
  for (const Place& p : l.places)
    if (std::find(now.begin(), now.end(), p) == now.end()) give_up_place(layer, l, p);
  std::erase_if(now, [&](Place& p) {
    if (std::find(l.places.begin(), l.places.end(), p) != l.places.end()) return false;
    if (take_place(layer, l, p, false) == Status::kOk) return false;
    layer.log(LogLevel::kWarn, "application '" + l.face().name + "' cannot listen on " +
                                   p.at.local.str() + " port " + std::to_string(p.at.local_port) +
                                   ", too: somebody does");
    return true;
  });
  l.places = std::move(now);
}

}  // namespace

Result<void> settle(Impl& layer, Namespace& ns, const NamespaceArgs& args) {
  if (args.interface != kNoIndex) {
    if (!with_interface(layer, args.interface, [&](const Interface& f) { take_tables(ns, f); }))
      return error(Status::kNotFound, "no interface " + std::to_string(args.interface));
    ns.interface.store(args.interface, std::memory_order_relaxed);
    return {};
  }
  const auto ip4 = fib_of_table(layer, args.ip4_table, false);
  if (!ip4) return ip4.error();
  const auto ip6 = fib_of_table(layer, args.ip6_table, true);
  if (!ip6) return ip6.error();
  ns.interface.store(kNoIndex, std::memory_order_relaxed);
  ns.ip4_table = args.ip4_table;
  ns.ip6_table = args.ip6_table;
  ns.ip4_fib.store(*ip4, std::memory_order_relaxed);
  ns.ip6_fib.store(*ip6, std::memory_order_relaxed);
  return {};
}

std::vector<Place> places_of(const Impl& layer, const App& app, const Endpoints& local,
                             bool dual_stack, const FibPair& fibs) {
  std::vector<Place> places;
  Endpoints any_ip4 = local;
  any_ip4.local = any_ip4.remote = IpAddress(Ip4Address{});
  // `fibs` are equal, or nothing is for both families.
  const auto add_in = [&](const Endpoints& at, bool both, uint32_t fib) {
    if (fib == kNoIndex) return;
    const auto add = [&](uint32_t table) {
      places.push_back({at, both});
      places.back().at.fib_index = table;
    };
    if (app.owner->in_this_process || app.scope.global) add(fib);
    if (!app.owner->in_this_process && app.scope.local) add(local_table(app.ns->index, fib));
  };
  const IfIndex bound = app.ns->interface.load(std::memory_order_relaxed);
  if (app.owner->in_this_process || bound == kNoIndex) {
    const bool both = dual_stack && fibs.ip4 == fibs.ip6;
    add_in(local, both, fibs.of(local.local.is_ip4));
    if (dual_stack && !both) add_in(any_ip4, false, fibs.ip4);
    return places;
  }
  const FibPair own = app.ns->fibs();
  if (own.ip4 == kNoIndex) return places;
  with_interface(layer, bound, [&](const Interface& f) {
    const AddressList& list = f.address_view();
    if (!local.local.is_zero()) {
      if (list.has(local.local)) add_in(local, false, own.of(local.local.is_ip4));
      return;
    }
    Endpoints at = local;
    if (!local.local.is_ip4)
      for (const auto& a : list.ip6) {
        at.local = a.prefix.address;
        add_in(at, false, own.ip6);
      }
    at = any_ip4;
    if (local.local.is_ip4 || dual_stack)
      for (const auto& a : list.ip4) {
        at.local = a.prefix.address;
        add_in(at, false, own.ip4);
      }
  });
  return places;
}

void interface_changed(Impl& layer, IfIndex index, bool has_gone) {
  for (const auto& ns : layer.namespaces) {
    if (!ns || ns->interface.load(std::memory_order_relaxed) != index) continue;
    if (ns->ip4_fib.load(std::memory_order_relaxed) == kNoIndex) continue;  // it was another one
    if (has_gone) {
      ns->ip4_fib.store(kNoIndex, std::memory_order_relaxed);
      ns->ip6_fib.store(kNoIndex, std::memory_order_relaxed);
      layer.log(LogLevel::kNotice,
                "the interface of namespace '" + ns->id + "' has gone: it reaches nothing");
    } else {
      with_interface(layer, index, [&](const Interface& f) { take_tables(*ns, f); });
      if (const auto moved = layer.filters->namespace_moved(ns->index, Filters::Moving::kEach);
          !moved)
        layer.log(LogLevel::kWarn, "of the session rules of namespace '" + ns->id +
                                       "', whose interface has another routing table now, " +
                                       moved.error().message);
    }
    for (uint32_t i = 0; i < layer.n_listeners; ++i)
      if (Listener* l = layer.listener(i);
          l && l->internal == kNoConn && l->face().ns == ns && !l->face().owner->in_this_process)
        move_listener(layer, *l);
  }
}

Result<IfIndex> find_interface(const Impl& layer, const Namespace& ns, bool is_ip4, IfIndex wanted,
                               Ip4Address address) {
  const IfIndex own = ns.interface.load(std::memory_order_relaxed);
  const uint32_t fib = ns.fibs().of(is_ip4);
  IfIndex found = kNoIndex;
  bool is_here = false;
  if (layer.net && fib != kNoIndex)
    layer.net->visit_interfaces([&](const Interface& f) {
      const auto& in = is_ip4 ? f.ip4_fib_index : f.ip6_fib_index;
      const bool is_meant =
          wanted != kNoIndex ? f.index == wanted : f.address_view().has(IpAddress(address));
      if (is_here || !is_meant || in.load(std::memory_order_relaxed) != fib ||
          (own != kNoIndex && f.index != own))
        return;
      is_here = true;
      if (wanted != kNoIndex || !f.is_loopback) found = f.index;
    });
  if (is_here) return found;
  return error(Status::kNotFound,
               "no interface " + (wanted != kNoIndex ? std::to_string(wanted)
                                                     : "has " + IpAddress(address).str()));
}

Result<IfIndex> find_interface(const Impl& layer, const Namespace& ns, bool is_ip4,
                               std::string_view name) {
  const IfIndex named = layer.net ? layer.net->find_interface(std::string(name)) : kNoIndex;
  if (named == kNoIndex) return error(Status::kNotFound, "no interface " + std::string(name));
  return find_interface(layer, ns, is_ip4, named, {});
}

std::string name_of(const Impl& layer, IfIndex index) {
  std::string name;
  with_interface(layer, index, [&](const Interface& f) { name = f.name; });
  return name;
}

Status may_listen_on(const Impl& layer, const Namespace& ns, const IpAddress& local,
                     IfIndex interface) {
  if (!layer.net) return Status::kOk;  // nobody knows of any
  if (!find_interface(layer, ns, local.is_ip4, interface, {})) return Status::kUnreachable;
  bool has = local.is_zero();
  with_interface(layer, interface,
                 [&](const Interface& f) { has = has || f.address_view().has(local); });
  return has ? Status::kOk : Status::kNotFound;
}

std::string namespace_in_table(const Impl& layer, uint32_t table, bool is_ip6) {
  for (const auto& ns : layer.namespaces)
    if (ns && ns->ip4_fib.load(std::memory_order_relaxed) != kNoIndex &&
        (is_ip6 ? ns->ip6_table : ns->ip4_table) == table)
      return "namespace '" + ns->id + "'";
  return {};
}

std::string interface_name(const Impl& layer, const Namespace& ns) {
  const IfIndex index = ns.interface.load(std::memory_order_relaxed);
  if (index == kNoIndex) return {};
  std::string name = "(gone)";
  if (ns.ip4_fib.load(std::memory_order_relaxed) != kNoIndex)
    with_interface(layer, index, [&](const Interface& f) { name = f.name; });
  return name;
}

Status place_connect(SessionWorker& sw, const App& app, Endpoints& e, IfIndex by) noexcept {
  const Namespace& ns = *app.ns;
  Worker& w = *sw.worker;
  e.fib_index = ns.fibs().of(e.remote.is_ip4);
  if (e.fib_index == kNoIndex) return Status::kUnreachable;
  const IfIndex interface = ns.interface.load(std::memory_order_relaxed);
  if (interface == kNoIndex) return Status::kOk;
  if (!e.local.is_zero())
    return has_address(w, interface, e.local) ? Status::kOk : Status::kNotFound;
  if (by != kNoIndex)  // whatever the table says, which knows no links
    return by == interface ? source_on(w, interface, e.remote, &e.local) : Status::kUnreachable;
  RouteInfo route;
  if (const Status s = w.net->route(w, e.remote, e.fib_index, &route); s != Status::kOk) return s;
  if (!has_address(w, interface, route.source)) return source_on(w, interface, e.remote, &e.local);
  e.local = route.source;
  return Status::kOk;
}

}  // namespace loom::session
