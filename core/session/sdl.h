// DenyList: whether a source address is denied, by longest prefix, for lists of a million prefixes
// that change while packets are looked up. One for each FIB; both versions of IP. Private to
// core/session/.
//
// An entry whose action is kActionAllow lets pass what a shorter prefix denies; with any other
// action it denies, as the list's name says.
//
// IPv6 is a net/fib/ip6_fib.h. IPv4 is not a net/fib/ip4_fib.h, which has 1 KB for each /24 that
// holds a longer prefix: a million scattered hosts would be a gigabyte. Here the upper 16 bits of
// an address choose a slot, which has the value of the longest prefix of up to 16 bits, and a leaf
// for the longer ones:
//
//   leaf   n | values, 4 bytes each | starts, 2 bytes each, ascending, the first is 0
//
// the slot's 65536 addresses cut into ranges of one value each, found by binary search. A prefix
// adds at most two ranges, so memory is what the prefixes need and not what they are scattered
// over.
//
// Threads: one writer (the control thread); denies() from any thread at any time, without a lock. A
// leaf is immutable; a change builds the leaves that it touches anew, once for all the prefixes of
// a call, and each address goes from its old value to its new one in one store. Old leaves go
// through FibDefer.
//   cost  BM_DenyListLookup: IPv4 two memory touches and a binary search (4 steps with a million
//         scattered hosts, 17 at most); IPv6 a probe for each prefix length in use. add and del
//         sort the prefixes of each touched slot into a leaf; a prefix shorter than 16 bits visits
//         up to 65536 slots.
#pragma once
#include <array>
#include <atomic>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include <hostloom/address.h>
#include <hostloom/status.h>

#include "net/fib/ip6_fib.h"
#include "session/rule_action.h"

namespace loom::session {

struct DenyEntry {
  IpPrefix prefix;  // host bits are ignored
  uint32_t action = kActionDrop;
  std::string tag{};
};

class DenyList {
 public:
  static constexpr std::size_t kMaxPrefixes = 4'000'000;  // of both versions together

  // defer: must be set; called by add() and del().
  static Result<std::unique_ptr<DenyList>> create(FibDefer defer);
  ~DenyList();  // no reader may be left
  DenyList(const DenyList&) = delete;
  DenyList& operator=(const DenyList&) = delete;

  // Any thread. Whether the longest matching prefix denies the address.
  bool denies(Ip4Address a) const noexcept {
    const uint32_t address = a.host();
    if (const Leaf* leaf = leaves_[address >> 16].load(std::memory_order_acquire))
      if (const uint32_t value = leaf->find(static_cast<uint16_t>(address)); value != kNoIndex)
        return value == kDeny;
    return defaults_[address >> 16].load(std::memory_order_acquire) == kDeny;
  }
  bool denies(const Ip6Address& a) const noexcept { return fib6_->lookup(a) == kDeny; }

  // The writer. All of a call or nothing; the error names the first prefix that is refused.
  // kInvalid: a length that the version does not have. kExists. kNoMemory.
  Result<void> add(std::span<const DenyEntry>);
  // kNotFound.
  Result<void> del(std::span<const IpPrefix>);
  // All of a version that have the tag; how many. Looks at the version's entries one by one, until
  // it has found as many as have the tag.
  std::size_t del_tag(const std::string& tag, bool is_ip4);
  std::size_t size() const noexcept { return size(true) + size(false); }
  std::size_t size(bool ip4) const noexcept { return ip4 ? entries4_.size() : entries6_.size(); }
  std::size_t leaf_bytes() const noexcept { return leaf_bytes_; }
  // The entry that denies() of this address goes by.
  std::optional<DenyEntry> find(const IpAddress&) const;
  std::optional<DenyEntry> entry(const IpPrefix&) const;  // of exactly that prefix
  // The first entry behind `last` in order of version, address and length; none: the first of all.
  // Walks in steps survive any change between two of them.
  std::optional<DenyEntry> next(const std::optional<IpPrefix>& last) const;

 private:
  static constexpr std::size_t kSlots = 1 << 16;
  static constexpr uint32_t kDeny = 0, kAllow = 1;  // values; kNoIndex: no prefix matches
  struct Leaf {
    uint32_t n;
    uint32_t* values() noexcept { return reinterpret_cast<uint32_t*>(this + 1); }
    const uint32_t* values() const noexcept { return reinterpret_cast<const uint32_t*>(this + 1); }
    const uint16_t* starts() const noexcept {
      return reinterpret_cast<const uint16_t*>(values() + n);
    }
    uint32_t find(uint16_t low) const noexcept {
      const uint16_t* const first = starts();
      uint32_t at = 0;  // first[at] <= low, always
      for (uint32_t left = n; left > 1;) {
        const uint32_t half = left / 2;
        at = first[at + half] <= low ? at + half : at;
        left -= half;
      }
      return values()[at];
    }
    static std::size_t bytes(uint32_t n) noexcept { return sizeof(Leaf) + n * 6ull; }
  };
  using Tags = std::unordered_map<std::string, uint32_t>;  // how many entries have it
  struct Stored {
    uint32_t action;
    Tags::pointer tag;
    uint32_t value() const noexcept { return action == kActionAllow ? kAllow : kDeny; }
  };
  using Key4 = uint64_t;  // address in host order, then 8 bits of length
  using Key6 = std::pair<Ip6Address, uint8_t>;

  DenyList() = default;
  static Key4 key4_of(const IpPrefix&) noexcept;
  static Key6 key6_of(const IpPrefix&) noexcept;
  static DenyEntry entry_of(Key4, const Stored&);
  static DenyEntry entry_of(const Key6&, const Stored&);
  Stored store(const DenyEntry&);
  void forget(const Stored&);
  void set_default(Key4, uint32_t value);
  void clear_default(Key4);
  void rebuild(std::span<const Key4>);
  static const Leaf* make_leaf(const std::vector<std::pair<uint16_t, uint32_t>>& ranges);
  const Leaf* build(uint32_t slot);

  // Constant after create().
  FibDefer defer_;
  std::unique_ptr<std::atomic<const Leaf*>[]> leaves_;  // null: none longer than 16 bits
  std::unique_ptr<std::atomic<uint32_t>[]> defaults_;
  std::unique_ptr<Ip6Fib> fib6_;
  // The writer's.
  std::vector<int8_t> default_lengths_;  // whose value a slot's default is; -1: none's
  std::map<Key4, Stored> entries4_;
  std::map<Key6, Stored> entries6_;
  Tags tags_;
  std::size_t leaf_bytes_ = 0;
};

}  // namespace loom::session
