// What a worker knows of the destinations that datagrams have gone to: the way there, and what a
// router has said of it (RFC 1191, RFC 8201). Worker.
//
// kEntries at most, in sets of kWays; a new one takes the place of the one in its set that was used
// longest ago, those with a path MTU last. What is forgotten is looked up, or learnt, again.
#pragma once
#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include <hostloom/address.h>
#include <hostloom/buffer.h>
#include <hostloom/types.h>

namespace loom::udp {

constexpr TimeNs kPathMtuAge = 600 * kSecond;  // RFC 1191 section 6.3, RFC 8201 section 5.3

struct Destination {
  IpAddress address;
  uint32_t fib_index = 0;
  // The way, good while the IP layer's generation is the same (and not 0) and `mtu` is not 0.
  uint32_t route_generation = 0;
  uint32_t adjacency = kNoIndex, tx_if = kNoIndex, mtu = 0;
  IpAddress source;
  uint32_t pmtu = 0;  // 0: nothing was said
  TimeNs pmtu_until = 0;
  TimeNs used = 0;
  bool is_free = true;

  uint32_t path_mtu(TimeNs now) const noexcept { return now < pmtu_until ? pmtu : 0; }
  void learn(uint32_t value, TimeNs now) noexcept {
    if (path_mtu(now) == 0 || value < pmtu) pmtu = value;
    pmtu_until = now + kPathMtuAge;
  }
};

class Destinations {
 public:
  static constexpr uint32_t kWays = 4, kSets = 256, kEntries = kWays * kSets;

  explicit Destinations(uint64_t seed) : seed_(seed | 1), entries_(kEntries) {}

  // nullptr: nothing has been sent there lately.
  Destination* find(const IpAddress& a, uint32_t fib_index) noexcept {
    Destination* set = set_of(a, fib_index);
    for (uint32_t i = 0; i < kWays; ++i)
      if (!set[i].is_free && set[i].address == a && set[i].fib_index == fib_index) return &set[i];
    return nullptr;
  }
  Destination& get(const IpAddress& a, uint32_t fib_index, TimeNs now) noexcept {
    Destination* d = find(a, fib_index);
    if (!d) {
      d = victim(set_of(a, fib_index), now);
      *d = {};
      d->address = a;
      d->fib_index = fib_index;
      d->is_free = false;
    }
    d->used = now;
    return *d;
  }
  uint64_t n_known_paths(TimeNs now) const noexcept {
    return static_cast<uint64_t>(
        std::count_if(entries_.begin(), entries_.end(),
                      [&](const auto& d) { return !d.is_free && d.path_mtu(now) != 0; }));
  }

 private:
  Destination* set_of(const IpAddress& a, uint32_t fib_index) noexcept {
    uint64_t words[2];
    std::memcpy(words, a.bits.bytes.data(), sizeof words);
    uint64_t h = (words[0] ^ seed_) * 0x9e3779b97f4a7c15u;
    h = ((h ^ h >> 32) + words[1] + fib_index) * (seed_ | 1);
    h = (h ^ h >> 29) * 0xbf58476d1ce4e5b9u;
    return &entries_[(h >> 40) % kSets * kWays];
  }
  static Destination* victim(Destination* set, TimeNs now) noexcept {
    Destination* worst = set;
    for (uint32_t i = 0; i < kWays; ++i) {
      if (set[i].is_free) return &set[i];
      const bool is_known = set[i].path_mtu(now) != 0, worst_known = worst->path_mtu(now) != 0;
      if (is_known != worst_known ? worst_known : set[i].used < worst->used) worst = &set[i];
    }
    return worst;
  }

  uint64_t seed_;
  std::vector<Destination> entries_;
};

}  // namespace loom::udp
