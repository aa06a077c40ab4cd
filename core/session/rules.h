// RuleTable: which rule is for a flow, by masks on both addresses and ports. One table for each
// scope and FIB or namespace; both versions of IP, all protocols. Private to core/session/.
//
// Matching is tuple-space search: rules of one mask (two prefix lengths, which ports are given,
// the protocol) are keys of a hash, and a lookup probes once for each mask in use. The masks are
// ordered, and the first that has a rule for the flow decides:
//   1. the longer remote prefix, 2. the longer local prefix, 3. a remote port, 4. a local port.
// So a rule wins over one that matches all it does and more (the longest match), and of two that
// overlap otherwise the one that says more about the remote end. VPP sorts by the same fields.
//
// Threads: one writer (the control thread); lookup() from any thread at any time, without a lock. A
// lookup that overlaps one change sees the table from before or after it: as in net/fib/ip6_fib.h,
// the writer counts its changes, before making each, and a lookup during which the count moved
// starts again. Rules are added and deleted in place; the list of masks is replaced as a whole, and
// the old one goes through FibDefer.
//   cost  BM_RuleLookup: one probe for each mask of the flow's version and protocol, at most
//         kMaxMasks; the number of rules does not matter
#pragma once
#include <array>
#include <atomic>
#include <memory>
#include <optional>
#include <vector>

#include <hostloom/session.h>

#include "hash/bihash.h"
#include "net/fib/fib.h"

namespace loom::session {

// What a rule is for. Host bits of the prefixes are ignored.
struct RuleMatch {
  IpPrefix local, remote;                    // of one version
  uint16_t local_port = 0, remote_port = 0;  // 0: any
  uint8_t protocol = 0;                      // IPPROTO_*
  friend bool operator==(const RuleMatch&, const RuleMatch&) = default;
};

class RuleTable {
 public:
  static constexpr uint32_t kMaxMasks = 128;  // of each version
  static constexpr uint64_t kNoRule = ~0ull;

  // defer: must be set; called by add() and del().
  static Result<std::unique_ptr<RuleTable>> create(FibDefer defer);
  ~RuleTable();  // no reader may be left
  RuleTable(const RuleTable&) = delete;
  RuleTable& operator=(const RuleTable&) = delete;

  // Any thread. The value of the rule that decides, or kNoRule.
  template <class Key>
  uint64_t lookup(const Key& flow) const noexcept;

  // The writer.
  // Inserts the rule or replaces its value. kInvalid: prefixes of two versions, or a length that
  // the version does not have. kNoMemory: nothing changed: kMaxMasks masks are in
  // use, or memory is.
  Status add(const RuleMatch&, uint64_t value);
  // kNotFound: no rule with exactly this match.
  Status del(const RuleMatch&);
  std::optional<uint64_t> find_exact(const RuleMatch&) const;
  std::size_t size() const noexcept { return side4_.rules->size() + side6_.rules->size(); }
  uint32_t masks(bool ip4) const noexcept;

  static bool is_valid(const RuleMatch&) noexcept;
  // The same match without host bits.
  static RuleMatch normal(RuleMatch) noexcept;

 private:
  // A rule's key is a flow's key with what the mask leaves out zero, and the mask's number where
  // a flow has its FIB.
  template <class Key>
  struct Mask {
    Key bits{};    // to be and-ed with the flow's key
    Key number{};  // to be or-ed with the result
    uint8_t protocol = 0;
    uint8_t local_length = 0, remote_length = 0;
    bool local_port = false, remote_port = false;
    bool goes_before(const Mask&) const noexcept;
    bool is_of(const RuleMatch&) const noexcept;
  };
  template <class Key>
  using MaskList = std::vector<Mask<Key>>;
  template <class Key>
  struct Side {
    std::unique_ptr<Bihash<sizeof(Key)>> rules;
    std::atomic<const MaskList<Key>*> masks{nullptr};  // in order; null: none
    std::array<uint32_t, kMaxMasks> uses{};            // the writer's: rules by mask's number
  };
  template <class Key>
  const Side<Key>& side() const noexcept {
    if constexpr (sizeof(Key) == sizeof(FlowKey4))
      return side4_;
    else
      return side6_;
  }
  template <class Key>
  Side<Key>& side() noexcept {
    return const_cast<Side<Key>&>(std::as_const(*this).template side<Key>());
  }
  explicit RuleTable(FibDefer defer) : defer_(std::move(defer)) {}
  template <class Key>
  static Mask<Key> mask_of(const RuleMatch&, uint32_t number) noexcept;
  template <class Key>
  static const Mask<Key>* find_mask(const Side<Key>&, const RuleMatch&) noexcept;
  template <class Key>
  Status add_to(const RuleMatch&, uint64_t value);
  template <class Key>
  Status del_from(const RuleMatch&);
  template <class Key>
  std::optional<uint64_t> find_in(const RuleMatch&) const;
  template <class Key>
  void publish(Side<Key>&, MaskList<Key>);
  void begin_change() noexcept;

  Side<FlowKey4> side4_;
  Side<FlowKey6> side6_;
  std::atomic<uint64_t> changes_{0};  // begun so far
  FibDefer defer_;
};

}  // namespace loom::session
