// Ends that applications have bound and neither listen nor are connected at, or are by now: nobody
// else gets them until they are let go, or the process that has bound them ends. Packets do not
// find them. Control thread.
#include <algorithm>

#include "session/control.h"
#include "session/listeners.h"

namespace loom::session {
namespace {

LocalEnd end_of(const BoundEnd& b, const Place& p) {
  return {.place = p, .protocol = b.protocol, .share = b.share, .listens = false, .bound = b.id};
}

bool is_free(const Impl& layer, const BoundEnd& b, bool alone) {
  return std::ranges::all_of(
      b.places, [&](const Place& p) { return layer.local_ends.is_free(end_of(b, p), alone); });
}

// The port that is asked for, or one that nobody has. False: it is taken, or there is none.
bool take_port(Impl& layer, BoundEnd& b, uint16_t& port) {
  const auto set = [&](uint16_t to) {
    for (Place& p : b.places) p.at.local_port = to;
  };
  if (port != 0) return is_free(layer, b, false);
  return layer.choose_port([&](uint16_t candidate) {
    set(candidate);
    if (!is_free(layer, b, true)) return false;
    port = candidate;
    return true;
  });
}

void let_go(Impl& layer, App& app, const BoundEnd& b) {
  for (const Place& p : b.places) layer.local_ends.remove(end_of(b, p));
  app.listeners.give_back(1);
}

}  // namespace

Status bind_end(Impl& layer, App& app, uint32_t app_worker, ListenArgs& args, uint32_t* number) {
  *number = 0;
  const TransportOps* ops = layer.transports.get(args.transport);
  // Of a transport that is an application its listener has the end.
  if (!ops || !ops->listen) return Status::kOk;
  if (!app.listeners.take(1)) return Status::kNoMemory;
  BoundEnd b{.id = 0,
             .number = 0,
             .app_worker = app_worker,
             .protocol = ops->ip_protocol,
             .share = share_of(app, args.options),
             .places = places_of(layer, app, args.local, takes_both(args), args.fibs)};
  if (!take_port(layer, b, args.local.local_port)) {
    app.listeners.give_back(1);
    return Status::kInUse;
  }
  do {
    b.id = ++layer.bound_end_id;
    b.number = static_cast<uint32_t>(b.id);  // what others have under it is none of this one's
  } while (b.number == 0 || app.bound_ends.contains(b.number));
  *number = b.number;
  for (const Place& p : b.places) layer.local_ends.add(end_of(b, p));
  app.bound_ends.emplace(b.number, std::move(b));
  return Status::kOk;
}

void unbind_end(Impl& layer, App& app, uint32_t number) {
  const auto found = app.bound_ends.find(number);
  if (found == app.bound_ends.end()) return;
  let_go(layer, app, found->second);
  app.bound_ends.erase(found);
}

void unbind_ends_of(Impl& layer, App& app, uint32_t app_worker) {
  std::erase_if(app.bound_ends, [&](const auto& each) {
    if (each.second.app_worker != app_worker) return false;
    let_go(layer, app, each.second);
    return true;
  });
}

}  // namespace loom::session
