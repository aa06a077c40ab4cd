#include "session/sdl.h"

#include <algorithm>
#include <new>

#include <hostloom/check.h>

namespace loom::session {
namespace {

constexpr unsigned kSlotBits = 16;
constexpr std::size_t kBuckets6 = std::size_t{1} << 18;

constexpr uint32_t mask4(unsigned length) noexcept {
  return length == 0 ? 0 : ~0u << (32 - length);
}
constexpr uint32_t address_of(uint64_t key) noexcept { return static_cast<uint32_t>(key >> 8); }
constexpr unsigned length_of(uint64_t key) noexcept { return key & 0xff; }
constexpr uint64_t make_key4(uint32_t address, unsigned length) noexcept {
  return static_cast<uint64_t>(address & mask4(length)) << 8 | length;
}

bool is_valid(const IpPrefix& p) noexcept { return p.length <= (p.address.is_ip4 ? 32 : 128); }

Error refused(Status s, const IpPrefix& p, const char* why) {
  return error(s, "source " + p.str() + " " + why);
}

}  // namespace

Result<std::unique_ptr<DenyList>> DenyList::create(FibDefer defer) {
  LOOM_CHECK(defer != nullptr);
  std::unique_ptr<DenyList> d(new DenyList);
  d->defer_ = std::move(defer);
  auto fib6 = Ip6Fib::create({.buckets = kBuckets6});
  if (!fib6) return fib6.error();
  d->fib6_ = std::move(*fib6);
  d->leaves_ = std::make_unique<std::atomic<const Leaf*>[]>(kSlots);
  d->defaults_ = std::make_unique<std::atomic<uint32_t>[]>(kSlots);
  for (std::size_t i = 0; i < kSlots; ++i) d->defaults_[i].store(kNoIndex);
  d->default_lengths_.assign(kSlots, -1);
  return d;
}

DenyList::~DenyList() {
  if (!leaves_) return;
  for (std::size_t i = 0; i < kSlots; ++i)
    ::operator delete(const_cast<Leaf*>(leaves_[i].load(std::memory_order_relaxed)));
}

DenyList::Key4 DenyList::key4_of(const IpPrefix& p) noexcept {
  return make_key4(p.address.ip4().host(), p.length);
}

DenyList::Key6 DenyList::key6_of(const IpPrefix& p) noexcept {
  Key6 key{p.address.ip6(), p.length};
  for (unsigned i = 0; i < 16; ++i) {
    const unsigned bits = p.length > i * 8 ? std::min(p.length - i * 8, 8u) : 0;
    key.first.bytes[i] &= static_cast<uint8_t>(0xff00 >> bits);
  }
  return key;
}

DenyEntry DenyList::entry_of(Key4 key, const Stored& s) {
  const auto address = Ip4Address::from_host(address_of(key));
  return {{address, static_cast<uint8_t>(length_of(key))}, s.action, s.tag->first};
}
DenyEntry DenyList::entry_of(const Key6& key, const Stored& s) {
  return {{key.first, key.second}, s.action, s.tag->first};
}

DenyList::Stored DenyList::store(const DenyEntry& e) {
  const auto tag = tags_.try_emplace(e.tag, 0u).first;
  ++tag->second;
  return {e.action, &*tag};
}

void DenyList::forget(const Stored& s) {
  if (--s.tag->second == 0) tags_.erase(std::string(s.tag->first));
}

Result<void> DenyList::add(std::span<const DenyEntry> entries) {
  // First into the maps, which no reader sees: all or none of them fit.
  std::size_t n = 0;
  const auto take_back = [&] {
    for (const DenyEntry& e : entries.first(n)) {
      if (e.prefix.address.is_ip4) {
        const auto it = entries4_.find(key4_of(e.prefix));
        forget(it->second);
        entries4_.erase(it);
      } else {
        const auto it = entries6_.find(key6_of(e.prefix));
        forget(it->second);
        entries6_.erase(it);
      }
    }
  };
  std::optional<Error> failure;
  std::vector<Key4> added4;
  for (const DenyEntry& e : entries) {
    if (!is_valid(e.prefix))
      failure = refused(Status::kInvalid, e.prefix, "is longer than an address");
    else if (size() >= kMaxPrefixes)
      failure = error(Status::kNoMemory,
                      "the deny list has " + std::to_string(kMaxPrefixes) + " prefixes already");
    else if (e.prefix.address.is_ip4 ? entries4_.contains(key4_of(e.prefix))
                                     : entries6_.contains(key6_of(e.prefix)))
      failure = refused(Status::kExists, e.prefix, "is in the deny list");
    if (failure) break;
    if (e.prefix.address.is_ip4) {
      added4.push_back(key4_of(e.prefix));
      entries4_.emplace(added4.back(), store(e));
    } else {
      entries6_.emplace(key6_of(e.prefix), store(e));
    }
    ++n;
  }
  for (std::size_t i = 0; i < n && !failure; ++i) {
    if (entries[i].prefix.address.is_ip4) continue;
    const uint32_t value = entries6_.at(key6_of(entries[i].prefix)).value();
    if (fib6_->add(entries[i].prefix, value) == Status::kOk) continue;
    failure = refused(Status::kNoMemory, entries[i].prefix, "finds no memory");
    while (i-- > 0)
      if (!entries[i].prefix.address.is_ip4) (void)fib6_->del(entries[i].prefix);
    break;
  }
  if (failure) {
    take_back();
    return *failure;
  }
  for (const Key4 key : added4)
    if (length_of(key) <= kSlotBits) set_default(key, entries4_.at(key).value());
  rebuild(added4);
  return {};
}

Result<void> DenyList::del(std::span<const IpPrefix> prefixes) {
  std::vector<std::map<Key4, Stored>::node_type> gone4;
  std::vector<std::map<Key6, Stored>::node_type> gone6;
  for (const IpPrefix& p : prefixes) {
    bool found = is_valid(p);
    if (found && p.address.is_ip4) {
      auto node = entries4_.extract(key4_of(p));
      if ((found = !node.empty())) gone4.push_back(std::move(node));
    } else if (found) {
      auto node = entries6_.extract(key6_of(p));
      if ((found = !node.empty())) gone6.push_back(std::move(node));
    }
    if (found) continue;
    for (auto& node : gone4) entries4_.insert(std::move(node));
    for (auto& node : gone6) entries6_.insert(std::move(node));
    return refused(Status::kNotFound, p, "is not in the deny list");
  }
  std::vector<Key4> keys;
  for (const auto& node : gone4) {
    keys.push_back(node.key());
    forget(node.mapped());
    if (length_of(node.key()) <= kSlotBits) clear_default(node.key());
  }
  rebuild(keys);
  for (const auto& node : gone6) {
    forget(node.mapped());
    (void)fib6_->del({node.key().first, node.key().second});
  }
  return {};
}

std::size_t DenyList::del_tag(const std::string& tag, bool is_ip4) {
  const auto known = tags_.find(tag);
  if (known == tags_.end()) return 0;
  const Tags::const_pointer wanted = &*known;
  const std::size_t most = known->second;  // of both versions
  std::vector<IpPrefix> prefixes;
  const auto collect = [&](const auto& entries) {
    for (auto it = entries.begin(); prefixes.size() < most && it != entries.end(); ++it)
      if (it->second.tag == wanted) prefixes.push_back(entry_of(it->first, it->second).prefix);
  };
  if (is_ip4)
    collect(entries4_);
  else
    collect(entries6_);
  LOOM_CHECK(del(prefixes));
  return prefixes.size();
}

void DenyList::set_default(Key4 key, uint32_t value) {
  const auto length = static_cast<int8_t>(length_of(key));
  const std::size_t first = address_of(key) >> kSlotBits;
  for (std::size_t i = first; i < first + (kSlots >> length); ++i) {
    if (default_lengths_[i] > length) continue;
    default_lengths_[i] = length;
    defaults_[i].store(value, std::memory_order_release);
  }
}

// The next shorter prefix that is left takes over.
void DenyList::clear_default(Key4 key) {
  const auto length = static_cast<int8_t>(length_of(key));
  int8_t next = -1;
  uint32_t value = kNoIndex;
  for (int8_t shorter = length; next < 0 && shorter-- > 0;) {
    const auto it = entries4_.find(make_key4(address_of(key), static_cast<unsigned>(shorter)));
    if (it == entries4_.end()) continue;
    next = shorter;
    value = it->second.value();
  }
  const std::size_t first = address_of(key) >> kSlotBits;
  for (std::size_t i = first; i < first + (kSlots >> length); ++i) {
    if (default_lengths_[i] != length) continue;
    default_lengths_[i] = next;
    defaults_[i].store(value, std::memory_order_release);
  }
}

const DenyList::Leaf* DenyList::make_leaf(
    const std::vector<std::pair<uint16_t, uint32_t>>& ranges) {
  const auto n = static_cast<uint32_t>(ranges.size());
  Leaf* leaf = new (::operator new(Leaf::bytes(n))) Leaf{n};
  auto* starts = const_cast<uint16_t*>(leaf->starts());
  for (uint32_t i = 0; i < n; ++i) {
    starts[i] = ranges[i].first;
    leaf->values()[i] = ranges[i].second;
  }
  return leaf;
}

// The prefixes of a slot come in order of address, a shorter one before those it contains, so the
// open ones are a stack. Null: the slot has none.
const DenyList::Leaf* DenyList::build(uint32_t slot) {
  struct Open {
    uint32_t end;  // one past its last address in the slot
    uint32_t value;
  };
  std::vector<Open> open;
  std::vector<std::pair<uint16_t, uint32_t>> ranges{{0, kNoIndex}};
  const auto begin_range = [&](uint32_t start, uint32_t value) {
    if (start >> kSlotBits) return;
    if (ranges.back().first == start)
      ranges.back().second = value;
    else if (ranges.back().second != value)
      ranges.emplace_back(static_cast<uint16_t>(start), value);
  };
  const auto close_until = [&](uint32_t start) {
    while (!open.empty() && open.back().end <= start) {
      const uint32_t end = open.back().end;
      open.pop_back();
      begin_range(end, open.empty() ? kNoIndex : open.back().value);
    }
  };
  const auto first = entries4_.lower_bound(static_cast<Key4>(slot) << (kSlotBits + 8));
  const auto last = entries4_.lower_bound((static_cast<Key4>(slot) + 1) << (kSlotBits + 8));
  for (auto it = first; it != last; ++it) {
    if (length_of(it->first) <= kSlotBits) continue;
    const uint32_t start = address_of(it->first) & 0xffff;
    close_until(start);
    begin_range(start, it->second.value());
    open.push_back({start + (1u << (32 - length_of(it->first))), it->second.value()});
  }
  close_until(1u << kSlotBits);
  if (ranges.size() == 1 && ranges.front().second == kNoIndex) return nullptr;
  return make_leaf(ranges);
}

void DenyList::rebuild(std::span<const Key4> keys) {
  std::vector<uint32_t> slots;
  for (const Key4 key : keys)
    if (length_of(key) > kSlotBits) slots.push_back(address_of(key) >> kSlotBits);
  std::sort(slots.begin(), slots.end());
  slots.erase(std::unique(slots.begin(), slots.end()), slots.end());
  const auto free_all = [](std::vector<const Leaf*>* leaves) {
    for (const Leaf* leaf : *leaves) ::operator delete(const_cast<Leaf*>(leaf));
    delete leaves;
  };
  const std::shared_ptr<std::vector<const Leaf*>> old(new std::vector<const Leaf*>, free_all);
  for (const uint32_t slot : slots) {
    const Leaf* leaf = build(slot);
    if (leaf) leaf_bytes_ += Leaf::bytes(leaf->n);
    const Leaf* before = leaves_[slot].exchange(leaf, std::memory_order_acq_rel);
    if (!before) continue;
    leaf_bytes_ -= Leaf::bytes(before->n);
    old->push_back(before);
  }
  if (!old->empty()) defer_([old] {});
}

std::optional<DenyEntry> DenyList::entry(const IpPrefix& p) const {
  if (!is_valid(p)) return std::nullopt;
  if (p.address.is_ip4) {
    const auto it = entries4_.find(key4_of(p));
    if (it != entries4_.end()) return entry_of(it->first, it->second);
  } else {
    const auto it = entries6_.find(key6_of(p));
    if (it != entries6_.end()) return entry_of(it->first, it->second);
  }
  return std::nullopt;
}

std::optional<DenyEntry> DenyList::find(const IpAddress& a) const {
  for (int length = a.is_ip4 ? 32 : 128; length >= 0; --length)
    if (auto found = entry({a, static_cast<uint8_t>(length)})) return found;
  return std::nullopt;
}

std::optional<DenyEntry> DenyList::next(const std::optional<IpPrefix>& last) const {
  if (!last || last->address.is_ip4) {
    const auto it = last ? entries4_.upper_bound(key4_of(*last)) : entries4_.begin();
    if (it != entries4_.end()) return entry_of(it->first, it->second);
  }
  const bool among6 = last && !last->address.is_ip4;
  const auto it = among6 ? entries6_.upper_bound(key6_of(*last)) : entries6_.begin();
  if (it == entries6_.end()) return std::nullopt;
  return entry_of(it->first, it->second);
}

}  // namespace loom::session
