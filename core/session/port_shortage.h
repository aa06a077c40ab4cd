// Destinations to which every local port is taken. To find that out all ports have to be looked at,
// which takes a worker milliseconds, and as long again to find the only one that has become free:
// who connects again and again would have it do little else. So it is remembered where none was
// free, and which have become so since. Private to core/session/.
//
// What is remembered is true but for what two workers do at once, and what is bound or listens no
// more: so after kTrusted answers that there is none, all ports are looked at again.
//
// Threads: any. Costs a load while there are ports everywhere, and else a lock.
#pragma once
#include <array>
#include <atomic>
#include <cstdint>

#include "hash/spin_lock.h"

namespace loom::session {

class PortShortage {
 public:
  static constexpr uint32_t kMostDestinations = 32, kMostPorts = 64, kTrusted = 256;

  // Without any, the others say nothing.
  bool is_any() const noexcept { return n_.load(std::memory_order_relaxed) != 0; }
  // All ports were looked at, and none was free.
  void begin(uint64_t destination) noexcept;
  enum class Known : uint8_t { kNothing, kNoPort, kPort };
  // kPort: one that has become free, and is told nobody else.
  Known take(uint64_t destination, uint16_t& port) noexcept;
  // With more than kMostPorts of them, one is soon found, and the shortage is over.
  void freed(uint64_t destination, uint16_t port) noexcept;

 private:
  struct Entry {
    uint32_t trusted = 0;  // answers that there is none, from now on
    uint32_t n_ports = 0;
    std::array<uint16_t, kMostPorts> ports;
  };
  // Its place; n_ without one. Under the lock, as the following.
  uint32_t find(uint64_t destination) const noexcept;
  void end(uint32_t place) noexcept;
  void set_size(uint32_t n) noexcept { n_.store(n, std::memory_order_relaxed); }

  SpinLock lock_;
  std::atomic<uint32_t> n_{0};
  uint32_t oldest_ = 0;  // gives way when there is no place
  std::array<uint64_t, kMostDestinations> destinations_{};
  std::array<Entry, kMostDestinations> entries_{};
};

}  // namespace loom::session
