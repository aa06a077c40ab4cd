#include "listing.h"

namespace loom::dpdk {
namespace {

// The names of the flags that are set.
template <class Name>
std::string names(uint64_t flags, Name name) {
  std::string text;
  for (; flags != 0; flags &= flags - 1)
    text += (text.empty() ? "" : " ") + std::string(name(flags & -flags));
  return text;
}

}  // namespace

bool is_readable(const Device& d) { return !d.is_called && d.has_port; }

std::string rx_offload_text(const Device& d) {
  return names(d.rx_offloads, rte_eth_dev_rx_offload_name);
}
std::string tx_offload_text(const Device& d) {
  return names(d.tx_offloads, rte_eth_dev_tx_offload_name);
}

DeviceCounters counters_of(const Device& d) {
  const auto read = [](const std::atomic<uint64_t>& v) {
    return v.load(std::memory_order_relaxed);
  };
  const TxCounters& t = d.tx_counters;
  DeviceCounters c{.rx = d.rx_totals.sum(),
                   .ring_full = read(t.ring_full),
                   .stopped = read(t.stopped),
                   .bad_offsets = read(t.bad_offsets),
                   .refused = read(t.refused),
                   .too_many_segments = read(t.too_many_segments),
                   .no_buffers = read(t.no_buffers),
                   .copied = read(t.copied)};
  if (!is_readable(d) || rte_eth_stats_get(d.port, &c.device) != 0) c.device = {};
  return c;
}

std::optional<Xstat> xstat_of(const Device& d, uint64_t number) {
  if (!is_readable(d)) return {};
  rte_eth_xstat_name name{};
  uint64_t value = 0;
  if (rte_eth_xstats_get_names_by_id(d.port, &name, 1, &number) != 1 ||
      rte_eth_xstats_get_by_id(d.port, &number, &value, 1) != 1)
    return {};
  return Xstat{name.name, value};
}

}  // namespace loom::dpdk
