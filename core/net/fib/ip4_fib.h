// Ip4Fib: IPv4 longest-prefix match in at most three memory touches.
//
// A trie of strides 16-8-8: a root of 2^16 words, and plies of 256 words below it where a prefix
// longer than 16 (24) exists. A word is either a ply's number or the value of the longest prefix
// that covers all addresses below it, so a lookup never backtracks; adding a prefix paints its
// value over the words it covers, except those that belong to a longer one.
//
//   word   0 no route | 1..2^31-1 value + 1 | 2^31 + n ply n
//
// Threads: one writer (the control thread) at a time; lookup() from any thread at any time, without
// a lock. Every word is replaced in one store and a ply is complete before the word that leads to
// it is stored (release), so a lookup sees each address's route from before or after a change,
// never a gap: whoever adds the new route before deleting the old one loses no packet. A ply that
// is no longer needed goes back to its pool through FibDefer, when no lookup can be in it any more.
//   cost  BM_Ip4FibLookup; add and del repaint up to 2^16 words and the plies below for short ones
#pragma once
#include <array>
#include <atomic>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include <hostloom/status.h>

#include "net/fib/fib.h"

namespace loom {

class BlockArena;

struct Ip4FibOptions {
  std::size_t max_bytes = std::size_t{1} << 30;  // most memory for plies (1 KB each); not committed
};

class Ip4Fib {
 public:
  // defer: must be set; called by del().
  static Result<std::unique_ptr<Ip4Fib>> create(FibDefer defer, const Ip4FibOptions& options = {});
  ~Ip4Fib();
  Ip4Fib(const Ip4Fib&) = delete;
  Ip4Fib& operator=(const Ip4Fib&) = delete;

  // Any thread. The value of the longest matching prefix, or kNoIndex.
  uint32_t lookup(Ip4Address address) const noexcept {
    const uint32_t a = address.host();
    uint32_t word = root_[a >> 16].load(std::memory_order_acquire);
    if (word & kIsPly) {
      word = ply_words(word)[(a >> 8) & 0xff].load(std::memory_order_acquire);
      if (word & kIsPly) word = ply_words(word)[a & 0xff].load(std::memory_order_acquire);
    }
    return word - 1;
  }
  // values.size() >= addresses.size().
  void lookup(std::span<const Ip4Address> addresses, std::span<uint32_t> values) const noexcept;

  // The writer. Host bits of a prefix are ignored.
  // Inserts the route or replaces its value. kInvalid: not IPv4, length above 32, or value above
  // kMaxFibValue. kNoMemory: nothing changed.
  Status add(const IpPrefix& prefix, uint32_t value);
  // kNotFound: no route with exactly this prefix.
  Status del(const IpPrefix& prefix);
  std::optional<uint32_t> find_exact(const IpPrefix& prefix) const;
  // In order of address, then length. fn must not change the table.
  void for_each(const FibVisitor& fn) const;
  std::size_t size() const noexcept { return routes_.size(); }
  std::size_t plies() const noexcept { return n_plies_; }  // in use, without those being deferred

 private:
  using Word = std::atomic<uint32_t>;
  static constexpr uint32_t kIsPly = 1u << 31;
  static constexpr std::size_t kPlyWords = 256, kPlyBytes = kPlyWords * sizeof(Word);
  static constexpr std::size_t kRootWords = 1 << 16;

  // What the writer remembers about a ply: which prefix length owns each word.
  struct PlyOwners {
    std::array<uint8_t, kPlyWords> lengths;
    uint32_t n_longer;  // words that are plies or owned by a prefix longer than the ply's own path
  };
  struct Node {  // the root or a ply, as the writer walks them
    Word* words;
    uint8_t* lengths;
    uint32_t* n_longer;
    unsigned level;
  };
  struct Change;
  using PrefixKey = std::pair<uint32_t, uint8_t>;  // address in host order, length

  Ip4Fib() = default;
  Word* ply_words(uint32_t word) const noexcept {
    return reinterpret_cast<Word*>(plies_ + (word & ~kIsPly) * kPlyBytes);
  }
  Node root() noexcept { return {root_, root_lengths_.data(), &root_n_longer_, 0}; }
  Node child(uint32_t word, unsigned level) noexcept;
  static std::optional<PrefixKey> key_of(const IpPrefix& prefix) noexcept;
  bool reserve_plies(PrefixKey prefix);
  void paint(const Node& node, const Change& change);
  static void set(const Node& node, std::size_t slot, uint32_t word, uint8_t length) noexcept;
  void descend(const Node& node, std::size_t slot);
  void collapse(const Node& node, std::size_t slot);

  // Constant after create(). The arena is shared with deferred releases, which may outlive us.
  std::shared_ptr<BlockArena> arena_;
  FibDefer defer_;
  std::byte* plies_ = nullptr;  // the arena's first byte: ply n is n KB behind it
  Word* root_ = nullptr;
  // The writer's.
  std::map<PrefixKey, uint32_t> routes_;
  std::vector<uint8_t> root_lengths_;
  uint32_t root_n_longer_ = 0;
  std::vector<PlyOwners> owners_;  // by ply number
  std::vector<uint32_t> spare_;    // plies reserved for the change in progress
  std::size_t n_plies_ = 0;
};

}  // namespace loom
