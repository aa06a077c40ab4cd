// Objects of one kind on one worker: stable addresses, handles with a generation, freed slots
// reused first. Grows as SlotBlocks does, and what many connections took goes back to the kernel
// when they have gone. T has a member `ConnId id`, set here.
//
//   id:  kind:2 | 1 | generation:6 | index:23
//
// The generation catches handles that outlived their object by a few frames (a segment on its way
// between two nodes); kind says which pool an id of the flow table belongs to. A slot without an
// object has no id, but zeros or a small number (SlotBlocks): the 1 is in no such. So to find an
// object is to look at it, and with very many no other line is out of the cache.
#pragma once
#include <algorithm>
#include <new>

#include <hostloom/session.h>
#include <hostloom/slots.h>

#include "marks.h"

namespace loom::tcp {

enum class IdKind : uint8_t { kConnection, kHalfOpen, kTimeWait, kListener };

constexpr uint32_t kIdIndexBits = 23;
constexpr uint32_t kIdIndexMask = (1u << kIdIndexBits) - 1;
constexpr uint32_t kIdIsOne = Marks::kGenerationMask + 1;  // above the index, with a generation

constexpr IdKind kind_of(ConnId id) noexcept { return static_cast<IdKind>(id >> 30); }

template <class T, IdKind kKind>
class Pool {
 public:
  explicit Pool(uint32_t limit) noexcept
      : limit_(std::min(limit, kIdIndexMask)), slots_(limit_), marks_(limit_) {}
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  // See SlotBlocks::use.
  void use(Worker& worker) noexcept { slots_.use(worker); }
  // A value-initialised object, or nullptr at the limit or without memory.
  T* alloc() noexcept {
    if (!marks_.has_memory()) return nullptr;
    const uint32_t index = slots_.take();
    if (index == slots_.kNone) return nullptr;
    __atomic_store_n(&size_, size_ + 1, __ATOMIC_RELAXED);
    T* object = new (&slots_.at(index)) T();
    object->id =
        static_cast<ConnId>(kKind) << 30 | (kIdIsOne | marks_.take(index)) << kIdIndexBits | index;
    return object;
  }
  void free(T& object) noexcept {
    const uint32_t index = object.id & kIdIndexMask;
    object.~T();
    (void)marks_.free(index);
    slots_.give(index);
    __atomic_store_n(&size_, size_ - 1, __ATOMIC_RELAXED);
  }
  // nullptr when `id` is of another kind, stale, or was never handed out.
  T* find(ConnId id) noexcept {
    const uint32_t index = id & kIdIndexMask;
    if (kind_of(id) != kKind || index >= end() || !(id >> kIdIndexBits & kIdIsOne)) return nullptr;
    T& object = slots_.at(index);
    return object.id == id ? &object : nullptr;
  }
  // Fetches into the cache what find() and its caller will look at. Changes nothing.
  void prefetch(ConnId id) const noexcept {
    const uint32_t index = id & kIdIndexMask;
    if (index >= end()) return;
    const auto* p = reinterpret_cast<const std::byte*>(&slots_.at(index));
    for (std::size_t at = 0; at < sizeof(T); at += kCacheLine) __builtin_prefetch(p + at);
  }
  // Slots are below this. For visits by position, while objects come and go.
  uint32_t end() const noexcept { return std::min(slots_.end(), limit_); }
  T* at(uint32_t index) noexcept {  // nullptr when the slot is free
    return marks_.is_used(index) ? &slots_.at(index) : nullptr;
  }
  uint32_t size() const noexcept {
    return __atomic_load_n(&size_, __ATOMIC_RELAXED);
  }  // any thread
  bool is_full() const noexcept { return size_ >= limit_; }

  template <class F>
  void for_each(F&& f) {
    for (uint32_t i = 0; i < end(); ++i)
      if (T* object = at(i)) f(*object);
  }

 private:
  static constexpr uint32_t kBlock = 64;

  uint32_t limit_;
  SlotBlocks<T, &T::id, kBlock> slots_;
  Marks marks_;
  uint32_t size_ = 0;
};

}  // namespace loom::tcp
