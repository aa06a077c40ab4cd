#include "net/fib/ip4_fib.h"

#include <algorithm>
#include <bit>

#include <hostloom/check.h>

#include "hash/block_arena.h"

namespace loom {
namespace {

constexpr unsigned kBegin[] = {0, 16, 24};  // first bit of each level's digit
constexpr unsigned kEnd[] = {16, 24, 32};   // and one past its last
constexpr uint8_t kPlyLength = 0xff;        // "length" of a word that is a ply: longer than any

constexpr uint32_t mask(unsigned length) noexcept { return length == 0 ? 0 : ~0u << (32 - length); }
constexpr std::size_t slot_of(uint32_t address, unsigned level) noexcept {
  return (address >> (32 - kEnd[level])) & ((1u << (kEnd[level] - kBegin[level])) - 1);
}

}  // namespace

// Repaint the words under `prefix` that belong to it: on adding, those owned by no longer prefix;
// on deleting, those of exactly its length.
struct Ip4Fib::Change {
  PrefixKey prefix;
  bool adding;
  uint32_t word;   // what to store
  uint8_t length;  // and which prefix length owns it then

  bool takes(uint8_t owner) const noexcept {
    return adding ? owner <= prefix.second : owner == prefix.second;
  }
};

Result<std::unique_ptr<Ip4Fib>> Ip4Fib::create(FibDefer defer, const Ip4FibOptions& options) {
  LOOM_CHECK(defer != nullptr);
  std::unique_ptr<Ip4Fib> fib(new Ip4Fib);
  fib->arena_ = std::make_shared<BlockArena>();
  if (auto r = fib->arena_->reserve(kPlyBytes, options.max_bytes); !r) return r.error();
  fib->defer_ = std::move(defer);
  fib->plies_ = static_cast<std::byte*>(fib->arena_->at(0));
  const uint32_t root = fib->arena_->alloc(std::bit_width(kRootWords / kPlyWords) - 1);
  if (!root)
    return error(Status::kNoMemory,
                 std::to_string(options.max_bytes) + " bytes do not hold an IPv4 route table");
  fib->root_ = fib->ply_words(root);  // fresh arena memory is zero: no route
  fib->root_lengths_.resize(kRootWords);
  return fib;
}

Ip4Fib::~Ip4Fib() = default;

void Ip4Fib::lookup(std::span<const Ip4Address> addresses,
                    std::span<uint32_t> values) const noexcept {
  LOOM_DCHECK(values.size() >= addresses.size());
  for (std::size_t i = 0; i < addresses.size(); ++i) values[i] = lookup(addresses[i]);
}

std::optional<Ip4Fib::PrefixKey> Ip4Fib::key_of(const IpPrefix& prefix) noexcept {
  if (!prefix.address.is_ip4 || prefix.length > 32) return std::nullopt;
  return PrefixKey{prefix.address.ip4().host() & mask(prefix.length), prefix.length};
}

Status Ip4Fib::add(const IpPrefix& prefix, uint32_t value) {
  const auto key = key_of(prefix);
  if (!key || value > kMaxFibValue) return Status::kInvalid;
  if (!reserve_plies(*key)) return Status::kNoMemory;
  routes_[*key] = value;
  paint(root(), {.prefix = *key, .adding = true, .word = value + 1, .length = key->second});
  return Status::kOk;
}

Status Ip4Fib::del(const IpPrefix& prefix) {
  const auto key = key_of(prefix);
  if (!key || routes_.erase(*key) == 0) return Status::kNotFound;
  Change change{.prefix = *key, .adding = false, .word = 0, .length = 0};
  for (unsigned length = key->second; length-- > 0;) {  // the next shorter prefix takes over
    const auto covering = routes_.find({key->first & mask(length), static_cast<uint8_t>(length)});
    if (covering == routes_.end()) continue;
    change.word = covering->second + 1;
    change.length = static_cast<uint8_t>(length);
    break;
  }
  paint(root(), change);
  return Status::kOk;
}

std::optional<uint32_t> Ip4Fib::find_exact(const IpPrefix& prefix) const {
  const auto key = key_of(prefix);
  const auto route = key ? routes_.find(*key) : routes_.end();
  return route == routes_.end() ? std::nullopt : std::optional(route->second);
}

void Ip4Fib::for_each(const FibVisitor& fn) const {
  for (const auto& [key, value] : routes_)
    fn({.address = Ip4Address::from_host(key.first), .length = key.second}, value);
}

Ip4Fib::Node Ip4Fib::child(uint32_t word, unsigned level) noexcept {
  PlyOwners& owners = owners_[word & ~kIsPly];
  return {ply_words(word), owners.lengths.data(), &owners.n_longer, level};
}

// Puts the plies that adding `prefix` will need into spare_, so that the change cannot fail
// halfway.
bool Ip4Fib::reserve_plies(PrefixKey prefix) {
  std::size_t need = 0;
  uint32_t word = root_[slot_of(prefix.first, 0)].load(std::memory_order_relaxed);
  for (unsigned level = 0; prefix.second > kEnd[level]; ++level) {
    if (word & kIsPly)
      word = ply_words(word)[slot_of(prefix.first, level + 1)].load(std::memory_order_relaxed);
    else
      ++need;
  }
  while (spare_.size() < need) {
    const uint32_t ply = arena_->alloc(0);
    if (!ply) return false;
    if (owners_.size() <= ply) owners_.resize(ply + 1);
    spare_.push_back(ply);
  }
  return true;
}

void Ip4Fib::paint(const Node& node, const Change& change) {
  const auto [address, length] = change.prefix;
  const std::size_t first = slot_of(address, node.level);
  if (length > kEnd[node.level]) {
    if (node.lengths[first] != kPlyLength) descend(node, first);
    const Node below = child(node.words[first].load(std::memory_order_relaxed), node.level + 1);
    paint(below, change);
    if (*below.n_longer == 0) collapse(node, first);
    return;
  }
  const unsigned begin = kBegin[node.level];
  const std::size_t n = std::size_t{1} << (kEnd[node.level] - std::max<unsigned>(length, begin));
  for (std::size_t i = first; i < first + n; ++i) {
    if (node.lengths[i] == kPlyLength)
      paint(child(node.words[i].load(std::memory_order_relaxed), node.level + 1), change);
    else if (change.takes(node.lengths[i]))
      set(node, i, change.word, change.length);
  }
}

void Ip4Fib::set(const Node& node, std::size_t slot, uint32_t word, uint8_t length) noexcept {
  const unsigned begin = kBegin[node.level];
  *node.n_longer += (length > begin) - (node.lengths[slot] > begin);
  node.lengths[slot] = length;
  node.words[slot].store(word, std::memory_order_release);
}

// Replaces a value by a ply in which every word has that value.
void Ip4Fib::descend(const Node& node, std::size_t slot) {
  LOOM_CHECK(!spare_.empty());  // reserve_plies() counted the same way
  const uint32_t word = spare_.back() | kIsPly;
  spare_.pop_back();
  ++n_plies_;
  const Node ply = child(word, node.level + 1);
  const uint32_t inherited = node.words[slot].load(std::memory_order_relaxed);
  for (std::size_t i = 0; i < kPlyWords; ++i)
    ply.words[i].store(inherited, std::memory_order_relaxed);
  std::fill_n(ply.lengths, kPlyWords, node.lengths[slot]);
  *ply.n_longer = 0;
  set(node, slot, word, kPlyLength);
}

// Replaces a ply in which no word is owned by a prefix of its own, so all are alike, by that word.
void Ip4Fib::collapse(const Node& node, std::size_t slot) {
  const uint32_t word = node.words[slot].load(std::memory_order_relaxed);
  const Node ply = child(word, node.level + 1);
  set(node, slot, ply.words[0].load(std::memory_order_relaxed), ply.lengths[0]);
  --n_plies_;
  defer_([arena = arena_, number = word & ~kIsPly] { arena->free(number, 0); });
}

}  // namespace loom
