#include "session/port_shortage.h"

#include <algorithm>
#include <mutex>

namespace loom::session {

uint32_t PortShortage::find(uint64_t destination) const noexcept {
  const auto first = destinations_.begin();
  return static_cast<uint32_t>(
      std::find(first, first + n_.load(std::memory_order_relaxed), destination) - first);
}

void PortShortage::end(uint32_t place) noexcept {
  const uint32_t last = n_.load(std::memory_order_relaxed) - 1;
  destinations_[place] = destinations_[last];
  entries_[place] = entries_[last];
  set_size(last);
}

void PortShortage::begin(uint64_t destination) noexcept {
  const std::scoped_lock hold(lock_);
  const uint32_t n = n_.load(std::memory_order_relaxed);
  uint32_t place = find(destination);
  if (place == n) {
    if (n == kMostDestinations)
      place = oldest_++ % kMostDestinations;
    else
      set_size(n + 1);
    destinations_[place] = destination;
    entries_[place].n_ports = 0;
  }
  entries_[place].trusted = kTrusted;
}

PortShortage::Known PortShortage::take(uint64_t destination, uint16_t& port) noexcept {
  const std::scoped_lock hold(lock_);
  const uint32_t place = find(destination);
  if (place == n_.load(std::memory_order_relaxed)) return Known::kNothing;
  Entry& e = entries_[place];
  if (e.n_ports != 0) {
    port = e.ports[--e.n_ports];
    return Known::kPort;
  }
  if (e.trusted-- != 0) return Known::kNoPort;
  end(place);
  return Known::kNothing;
}

void PortShortage::freed(uint64_t destination, uint16_t port) noexcept {
  const std::scoped_lock hold(lock_);
  const uint32_t place = find(destination);
  if (place == n_.load(std::memory_order_relaxed)) return;
  Entry& e = entries_[place];
  if (e.n_ports == kMostPorts) return end(place);
  e.ports[e.n_ports++] = port;
}

}  // namespace loom::session
