// Net's neighbour methods: asked and told on the control thread, done on worker 0, which owns them.
#include "net/interface/control.h"
#include "net/net.h"
#include "net/state.h"

namespace loom {
namespace {

constexpr uint32_t kSlice = 256;  // neighbours that one visit to the worker looks at

}  // namespace

Result<void> Net::add_neighbor(IfIndex index, const IpAddress& address, const MacAddress& mac,
                               bool is_static) {
  NetState& s = *state_;
  const Interface* f = s.interfaces.find(index);
  if (!f) return no_interface(index);
  if (!f->is_ethernet) return error(Status::kInvalid, f->name + " has no link-layer addresses");
  if (mac.is_multicast() || mac == MacAddress{})
    return error(Status::kInvalid, mac.str() + " is not a station's address");
  if (address.is_zero() || is_group(address))
    return error(Status::kInvalid, address.str() + " is not a station's address");
  if (f->address_list->has(address))
    return error(Status::kInvalid, address.str() + " is this host");
  Result<void> result;
  s.engine.run_on_worker(
      0, [&](Worker& w) { result = s.neighbors.configure(w, index, address, mac, is_static); });
  return result;
}

Result<void> Net::del_neighbor(IfIndex index, const IpAddress& address) {
  NetState& s = *state_;
  Status status = Status::kOk;
  s.engine.run_on_worker(0, [&](Worker& w) { status = s.neighbors.remove(w, index, address); });
  if (status != Status::kOk)
    return error(status, address.str() + " is no neighbour on interface " + std::to_string(index));
  return {};
}

Result<void> Net::flush_neighbors(IfIndex index, bool is_ip4) {
  NetState& s = *state_;
  if (index != kNoIndex && !s.interfaces.find(index)) return no_interface(index);
  // In slices: the worker's packets pass in between.
  for (uint32_t from = 0; from != kNoIndex;)
    s.engine.run_on_worker(
        0, [&](Worker& w) { from = s.neighbors.remove_some(w, from, kSlice, index, is_ip4); });
  return {};
}

Result<void> Net::set_neighbor_limits(bool is_ip4, const NeighborLimits& limits) {
  NetState& s = *state_;
  if (limits.max_number == 0 || limits.max_number > s.config.max_neighbors)
    return error(Status::kInvalid,
                 "limit " + std::to_string(limits.max_number) + " is not from 1 to the " +
                     std::to_string(s.config.max_neighbors) + " that there is memory for");
  s.engine.run_on_worker(0, [&](Worker&) { s.neighbors.set_limits(is_ip4, limits); });
  return {};
}

NeighborLimits Net::neighbor_limits(bool is_ip4) const {
  NetState& s = *state_;
  NeighborLimits limits;
  s.engine.run_on_worker(0, [&](Worker&) { limits = s.neighbors.limits(is_ip4); });
  return limits;
}

std::vector<NeighborListing> Net::neighbors() const {
  std::vector<NeighborListing> all;
  for (uint32_t from = 0; from != kNoIndex;) {
    const auto some = neighbors_from(from);
    all.insert(all.end(), some.begin(), some.end());
  }
  return all;
}

std::vector<NeighborListing> Net::neighbors_from(uint32_t& from) const {
  NetState& s = *state_;
  std::vector<NeighborListing> some;
  s.engine.run_on_worker(0, [&](Worker& w) { some = s.neighbors.list(w.now, from, kSlice); });
  return some;
}

void Net::watch_neighbors(NeighborEvent callback) {
  NetState& s = *state_;
  s.neighbor_news->watch(std::move(callback));
}

}  // namespace loom
