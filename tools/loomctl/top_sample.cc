#include "top_sample.h"

#include <algorithm>

namespace loomctl {

using loom::StatsFilter;
using loom::StatsValue;

namespace {

constexpr std::string_view kSys = "/sys/";

// Columns of a vector under the names that another statistic gives them.
template <class Rows, class Fn>
void by_name(const Rows& rows, const std::vector<std::string>& names, Fn&& fn) {
  for (const auto& row : rows)
    for (std::size_t i = 0; i < std::min(row.size(), names.size()); ++i)
      if (!names[i].empty() && names[i] != "deleted") fn(names[i], row[i]);
}

void add_per_worker(TopSample& s, const StatsValue& v) {
  uint64_t TopSample::Worker::*to = nullptr;
  if (v.name == "/sys/rounds_per_worker") to = &TopSample::Worker::rounds;
  if (v.name == "/sys/busy_rounds_per_worker") to = &TopSample::Worker::busy_rounds;
  if (v.name == "/sys/asleep_ns_per_worker") to = &TopSample::Worker::asleep_ns;
  if (v.name == "/sys/session/sessions_per_worker") to = &TopSample::Worker::sessions;
  if (!to || v.simple.empty()) return;
  s.workers.resize(std::max(s.workers.size(), v.simple[0].size()));
  for (std::size_t w = 0; w < v.simple[0].size(); ++w) s.workers[w].*to = v.simple[0][w];
}

const std::vector<std::string>& names_of(std::span<const StatsValue> values, const char* name) {
  static const std::vector<std::string> none;
  const auto it = std::find_if(values.begin(), values.end(),
                               [&](const StatsValue& v) { return v.name == name; });
  return it == values.end() ? none : it->names;
}

double per_second(uint64_t now, uint64_t before, double seconds) {
  return static_cast<double>(now - before) / seconds;
}

}  // namespace

StatsFilter top_filter() {
  StatsFilter f = StatsFilter::exactly("/sys/heartbeat");
  // Nodes and interfaces come as vectors; their symlinks would be the same again.
  for (const char* pattern : {"/sys/*", "/if/*"}) f = f | *StatsFilter::glob(pattern);
  return f;
}

TopSample top_sample(std::span<const StatsValue> values) {
  TopSample s;
  const auto& nodes = names_of(values, "/sys/node/names");
  const auto& interfaces = names_of(values, "/if/names");
  for (const StatsValue& v : values) {
    if (v.name == "/sys/heartbeat") s.updates = v.scalar;
    if (v.name == "/sys/last_update_ns") s.time_ns = v.scalar;
    if (v.name == "/sys/node/calls")
      by_name(v.simple, nodes, [&](const auto& n, uint64_t x) { s.nodes[n].calls += x; });
    if (v.name == "/sys/node/vectors")
      by_name(v.simple, nodes, [&](const auto& n, uint64_t x) { s.nodes[n].packets += x; });
    if (v.name == "/sys/node/clocks")
      by_name(v.simple, nodes, [&](const auto& n, uint64_t x) { s.nodes[n].clocks += x; });
    const auto add_pair = [&](loom::stats::Combined TopSample::Interface::*to) {
      by_name(v.combined, interfaces, [&](const auto& n, const loom::stats::Combined& x) {
        (s.interfaces[n].*to).packets += x.packets;
        (s.interfaces[n].*to).bytes += x.bytes;
      });
    };
    if (v.name == "/if/rx") add_pair(&TopSample::Interface::rx);
    if (v.name == "/if/tx") add_pair(&TopSample::Interface::tx);
    if (v.name == "/if/drops")
      by_name(v.simple, interfaces, [&](const auto& n, uint64_t x) { s.interfaces[n].drops += x; });
    add_per_worker(s, v);
    // What parts and plugins publish under a name of their own: /sys/PART/NAME.
    if (!v.name.starts_with(kSys) || v.name.starts_with("/sys/node/") ||
        v.name.ends_with("_per_worker") || v.name.find('/', kSys.size()) == v.name.npos)
      continue;
    const std::string name = v.name.substr(kSys.size());
    if (v.type == loom::stats::EntryType::kScalar) s.gauges[name] = v.scalar;
    if (v.type == loom::stats::EntryType::kSimple) s.counters[name] = v.sum();
  }
  return s;
}

TopView top_view(const TopSample& before, const TopSample& now) {
  TopView view;
  view.gauges = now.gauges;
  view.seconds = static_cast<double>(now.time_ns - before.time_ns) * 1e-9;
  if (now.time_ns <= before.time_ns) return view;
  const double s = view.seconds;
  // What came in between began at 0.
  const auto old = [](const auto& map, const std::string& name) {
    const auto it = map.find(name);
    return it == map.end() ? typename std::decay_t<decltype(map)>::mapped_type{} : it->second;
  };
  for (const auto& [name, n] : now.nodes) {
    const TopSample::Node o = old(before.nodes, name);
    const auto packets = static_cast<double>(n.packets - o.packets);
    if (packets == 0) continue;
    const auto calls = static_cast<double>(std::max<uint64_t>(n.calls - o.calls, 1));
    view.nodes.push_back({name, calls / s, packets / s, packets / calls,
                          static_cast<double>(n.clocks - o.clocks) / packets});
  }
  for (const auto& [name, n] : now.interfaces) {
    const TopSample::Interface o = old(before.interfaces, name);
    view.interfaces.push_back(
        {name, per_second(n.rx.packets, o.rx.packets, s), 8 * per_second(n.rx.bytes, o.rx.bytes, s),
         per_second(n.tx.packets, o.tx.packets, s), 8 * per_second(n.tx.bytes, o.tx.bytes, s),
         per_second(n.drops, o.drops, s)});
  }
  for (std::size_t w = 0; w < now.workers.size(); ++w) {
    const TopSample::Worker& n = now.workers[w];
    const TopSample::Worker o = w < before.workers.size() ? before.workers[w] : TopSample::Worker{};
    const uint64_t rounds = n.rounds - o.rounds;
    view.workers.push_back({static_cast<double>(rounds) / s,
                            rounds == 0 ? 0
                                        : 100 * static_cast<double>(n.busy_rounds - o.busy_rounds) /
                                              static_cast<double>(rounds),
                            std::min(100.0, 100 * per_second(n.asleep_ns, o.asleep_ns, s) * 1e-9),
                            n.sessions});
  }
  for (const auto& [name, n] : now.counters)
    if (const uint64_t o = old(before.counters, name); n != o)
      view.rates.push_back({name, per_second(n, o, s)});
  // Busiest first; in order of names where they are equal.
  const auto falling = [](auto value) {
    return [value](const auto& a, const auto& b) {
      return value(a) != value(b) ? value(a) > value(b) : a.name < b.name;
    };
  };
  std::sort(view.nodes.begin(), view.nodes.end(),
            falling([](const auto& n) { return n.clocks_per_packet; }));
  std::sort(view.interfaces.begin(), view.interfaces.end(),
            falling([](const auto& i) { return i.rx_bits_s + i.tx_bits_s; }));
  std::sort(view.rates.begin(), view.rates.end(), falling([](const auto& r) { return r.per_s; }));
  return view;
}

}  // namespace loomctl
