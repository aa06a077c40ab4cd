#include "memif_link.h"

#include <array>

namespace loom::memif {
namespace {

typedef uint64_t __attribute__((may_alias)) Word;

constexpr const char* kNames[] = {"",           "bad-cursor", "bad-chain",
                                  "bad-region", "bad-range",  "bad-length"};
constexpr const char* kReasons[] = {
    "",
    "Ring cursor is beyond the ring",
    "Packet chain has no end",
    "Descriptor of an unknown region",
    "Descriptor leads out of its region",
    "Descriptor of an empty buffer",
};
static_assert(std::size(kNames) == static_cast<std::size_t>(Fault::kCount) &&
              std::size(kReasons) == std::size(kNames));

}  // namespace

const char* fault_name(Fault f) noexcept { return kNames[static_cast<std::size_t>(f)]; }
const char* fault_reason(Fault f) noexcept { return kReasons[static_cast<std::size_t>(f)]; }

Descriptor Ring::read(uint16_t slot) const noexcept {
  const auto* words = reinterpret_cast<const Word*>(&shared->descriptors[slot & mask]);
  const uint64_t copy[2] = {__atomic_load_n(&words[0], __ATOMIC_RELAXED),
                            __atomic_load_n(&words[1], __ATOMIC_RELAXED)};
  Descriptor d;
  std::memcpy(&d, copy, sizeof d);
  return d;
}

// Everything when the slot is ours: what the peer has made of it does not matter then. In a slot
// that the peer offers, where its buffer is stays as it is.
void Ring::write(uint16_t slot, uint16_t flags, uint32_t length) noexcept {
  const uint16_t i = slot & mask;
  Descriptor& d = shared->descriptors[i];
  if (own.base) {
    __atomic_store_n(&d.region, uint16_t{0}, __ATOMIC_RELAXED);
    __atomic_store_n(&d.offset, own.offset + i * own.stride, __ATOMIC_RELAXED);
  }
  __atomic_store_n(&d.flags, flags, __ATOMIC_RELAXED);
  __atomic_store_n(&d.length, length, __ATOMIC_RELAXED);
}

void RxRing::release(uint16_t n) noexcept {
  // A slot of ours goes round once: released, it is offered again.
  if (own.base)
    for (uint16_t i = 0; i < n; ++i) write(static_cast<uint16_t>(next + i), 0, own.size);
  next = static_cast<uint16_t>(next + n);
  publish(own.base ? static_cast<uint16_t>(next + size()) : next);
}

void RxRing::set_masked(bool masked) noexcept {
  is_masked = masked;
  __atomic_store_n(&shared->flags, masked ? kRingMaskInterrupt : uint16_t{0}, __ATOMIC_RELAXED);
  // Whoever goes on to look whether there are packets sees those of a sender that has not seen it.
  if (!masked) std::atomic_thread_fence(std::memory_order_seq_cst);
}

void TxRing::send() noexcept {
  publish(next);
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (!(__atomic_load_n(&shared->flags, __ATOMIC_RELAXED) & kRingMaskInterrupt)) bell.ring();
}

void Link::offer_buffers() noexcept {
  for (const auto& r : rx)
    if (r->own.base) r->publish(static_cast<uint16_t>(r->size()));
}

}  // namespace loom::memif
