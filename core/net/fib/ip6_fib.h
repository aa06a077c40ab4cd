// Ip6Fib: IPv6 longest-prefix match: one hash table of all prefixes, probed once for each prefix
// length that is present, longest first. Real tables have few lengths (128, 64, 48, 0), so this
// beats a trie of 128 bits in memory and is about as fast.
//
// Threads: one writer (the control thread) at a time; lookup() from any thread at any time, without
// a lock. A lookup probes several keys and must not mix the table's states: with a new route added
// and then an old one deleted, it could miss the first and then the second. So the writer counts
// its changes, before making each, and a lookup during which the count moved starts again. A lookup
// that overlaps one change sees the table from before or after it.
//   cost  BM_Ip6FibLookup, by number of lengths
#pragma once
#include <array>
#include <atomic>
#include <memory>
#include <optional>
#include <span>

#include <hostloom/status.h>

#include "hash/bihash.h"
#include "net/fib/fib.h"

namespace loom {

struct Ip6FibOptions {
  std::size_t buckets = 4096;
  std::size_t max_bytes = std::size_t{1} << 30;  // most memory for routes; reserved, not committed
  uint64_t seed = 0;                             // 0: from the kernel
};

class Ip6Fib {
 public:
  static Result<std::unique_ptr<Ip6Fib>> create(const Ip6FibOptions& options = {});
  Ip6Fib(const Ip6Fib&) = delete;
  Ip6Fib& operator=(const Ip6Fib&) = delete;

  // Any thread. The value of the longest matching prefix, or kNoIndex.
  uint32_t lookup(const Ip6Address& address) const noexcept;
  // values.size() >= addresses.size().
  void lookup(std::span<const Ip6Address> addresses, std::span<uint32_t> values) const noexcept;

  // The writer. Host bits of a prefix are ignored.
  // Inserts the route or replaces its value. kInvalid: not IPv6, length above 128, or value above
  // kMaxFibValue. kNoMemory: nothing changed.
  Status add(const IpPrefix& prefix, uint32_t value);
  // kNotFound: no route with exactly this prefix.
  Status del(const IpPrefix& prefix);
  std::optional<uint32_t> find_exact(const IpPrefix& prefix) const;
  // In order of address, then length. Sees the routes as they were at the call.
  void for_each(const FibVisitor& fn) const;
  std::size_t size() const noexcept { return routes_->size(); }

 private:
  using Table = Bihash<24>;
  using Key = Table::Key;  // address in host order, upper and lower half, and length
  static constexpr unsigned kLengths = 129;

  Ip6Fib() = default;
  static std::optional<Key> key_of(const IpPrefix& prefix) noexcept;
  void begin_change() noexcept;

  std::unique_ptr<Table> routes_;
  std::atomic<uint64_t> changes_{0};                // begun so far
  std::array<std::atomic<uint64_t>, 3> present_{};  // bit n: some prefix has length n
  std::array<uint32_t, kLengths> n_of_length_{};    // the writer's
};

}  // namespace loom
