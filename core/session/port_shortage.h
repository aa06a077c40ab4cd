// Destinations to which every local port is taken. To find that out all ports have to be looked at,
// which takes a worker milliseconds, and as long again to find the only one that has become free:
// who connects again and again would have it do little else. So it is remembered for kTrusted where
// none was free, and which have become so since. Private to core/session/.
//
// A port that is freed on another worker at the very moment may be missed: what is remembered is
// wrong for no longer than kTrusted.
//
// Threads: any. Costs a load while there are ports everywhere, and else a lock.
#pragma once
#include <array>
#include <atomic>
#include <cstdint>

#include <hostloom/types.h>

#include "hash/spin_lock.h"

namespace loom::session {

class PortShortage {
 public:
  static constexpr uint32_t kMostDestinations = 32, kMostPorts = 64;
  static constexpr TimeNs kTrusted = 100'000'000;

  // Without any, the others say nothing.
  bool is_any(TimeNs now) const noexcept { return now < until_.load(std::memory_order_relaxed); }
  // All ports will be looked at. From now on it is noted which become free, as some will that were
  // passed already. Returns the ticket for confirm().
  uint64_t begin(uint64_t destination, uint8_t protocol, TimeNs now) noexcept;
  // None was free. Says nothing if what has become free since begin() is not known any more.
  void confirm(uint64_t destination, uint64_t ticket, TimeNs now) noexcept;
  enum class Known : uint8_t { kNothing, kNoPort, kPort };
  // kPort: the one that has been free for longest, as a peer may still know who had it last. It is
  // told nobody else.
  Known take(uint64_t destination, uint16_t& port, TimeNs now) noexcept;
  // With more than kMostPorts of them, one is soon found, and the shortage is over.
  void freed(uint64_t destination, uint16_t port, TimeNs now) noexcept;
  // The same for whatever destination: a socket had it that was bound.
  void freed_for_all(uint8_t protocol, uint16_t port, TimeNs now) noexcept;

 private:
  struct Entry {
    uint64_t ticket = 0;
    TimeNs until = 0;  // forgotten then
    bool is_sure = false;
    uint8_t protocol = 0;
    uint8_t oldest = 0, n_ports = 0;  // a ring
    std::array<uint16_t, kMostPorts> ports;

    void add(uint16_t port) noexcept;
  };
  // Under the lock. Its place; kMostDestinations without one.
  uint32_t find(uint64_t destination, TimeNs now) const noexcept;
  void remember(Entry&, TimeNs now) noexcept;

  SpinLock lock_;
  std::atomic<TimeNs> until_{0};  // the latest of all
  uint64_t tickets_ = 0;
  std::array<uint64_t, kMostDestinations> destinations_{};
  std::array<Entry, kMostDestinations> entries_{};
};

}  // namespace loom::session
