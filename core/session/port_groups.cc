#include "session/port_groups.h"

#include <algorithm>
#include <bit>
#include <new>
#include <utility>

namespace loom::session {
namespace {

// For so many more. vector says by an exception that there is no memory.
template <class T>
bool has_room(std::vector<T>& v, std::size_t n) noexcept {
  try {
    if (v.capacity() - v.size() < n) v.reserve(std::max(v.size() + n, 2 * v.size()));
    return true;
  } catch (const std::bad_alloc&) {
    return false;
  }
}

}  // namespace

bool agree(const PortShare& a, const PortShare& b) noexcept {
  if (a.interface != kNoIndex && b.interface != kNoIndex && a.interface != b.interface) return true;
  if (a.ns != b.ns) return false;
  return (a.reuseaddr && b.reuseaddr) || (a.reuseport && b.reuseport && a.uid == b.uid);
}

PortGroups::Group* PortGroups::find(Ref ref) const noexcept {
  const uint32_t index = ref & kIndexMask;
  Chunk* chunk = chunks_[index / kChunk].load(std::memory_order_acquire);
  if (!chunk) return nullptr;
  Group& g = (*chunk)[index % kChunk];
  return g.generation.load(std::memory_order_acquire) == ref >> kIndexBits ? &g : nullptr;
}

// The slots that were read may have become another group's meanwhile: then the version is another.
uint64_t PortGroups::pick(Ref ref, uint64_t hash) const noexcept {
  for (;;) {
    const Group* g = find(ref);
    if (!g) return 0;
    const uint32_t version = g->version.load(std::memory_order_acquire);
    const Slots* slots = g->slots.load(std::memory_order_acquire);
    const uint64_t member = slots ? slots->values[hash % kSlots].load(std::memory_order_acquire)
                                  : g->sole.load(std::memory_order_acquire);
    std::atomic_thread_fence(std::memory_order_acquire);
    if (g->version.load(std::memory_order_relaxed) == version && find(ref)) [[likely]]
      return member;
  }
}

// Slots lie together by owner, so that the next ones are one owner's mostly: with steps that differ
// by flow those who are wanted share what comes for the others.
uint64_t PortGroups::pick_wanted(Ref ref, uint64_t hash, Wanted wanted,
                                 const void* context) const noexcept {
  const uint64_t step = (hash * 0x9e3779b97f4a7c15) >> 40 | 1;
  for (;;) {
    const Group* g = find(ref);
    if (!g) return 0;
    const uint32_t version = g->version.load(std::memory_order_acquire);
    const Slots* slots = g->slots.load(std::memory_order_acquire);
    uint64_t member = 0, refused = 0;
    for (uint64_t i = 0; member == 0 && i < (slots ? kProbes : 1); ++i) {
      member = slots ? slots->values[(hash + i * step) % kSlots].load(std::memory_order_acquire)
                     : g->sole.load(std::memory_order_acquire);
      if (member != 0 && (member == refused || !wanted(context, member)))
        refused = std::exchange(member, 0);
    }
    if (member == 0 && slots) member = walk(*slots, step, wanted, context);
    std::atomic_thread_fence(std::memory_order_acquire);
    if (g->version.load(std::memory_order_relaxed) == version && find(ref)) [[likely]]
      return member;
  }
}

// From another one on for each flow; by odd steps, which meet all in a power of two.
uint64_t PortGroups::walk(const Slots& slots, uint64_t step, Wanted wanted,
                          const void* context) noexcept {
  const uint32_t n = std::min(slots.n_members.load(std::memory_order_acquire), kMaxMembers);
  const uint32_t places = std::bit_ceil(n);
  for (uint64_t i = 0; n != 0 && i < places; ++i) {
    const uint64_t at = ((step >> 12) + i * step) & (places - 1);
    if (at >= n) continue;
    const uint64_t member = slots.members[at].load(std::memory_order_acquire);
    if (member != 0 && wanted(context, member)) return member;
  }
  return 0;
}

// Those from there on are others now.
void PortGroups::list_members(const Group& g, Slots& slots, std::size_t from) noexcept {
  for (std::size_t i = from; i < g.members.size(); ++i)
    slots.members[i].store(g.members[i].value, std::memory_order_release);
  slots.n_members.store(static_cast<uint32_t>(g.members.size()), std::memory_order_release);
}

PortGroups::Ref PortGroups::create(uint64_t member, const PortShare& share) noexcept {
  if (free_.empty()) {
    if (storage_.size() == kMaxChunks) return kNone;
    const auto first = static_cast<uint32_t>(storage_.size()) * kChunk;
    std::unique_ptr<Chunk> more(new (std::nothrow) Chunk);
    if (!more || !has_room(storage_, 1) || !has_room(free_, first + kChunk)) return kNone;
    storage_.push_back(std::move(more));
    chunks_[first / kChunk].store(storage_.back().get(), std::memory_order_release);
    // The last index of all would make kNone of the last generation.
    for (uint32_t i = kChunk; i-- > 0;)
      if (first + i != kIndexMask) free_.push_back(first + i);
  }
  const uint32_t index = free_.back();
  Group& g = (*storage_[index / kChunk])[index % kChunk];
  if (!has_room(g.members, 1)) return kNone;
  free_.pop_back();
  g.members.push_back({member, share, 0});
  g.sole.store(member, std::memory_order_release);
  return g.generation.load(std::memory_order_relaxed) << kIndexBits | index;
}

Status PortGroups::join(Ref ref, uint64_t member, const PortShare& share) noexcept {
  Group* g = find(ref);
  if (!g) return Status::kInUse;
  if (!std::ranges::all_of(g->members, [&](const Member& m) { return agree(m.share, share); }))
    return Status::kInUse;
  if (g->members.size() == kMaxMembers || !has_room(g->members, 1)) return Status::kNoMemory;
  g->members.push_back({member, share, 0});
  if (Slots* slots = g->slots.load(std::memory_order_relaxed); slots && share.spreads()) {
    take_share(*g, *slots);
    list_members(*g, *slots, g->members.size() - 1);
  }
  settle(*g);
  return Status::kOk;
}

bool PortGroups::leave(Ref ref, uint64_t member) noexcept {
  Group* g = find(ref);
  if (!g) return false;
  const auto at = std::ranges::find(g->members, member, &Member::value);
  if (at == g->members.end()) return false;
  const auto index = static_cast<std::size_t>(at - g->members.begin());
  g->members.erase(at);
  if (Slots* slots = g->slots.load(std::memory_order_relaxed); slots && !g->members.empty()) {
    give_share(*g, *slots, index);
    list_members(*g, *slots, index);
  }
  settle(*g);
  return g->members.empty();
}

void PortGroups::drop(Ref ref) noexcept {
  Group* g = find(ref);
  if (!g) return;
  close_slots(*g);
  g->members.clear();
  g->generation.store(((ref >> kIndexBits) + 1) & 0xfff, std::memory_order_release);
  g->version.fetch_add(1, std::memory_order_release);
  g->sole.store(0, std::memory_order_release);
  free_.push_back(ref & kIndexMask);
}

bool PortGroups::contains(Ref ref, uint64_t member) const noexcept {
  const Group* g = find(ref);
  return g && std::ranges::find(g->members, member, &Member::value) != g->members.end();
}

bool PortGroups::agrees(Ref ref, const PortShare& share) const noexcept {
  const Group* g = find(ref);
  return !g ||
         std::ranges::all_of(g->members, [&](const Member& m) { return agree(m.share, share); });
}

bool PortGroups::are_of_one_namespace(Ref a, Ref b) const noexcept {
  const Group *one = find(a), *other = find(b);
  return one && other && !one->members.empty() && !other->members.empty() &&
         one->members.front().share.ns == other->members.front().share.ns;
}

void PortGroups::settle(Group& g) noexcept {
  const bool spreads = g.members.size() > 1 && std::ranges::all_of(g.members, [](const auto& m) {
                         return m.share.spreads();
                       });
  const bool has_slots = g.slots.load(std::memory_order_relaxed) != nullptr;
  if (!g.members.empty()) g.sole.store(g.members.back().value, std::memory_order_release);
  if (spreads && !has_slots) (void)open_slots(g);  // without memory the latest gets all
  if (!spreads && has_slots) close_slots(g);
}

bool PortGroups::open_slots(Group& g) noexcept {
  if (free_slots_.empty()) {
    std::unique_ptr<Slots> more(new (std::nothrow) Slots{});
    // All of them may be free at once.
    if (!more || !has_room(slots_, 1) || !has_room(free_slots_, slots_.size() + 1)) return false;
    free_slots_.push_back(more.get());
    slots_.push_back(std::move(more));
  }
  Slots* slots = free_slots_.back();
  free_slots_.pop_back();
  for (Member& m : g.members) m.n_slots = 0;
  const std::size_t n = g.members.size();
  for (std::size_t i = 0; i < kSlots; ++i) {
    const std::size_t owner = i * n / kSlots;
    slots->owners[i] = static_cast<uint16_t>(owner);
    slots->values[i].store(g.members[owner].value, std::memory_order_release);
    ++g.members[owner].n_slots;
  }
  list_members(g, *slots, 0);
  g.slots.store(slots, std::memory_order_release);
  g.version.fetch_add(1, std::memory_order_release);
  return true;
}

void PortGroups::close_slots(Group& g) noexcept {
  Slots* slots = g.slots.exchange(nullptr, std::memory_order_acq_rel);
  if (!slots) return;
  g.version.fetch_add(1, std::memory_order_acq_rel);
  free_slots_.push_back(slots);
}

// To the member that has come last, from those that have more than the share of each.
void PortGroups::take_share(Group& g, Slots& slots) noexcept {
  Member& taker = g.members.back();
  const auto share = static_cast<uint32_t>(kSlots / g.members.size());
  for (std::size_t i = 0; i < kSlots && taker.n_slots != share; ++i) {
    Member& owner = g.members[slots.owners[i]];
    if (owner.n_slots <= share || &owner == &taker) continue;
    --owner.n_slots;
    ++taker.n_slots;
    slots.owners[i] = static_cast<uint16_t>(g.members.size() - 1);
    slots.values[i].store(taker.value, std::memory_order_release);
  }
}

// To those that have least. The leaver's index is the next one's by now.
void PortGroups::give_share(Group& g, Slots& slots, std::size_t leaver) noexcept {
  for (std::size_t i = 0; i < kSlots; ++i) {
    uint16_t& owner = slots.owners[i];
    if (owner != leaver) {
      if (owner > leaver) --owner;
      continue;
    }
    const auto heir = std::ranges::min_element(g.members, {}, &Member::n_slots);
    ++heir->n_slots;
    owner = static_cast<uint16_t>(heir - g.members.begin());
    slots.values[i].store(heir->value, std::memory_order_release);
  }
}

}  // namespace loom::session
