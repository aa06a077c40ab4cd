#include "net/fib/ip6_fib.h"

#include <algorithm>
#include <bit>
#include <vector>

#include <hostloom/check.h>

namespace loom {
namespace {

struct Halves {
  uint64_t upper, lower;  // host order
};

Halves halves_of(const Ip6Address& a) noexcept {
  Halves h;
  std::memcpy(&h.upper, a.bytes.data(), 8);
  std::memcpy(&h.lower, a.bytes.data() + 8, 8);
  return {byteswap(h.upper), byteswap(h.lower)};
}

Ip6Address address_of(uint64_t upper, uint64_t lower) noexcept {
  Ip6Address a;
  upper = byteswap(upper);
  lower = byteswap(lower);
  std::memcpy(a.bytes.data(), &upper, 8);
  std::memcpy(a.bytes.data() + 8, &lower, 8);
  return a;
}

constexpr uint64_t mask(unsigned length) noexcept {  // 0..64
  return length == 0 ? 0 : ~0ull << (64 - length);
}

std::array<uint64_t, 3> masked(Halves a, unsigned length) noexcept {
  return {a.upper & mask(std::min(length, 64u)), a.lower & mask(length > 64 ? length - 64 : 0),
          length};
}

}  // namespace

Result<std::unique_ptr<Ip6Fib>> Ip6Fib::create(const Ip6FibOptions& options) {
  auto routes = Table::create(
      {.buckets = options.buckets, .max_bytes = options.max_bytes, .seed = options.seed});
  if (!routes) return routes.error();
  std::unique_ptr<Ip6Fib> fib(new Ip6Fib);
  fib->routes_ = std::move(*routes);
  return fib;
}

// Loads are acquires: whoever saw any effect of a change also sees that it was begun.
uint32_t Ip6Fib::lookup(const Ip6Address& address) const noexcept {
  const Halves a = halves_of(address);
  uint64_t before = changes_.load(std::memory_order_acquire);
  for (;;) {
    uint64_t value = kNoIndex;
    bool found = false;
    for (std::size_t word = present_.size(); word-- > 0 && !found;) {
      uint64_t lengths = present_[word].load(std::memory_order_acquire);
      while (lengths != 0 && !found) {
        const auto bit = 63 - static_cast<unsigned>(std::countl_zero(lengths));
        lengths &= ~(1ull << bit);
        found = routes_->find(masked(a, static_cast<unsigned>(word) * 64 + bit), value);
      }
    }
    const uint64_t after = changes_.load(std::memory_order_acquire);
    if (before == after) [[likely]]
      return static_cast<uint32_t>(value);
    before = after;
  }
}

void Ip6Fib::lookup(std::span<const Ip6Address> addresses,
                    std::span<uint32_t> values) const noexcept {
  LOOM_DCHECK(values.size() >= addresses.size());
  for (std::size_t i = 0; i < addresses.size(); ++i) values[i] = lookup(addresses[i]);
}

std::optional<Ip6Fib::Key> Ip6Fib::key_of(const IpPrefix& prefix) noexcept {
  if (prefix.address.is_ip4 || prefix.length >= kLengths) return std::nullopt;
  return masked(halves_of(prefix.address.ip6()), prefix.length);
}

void Ip6Fib::begin_change() noexcept {
  changes_.store(changes_.load(std::memory_order_relaxed) + 1, std::memory_order_release);
}

Status Ip6Fib::add(const IpPrefix& prefix, uint32_t value) {
  const auto key = key_of(prefix);
  if (!key || value > kMaxFibValue) return Status::kInvalid;
  const bool is_new = !routes_->find(*key);
  begin_change();
  if (const Status s = routes_->add(*key, value); s != Status::kOk) return s;
  if (is_new && n_of_length_[prefix.length]++ == 0)  // the route is there before it is looked for
    present_[prefix.length / 64].fetch_or(1ull << (prefix.length % 64), std::memory_order_release);
  return Status::kOk;
}

Status Ip6Fib::del(const IpPrefix& prefix) {
  const auto key = key_of(prefix);
  if (!key || !routes_->find(*key)) return Status::kNotFound;
  begin_change();
  if (const Status s = routes_->del(*key); s != Status::kOk) return s;
  if (--n_of_length_[prefix.length] == 0)
    present_[prefix.length / 64].fetch_and(~(1ull << (prefix.length % 64)),
                                           std::memory_order_release);
  return Status::kOk;
}

std::optional<uint32_t> Ip6Fib::find_exact(const IpPrefix& prefix) const {
  const auto key = key_of(prefix);
  const auto value = key ? routes_->find(*key) : std::nullopt;
  return value ? std::optional(static_cast<uint32_t>(*value)) : std::nullopt;
}

void Ip6Fib::for_each(const FibVisitor& fn) const {
  std::vector<std::pair<Key, uint64_t>> sorted;
  sorted.reserve(size());
  routes_->for_each([&](const Key& key, uint64_t value) { sorted.emplace_back(key, value); });
  std::sort(sorted.begin(), sorted.end());
  for (const auto& [key, value] : sorted)
    fn({.address = address_of(key[0], key[1]), .length = static_cast<uint8_t>(key[2])},
       static_cast<uint32_t>(value));
}

}  // namespace loom
