// What drivers of interfaces that come and go at run time have in common: interfaces found, named
// and removed by what they are called now, and counting. Control thread, unless said otherwise.
#pragma once
#include <sys/random.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include <hostloom/host.h>

namespace loom {

// The driver's device of the interface that is called so now; null: there is none, or it is another
// driver's.
template <class Device>
Device* find_device(Host& host, std::string_view name, const DriverOps& ops) {
  return static_cast<Device*>(host.device(host.find_interface(std::string(name).c_str()), ops));
}

// `name`, by which the interface was made, while it is called so, else its number: the core tells
// no plugin what a number is called.
inline std::string interface_label(Host& host, const std::string& name, IfIndex index) {
  return host.find_interface(name.c_str()) == index ? name : "sw_if_index " + std::to_string(index);
}

// Removes an interface of the driver; ends in DriverOps::destroy. `what`: "a TAP".
inline Result<void> remove_device(Host& host, IfIndex index, const DriverOps& ops,
                                  const char* what) {
  const std::string who = "interface " + std::to_string(index);
  if (!host.device(index, ops)) return error(Status::kNotFound, who + " is not " + what);
  const Status status = host.remove_interface(index);
  if (status != Status::kOk) return error(status, who + " is not removed");
  return {};
}

// Removes all interfaces in a driver's map, whose entries DriverOps::destroy takes out.
template <class Map>
void remove_devices(Host& host, Map& devices) noexcept {
  while (!devices.empty()) {
    const auto first = devices.begin();
    // An interface that cannot be removed must not keep us here.
    if (host.remove_interface(first->second->index) != Status::kOk) devices.erase(first);
  }
}

// DriverOps::set_mtu of a device that takes packets of any size.
inline Status take_any_mtu(void*, uint32_t) noexcept { return Status::kOk; }
// DriverOps::set_mac of a device that receives whatever arrives, to whatever address.
inline Status receive_any_mac(void*, const MacAddress&) noexcept { return Status::kOk; }

namespace driver_detail {
template <class Device, class Owner>
std::type_identity<Device> device_of(Owner* Device::*);
}  // namespace driver_detail

// DriverOps::destroy of a device that knows its owner, which takes it over in dispose(Device*):
// dispose_device<&Device::taps>.
template <auto kOwner>
void dispose_device(void* device) noexcept {
  auto* d = static_cast<typename decltype(driver_detail::device_of(kOwner))::type*>(device);
  (d->*kOwner)->dispose(d);
}

// DriverOps::set_rx_mode of a device with `queues`, each of which has an atomic is_polled.
template <class Device>
void note_rx_mode(void* device, uint16_t queue, RxMode mode) noexcept {
  static_cast<Device*>(device)->queues[queue]->is_polled.store(mode == RxMode::kPolling,
                                                               std::memory_order_relaxed);
}

// Buffers that stand ready in the rx queues of a device that no worker uses any more: by way of a
// worker, as only workers touch buffer caches.
template <class Queues>
void free_spare_buffers(Host& host, const Queues& queues) {
  host.run_on_worker(0, [&](Worker& w) {
    for (const auto& q : queues) q->buffers.free_all(w);
  });
}

// The largest MTU of an interface that takes packets of any size: 65,535 less an Ethernet header.
constexpr uint32_t kMostDriverMtu = 65521;

// Fills in how many queues of either kind an interface has, where 0 asks for one a worker.
// kInvalid: more than `most`; the message begins with `refused`.
inline Result<void> complete_queues(Host& host, uint16_t most, const std::string& refused,
                                    std::initializer_list<uint16_t*> counts) {
  const auto n_workers = static_cast<uint16_t>(std::clamp<uint32_t>(host.n_workers(), 1, most));
  for (uint16_t* n : counts) {
    if (*n == 0) *n = n_workers;
    if (*n > most)
      return error(Status::kInvalid,
                   refused + std::to_string(*n) + " queues are more than " + std::to_string(most));
  }
  return {};
}

// Locally administered, unicast. For a driver that has to know the address of an interface that was
// given none: InterfaceConfig::mac from the beginning, DriverOps::set_mac's from then on.
inline MacAddress made_up_mac() {
  MacAddress mac;
  if (::getrandom(mac.bytes.data(), mac.bytes.size(), 0) != static_cast<ssize_t>(mac.bytes.size()))
    std::abort();
  mac.bytes[0] = static_cast<uint8_t>((mac.bytes[0] & 0xfc) | 0x02);
  return mac;
}

// Six hexadecimal numbers of at most two digits, with colons between them.
inline std::optional<MacAddress> parse_mac(std::string_view text) {
  MacAddress mac;
  auto& b = mac.bytes;
  int end = 0;
  const std::string s(text);
  if (std::sscanf(s.c_str(), "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx%n", &b[0], &b[1], &b[2], &b[3],
                  &b[4], &b[5], &end) != 6 ||
      s.size() != static_cast<std::size_t>(end))
    return std::nullopt;
  return mac;
}

// Counts of one writer, which others read at any time. Any thread.
inline void add_count(uint64_t& counter, uint64_t n) noexcept {
  __atomic_store_n(&counter, counter + n, __ATOMIC_RELAXED);
}

// What a driver has received by an interface, by worker.
class RxTotals {
 public:
  RxTotals() = default;
  RxTotals(Host& host, IfIndex index) {
    for (uint32_t w = 0; w < host.n_workers(); ++w) all_.push_back(host.rx_counters(index, w));
  }
  explicit RxTotals(std::vector<InterfaceCounters*> by_worker) : all_(std::move(by_worker)) {}

  // On that worker.
  void add(uint32_t worker, uint64_t packets, uint64_t bytes, uint64_t errors) noexcept {
    InterfaceCounters& c = *all_[worker];
    if (packets != 0) {
      add_count(c.packets, packets);
      add_count(c.bytes, bytes);
    }
    if (errors != 0) add_count(c.errors, errors);
  }
  // Any thread.
  InterfaceCounters sum() const noexcept {
    InterfaceCounters s;
    for (const InterfaceCounters* c : all_) {
      s.packets += __atomic_load_n(&c->packets, __ATOMIC_RELAXED);
      s.bytes += __atomic_load_n(&c->bytes, __ATOMIC_RELAXED);
      s.errors += __atomic_load_n(&c->errors, __ATOMIC_RELAXED);
    }
    return s;
  }

 private:
  std::vector<InterfaceCounters*> all_;
};

// Makes the interface of a device, which has name, index and rx_totals, and may have has_totals: no
// worker receives from it before that is true. The error begins with `who`.
template <class Device>
Result<void> add_device(Host& host, InterfaceConfig interface, Device& d, const DriverOps& ops,
                        const NodeInfo& input, const std::string& who) {
  interface.name = d.name;
  interface.ops = &ops;
  interface.device = &d;
  interface.input_node = input.name;
  const auto index = host.add_interface(interface);
  if (!index) return error(index.error().code, who + " refused: " + index.error().message);
  d.index = *index;
  d.rx_totals = RxTotals(host, d.index);
  if constexpr (requires { d.has_totals; }) d.has_totals.store(true, std::memory_order_release);
  return {};
}

}  // namespace loom
