// Bound connections that share one local end (SO_REUSEPORT, SO_REUSEADDR), and which of them a flow
// leads to. Private to core/session/.
//
// Members by SO_REUSEPORT: each group has kSlots slots, a flow's hash names one, and a slot holds a
// member. Who joins takes its share from those that have most, who leaves gives its own to those
// that have least: so all have the same share, give or take one slot, and a flow that leads to a
// member which stays is moved at most once for each that joins, and never when another leaves.
// Members by SO_REUSEADDR alone: the latest gets all, as on Linux. Where the one that a flow leads
// to does not hear its link, a few slots more say which of the others gets it, and then a walk of
// the members, so that a link which nobody hears costs each of them one question at most.
//
// Threads: pick() on any worker, without a lock; everything else under `mutex`. Memory of groups is
// used again, and given back only with the tables.
#pragma once
#include <array>
#include <atomic>
#include <memory>
#include <mutex>
#include <vector>

#include <hostloom/interface.h>
#include <hostloom/status.h>
#include <hostloom/types.h>

namespace loom::session {

struct Namespace;

// What a connection agrees to.
struct PortShare {
  bool reuseport = false, reuseaddr = false;
  uint32_t uid = 0;  // whose it is: reuseport joins sockets of one user only
  // Where it is: sockets of another namespace never join. Only compared; it outlives the socket.
  const Namespace* ns = nullptr;
  // The only one that it hears. Sockets of two interfaces never meet, and need not agree.
  IfIndex interface = kNoIndex;
  bool any() const noexcept { return reuseport || reuseaddr; }
  bool spreads() const noexcept { return reuseport || interface != kNoIndex; }
  bool operator==(const PortShare&) const = default;
};
// Whether two may have one end.
bool agree(const PortShare&, const PortShare&) noexcept;

class PortGroups {
 public:
  static constexpr uint32_t kSlots = 1024, kMaxMembers = 512, kProbes = 16;
  // generation:12 | index:20. Never kNone.
  using Ref = uint32_t;
  static constexpr Ref kNone = ~0u;

  // The member for a flow with that hash, as it was added; 0: the group has gone.
  uint64_t pick(Ref, uint64_t hash) const noexcept;
  // Of those that `wanted` says yes to, given `context`; it is asked kProbes times and once for
  // each member at most. 0: nobody, or the group has gone; while members go, perhaps in error.
  using Wanted = bool (*)(const void* context, uint64_t member) noexcept;
  uint64_t pick_wanted(Ref, uint64_t hash, Wanted wanted, const void* context) const noexcept;

  std::mutex mutex;
  // A group of one. kNone: there are too many, or there is no memory. `member` is not 0.
  Ref create(uint64_t member, const PortShare&) noexcept;
  // kInUse: not all agree. kNoMemory: it is full.
  Status join(Ref, uint64_t member, const PortShare&) noexcept;
  // True: nobody is left, and the reference is to be removed before drop().
  bool leave(Ref, uint64_t member) noexcept;
  void drop(Ref) noexcept;
  bool contains(Ref, uint64_t member) const noexcept;
  // Whether all of them agree with it; so they do where the group has gone.
  bool agrees(Ref, const PortShare&) const noexcept;
  // False also where one has gone.
  bool are_of_one_namespace(Ref, Ref) const noexcept;

 private:
  struct Member {
    uint64_t value;
    PortShare share;
    uint32_t n_slots;
  };
  struct Slots {
    std::array<std::atomic<uint64_t>, kSlots> values{};
    std::array<uint16_t, kSlots> owners{};  // indices of the members; under `mutex`
    // Those of the group, for who has no lock.
    std::array<std::atomic<uint64_t>, kMaxMembers> members{};
    std::atomic<uint32_t> n_members{0};
  };
  struct Group {
    // Changes before anything that was reachable from here is used for another group.
    std::atomic<uint32_t> version{0};
    std::atomic<uint32_t> generation{0};
    std::atomic<uint64_t> sole{0};  // who gets all, when there are no slots
    std::atomic<Slots*> slots{nullptr};
    std::vector<Member> members;  // in the order in which they came
  };
  static constexpr uint32_t kIndexBits = 20, kChunk = 256, kMaxChunks = (1u << kIndexBits) / kChunk;
  static constexpr uint32_t kIndexMask = (1u << kIndexBits) - 1;
  using Chunk = std::array<Group, kChunk>;

  Group* find(Ref) const noexcept;
  void settle(Group&) noexcept;  // after a change of members: slots or not
  bool open_slots(Group&) noexcept;
  void close_slots(Group&) noexcept;
  static void take_share(Group&, Slots&) noexcept;
  static void give_share(Group&, Slots&, std::size_t leaver) noexcept;
  static void list_members(const Group&, Slots&, std::size_t from) noexcept;
  static uint64_t walk(const Slots&, uint64_t step, Wanted, const void* context) noexcept;

  std::array<std::atomic<Chunk*>, kMaxChunks> chunks_{};
  std::vector<std::unique_ptr<Chunk>> storage_;
  std::vector<uint32_t> free_;                 // indices
  std::vector<std::unique_ptr<Slots>> slots_;  // all there are
  std::vector<Slots*> free_slots_;
};

}  // namespace loom::session
