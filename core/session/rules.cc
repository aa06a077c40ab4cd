#include "session/rules.h"

#include <algorithm>
#include <tuple>

#include <hostloom/check.h>

namespace loom::session {
namespace {

constexpr std::size_t kBuckets = 1024;
constexpr std::size_t kMaxBytes = std::size_t{256} << 20;  // of each version; reserved

template <class Address>
Address leading_bits(unsigned length) noexcept {
  Address a;
  for (auto& byte : a.bytes) {
    const unsigned n = std::min(length, 8u);
    byte = static_cast<uint8_t>(0xff00 >> n);
    length -= n;
  }
  return a;
}

template <class Key>
using Words = std::array<uint64_t, sizeof(Key) / 8>;

template <class Key>
Words<Key> masked(const Key& flow, const Key& bits, const Key& number) noexcept {
  auto key = std::bit_cast<Words<Key>>(flow);
  const auto mask = std::bit_cast<Words<Key>>(bits), id = std::bit_cast<Words<Key>>(number);
  for (std::size_t i = 0; i < key.size(); ++i) key[i] = (key[i] & mask[i]) | id[i];
  return key;
}

// The match as a flow that it is for.
template <class Key>
Key flow_of(const RuleMatch& m) noexcept {
  Key key{};
  if constexpr (sizeof(Key) == sizeof(FlowKey4)) {
    key.local = m.local.address.ip4();
    key.remote = m.remote.address.ip4();
  } else {
    key.local = m.local.address.ip6();
    key.remote = m.remote.address.ip6();
  }
  key.local_port = m.local_port;
  key.remote_port = m.remote_port;
  key.protocol = m.protocol;
  return key;
}

}  // namespace

template <class Key>
bool RuleTable::Mask<Key>::goes_before(const Mask& o) const noexcept {
  return std::tuple(remote_length, local_length, remote_port, local_port) >
         std::tuple(o.remote_length, o.local_length, o.remote_port, o.local_port);
}

template <class Key>
bool RuleTable::Mask<Key>::is_of(const RuleMatch& m) const noexcept {
  return remote_length == m.remote.length && local_length == m.local.length &&
         remote_port == (m.remote_port != 0) && local_port == (m.local_port != 0) &&
         protocol == m.protocol;
}

Result<std::unique_ptr<RuleTable>> RuleTable::create(FibDefer defer) {
  LOOM_CHECK(defer != nullptr);
  std::unique_ptr<RuleTable> t(new RuleTable(std::move(defer)));
  auto rules4 = Bihash<sizeof(FlowKey4)>::create({.buckets = kBuckets, .max_bytes = kMaxBytes});
  if (!rules4) return rules4.error();
  auto rules6 = Bihash<sizeof(FlowKey6)>::create({.buckets = kBuckets, .max_bytes = kMaxBytes});
  if (!rules6) return rules6.error();
  t->side4_.rules = std::move(*rules4);
  t->side6_.rules = std::move(*rules6);
  return t;
}

RuleTable::~RuleTable() {
  delete side4_.masks.load();
  delete side6_.masks.load();
}

// Loads are acquires: whoever saw any effect of a change also sees that it was begun.
template <class Key>
uint64_t RuleTable::lookup(const Key& flow) const noexcept {
  const Side<Key>& s = side<Key>();
  uint64_t before = changes_.load(std::memory_order_acquire);
  for (;;) {
    uint64_t value = kNoRule;
    if (const MaskList<Key>* masks = s.masks.load(std::memory_order_acquire))
      for (const Mask<Key>& m : *masks)
        if (m.protocol == flow.protocol && s.rules->find(masked(flow, m.bits, m.number), value))
          break;
    const uint64_t after = changes_.load(std::memory_order_acquire);
    if (before == after) [[likely]]
      return value;
    before = after;
  }
}
template uint64_t RuleTable::lookup(const FlowKey4&) const noexcept;
template uint64_t RuleTable::lookup(const FlowKey6&) const noexcept;

void RuleTable::begin_change() noexcept {
  changes_.store(changes_.load(std::memory_order_relaxed) + 1, std::memory_order_release);
}

bool RuleTable::is_valid(const RuleMatch& m) noexcept {
  const unsigned most = m.local.address.is_ip4 ? 32 : 128;
  return m.local.address.is_ip4 == m.remote.address.is_ip4 && m.local.length <= most &&
         m.remote.length <= most;
}

RuleMatch RuleTable::normal(RuleMatch m) noexcept {
  for (IpPrefix* p : {&m.local, &m.remote}) {
    const auto bits = leading_bits<Ip6Address>(p->length);
    for (std::size_t i = 0; i < bits.bytes.size(); ++i) p->address.bits.bytes[i] &= bits.bytes[i];
  }
  return m;
}

Status RuleTable::add(const RuleMatch& m, uint64_t value) {
  if (!is_valid(m)) return Status::kInvalid;
  return m.local.address.is_ip4 ? add_to<FlowKey4>(m, value) : add_to<FlowKey6>(m, value);
}

Status RuleTable::del(const RuleMatch& m) {
  if (!is_valid(m)) return Status::kNotFound;
  return m.local.address.is_ip4 ? del_from<FlowKey4>(m) : del_from<FlowKey6>(m);
}

std::optional<uint64_t> RuleTable::find_exact(const RuleMatch& m) const {
  if (!is_valid(m)) return std::nullopt;
  return m.local.address.is_ip4 ? find_in<FlowKey4>(m) : find_in<FlowKey6>(m);
}

uint32_t RuleTable::masks(bool ip4) const noexcept {
  const auto count = [](const auto* list) { return list ? list->size() : 0; };
  return static_cast<uint32_t>(ip4 ? count(side4_.masks.load()) : count(side6_.masks.load()));
}

template <class Key>
RuleTable::Mask<Key> RuleTable::mask_of(const RuleMatch& match, uint32_t number) noexcept {
  Mask<Key> m;
  m.protocol = match.protocol;
  m.local_length = match.local.length;
  m.remote_length = match.remote.length;
  m.local_port = match.local_port != 0;
  m.remote_port = match.remote_port != 0;
  m.bits.local = leading_bits<decltype(m.bits.local)>(m.local_length);
  m.bits.remote = leading_bits<decltype(m.bits.remote)>(m.remote_length);
  m.bits.local_port = m.local_port ? uint16_t{0xffff} : uint16_t{0};
  m.bits.remote_port = m.remote_port ? uint16_t{0xffff} : uint16_t{0};
  m.bits.protocol = 0xff;
  m.number.fib_index = static_cast<uint16_t>(number);
  return m;
}

template <class Key>
const RuleTable::Mask<Key>* RuleTable::find_mask(const Side<Key>& s,
                                                 const RuleMatch& match) noexcept {
  if (const MaskList<Key>* masks = s.masks.load(std::memory_order_relaxed))
    for (const Mask<Key>& m : *masks)
      if (m.is_of(match)) return &m;
  return nullptr;
}

template <class Key>
void RuleTable::publish(Side<Key>& s, MaskList<Key> list) {
  const MaskList<Key>* next = list.empty() ? nullptr : new MaskList<Key>(std::move(list));
  const MaskList<Key>* old = s.masks.exchange(next, std::memory_order_acq_rel);
  if (old) defer_([old = std::shared_ptr<const MaskList<Key>>(old)] {});
}

template <class Key>
Status RuleTable::add_to(const RuleMatch& match, uint64_t value) {
  Side<Key>& s = side<Key>();
  if (const Mask<Key>* m = find_mask(s, match)) {
    const auto key = masked(flow_of<Key>(match), m->bits, m->number);
    const bool is_new = !s.rules->find(key);
    begin_change();
    const Status status = s.rules->add(key, value);
    if (status == Status::kOk && is_new) ++s.uses[m->number.fib_index];
    return status;
  }
  const auto unused = std::find(s.uses.begin(), s.uses.end(), 0u);
  if (unused == s.uses.end()) return Status::kNoMemory;
  const auto m = mask_of<Key>(match, static_cast<uint32_t>(unused - s.uses.begin()));
  begin_change();
  const auto key = masked(flow_of<Key>(match), m.bits, m.number);
  if (const Status status = s.rules->add(key, value); status != Status::kOk) return status;
  *unused = 1;
  const MaskList<Key>* now = s.masks.load(std::memory_order_relaxed);
  MaskList<Key> list = now ? *now : MaskList<Key>{};
  list.insert(std::find_if(list.begin(), list.end(),
                           [&](const auto& other) { return m.goes_before(other); }),
              m);
  publish(s, std::move(list));  // the rule is there before it is looked for
  return Status::kOk;
}

template <class Key>
Status RuleTable::del_from(const RuleMatch& match) {
  Side<Key>& s = side<Key>();
  const Mask<Key>* m = find_mask(s, match);
  if (!m) return Status::kNotFound;
  const auto key = masked(flow_of<Key>(match), m->bits, m->number);
  if (!s.rules->find(key)) return Status::kNotFound;
  begin_change();
  if (const Status status = s.rules->del(key); status != Status::kOk) return status;
  if (--s.uses[m->number.fib_index] != 0) return Status::kOk;
  MaskList<Key> list = *s.masks.load(std::memory_order_relaxed);
  std::erase_if(list, [&](const auto& other) { return other.is_of(match); });
  publish(s, std::move(list));
  return Status::kOk;
}

template <class Key>
std::optional<uint64_t> RuleTable::find_in(const RuleMatch& match) const {
  const Side<Key>& s = side<Key>();
  const Mask<Key>* m = find_mask(s, match);
  return m ? s.rules->find(masked(flow_of<Key>(match), m->bits, m->number)) : std::nullopt;
}

}  // namespace loom::session
