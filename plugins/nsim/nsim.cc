#include "nsim.h"

#include <algorithm>
#include <cmath>
#include <random>

namespace loom::nsim {
namespace {

constexpr TimeNs kMostDelay = 60 * kSecond;
constexpr uint64_t kMostBandwidth = 1'000'000'000'000;
constexpr uint32_t kLeastPacket = 64, kMostPacket = 9000;  // as VPP's
constexpr uint32_t kMostPlaces = 1u << 20;                 // a worker's; 24 bytes each

uint32_t worker_slot = 0;

// How many common packets the link holds, a worker's share of them.
double places_for(const Config& c, uint32_t n_workers) {
  const double bytes = static_cast<double>(c.bandwidth) / 8 * to_seconds(c.delay);
  return std::max(std::ceil(bytes / c.packet_size / n_workers), 1.0);
}

uint64_t of_2_32(double fraction) { return static_cast<uint64_t>(std::ldexp(fraction, 32)); }

}  // namespace

DelayLine& line_of(Worker& w) noexcept {
  return *static_cast<DelayLine*>(w.plugin_data[worker_slot]);
}

Result<void> check_delay(TimeNs delay) {
  if (delay >= 1 && delay <= kMostDelay) return {};
  return error(Status::kInvalid, "a delay of " + std::to_string(delay) +
                                     " ns is not from 1 ns to " +
                                     std::to_string(kMostDelay / kSecond) + " s");
}

Result<void> check_bandwidth(uint64_t bandwidth) {
  if (bandwidth >= 1 && bandwidth <= kMostBandwidth) return {};
  return error(Status::kInvalid, "a bandwidth of " + std::to_string(bandwidth) +
                                     " bit/s is not from 1 to " + std::to_string(kMostBandwidth));
}

Result<void> check_packet_size(uint32_t size) {
  if (size >= kLeastPacket && size <= kMostPacket) return {};
  return error(Status::kInvalid, "a packet size of " + std::to_string(size) + " is not from " +
                                     std::to_string(kLeastPacket) + " to " +
                                     std::to_string(kMostPacket));
}

Result<void> Nsim::init() {
  const auto node = host_.add_node(kOutputNode);
  if (!node) return node.error();
  node_ = *node;
  slot_ = worker_slot = host_.allocate_worker_slot();
  return host_.add_feature({.arc = kArc, .node = kOutputNode.name});
}

Result<void> Nsim::start() {
  for (uint32_t i = 0; i < host_.n_workers(); ++i) {
    auto line = std::make_unique<DelayLine>();
    host_.run_on_worker(i, [&](Worker& w) {
      w.plugin_data[slot_] = line.get();
      counters_.push_back(w.node_runtime(node_).counters);
    });
    lines_.push_back(std::move(line));
  }
  return {};
}

void Nsim::stop() {
  for (uint32_t i = 0; i < lines_.size(); ++i)
    host_.run_on_worker(i, [&](Worker& w) { lines_[i]->clear(w); });
}

Result<void> Nsim::configure(const Config& wanted) {
  if (auto r = check_delay(wanted.delay); !r) return r;
  if (auto r = check_bandwidth(wanted.bandwidth); !r) return r;
  if (auto r = check_packet_size(wanted.packet_size); !r) return r;
  for (const double f : {wanted.drop_fraction, wanted.reorder_fraction})
    if (!(f >= 0 && f <= 1))
      return error(Status::kInvalid, "a fraction of " + std::to_string(f) + " is not from 0 to 1");
  const double places = places_for(wanted, host_.n_workers());
  if (places > kMostPlaces)
    return error(Status::kInvalid,
                 "bandwidth times delay is " + std::to_string(static_cast<uint64_t>(places)) +
                     " packets of that size a worker: more than " + std::to_string(kMostPlaces));
  Config config = wanted;
  if (!config.seed) config.seed = std::random_device{}();
  LineConfig line{.delay = config.delay,
                  .packet_size = config.packet_size,
                  .places = static_cast<uint32_t>(places),
                  .drop_below = of_2_32(config.drop_fraction),
                  .reorder_below = of_2_32(config.reorder_fraction),
                  .seed = *config.seed};
  // All the memory first: then nothing can fail half-way.
  std::vector<std::unique_ptr<DelayLine::Waiting[]>> rings;
  for (std::size_t i = 0; i < lines_.size(); ++i)
    rings.push_back(std::make_unique<DelayLine::Waiting[]>(line.places));
  for (uint32_t i = 0; i < lines_.size(); ++i)
    host_.run_on_worker(
        i, [&](Worker& w) { rings[i] = lines_[i]->restart(w, node_, line, std::move(rings[i])); });
  config_ = config;
  places_ = line.places;
  return {};
}

Result<void> Nsim::enable(IfIndex index, const std::string& name, bool enable) {
  if (!config_)  // before anything else, as VPP answers
    return error(Status::kNotConnected, "nothing is configured; `set nsim` comes first");
  if (!host_.rx_counters(index, 0))
    return error(Status::kNotFound, "there is no interface " + std::to_string(index));
  if (auto r = host_.enable_feature(kArc, kOutputNode.name, index, enable); !r) return r;
  if (enable)
    enabled_[index] = name;
  else
    enabled_.erase(index);
  return {};
}

// Interfaces go, and their features with them; or have another name from now on, which does not end
// a feature. The core tells no plugin what an index is called, only which index a name has.
std::vector<std::string> Nsim::interfaces() {
  std::erase_if(enabled_, [&](const auto& e) { return !host_.rx_counters(e.first, 0); });
  std::vector<std::string> names;
  for (const auto& [index, name] : enabled_)
    names.push_back(!name.empty() && host_.find_interface(name.c_str()) == index
                        ? name
                        : "sw_if_index " + std::to_string(index));
  return names;
}

uint64_t Nsim::counter(uint32_t worker, Fate fate) const {
  return __atomic_load_n(&counters_[worker][fate], __ATOMIC_RELAXED);
}

}  // namespace loom::nsim
