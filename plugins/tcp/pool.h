// Objects of one kind on one worker: stable addresses, handles with a generation, freed slots
// reused first. Grows by blocks, so that opening a connection allocates once in kBlock times; never
// shrinks while the worker lives. T has a member `ConnId id`, set here.
//
//   id:  kind:2 | generation:6 | index:24
//
// The generation catches handles that outlived their object by a few frames (a segment on its way
// between two nodes); kind says which pool an id of the flow table belongs to.
#pragma once
#include <array>
#include <memory>
#include <new>
#include <vector>

#include <hostloom/session.h>

namespace loom::tcp {

enum class IdKind : uint8_t { kConnection, kHalfOpen, kTimeWait, kListener };

constexpr uint32_t kIdIndexBits = 24;
constexpr uint32_t kIdIndexMask = (1u << kIdIndexBits) - 1;
constexpr uint32_t kIdGenerationMask = 0x3f;

constexpr IdKind kind_of(ConnId id) noexcept { return static_cast<IdKind>(id >> 30); }

template <class T, IdKind kKind>
class Pool {
 public:
  explicit Pool(uint32_t limit) noexcept : limit_(std::min(limit, kIdIndexMask)) {}
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  // A value-initialised object, or nullptr at the limit or without memory.
  T* alloc() noexcept {
    if (free_head_ == kNone && !grow()) return nullptr;
    const uint32_t index = free_head_;
    Slot& s = slot(index);
    free_head_ = s.next_free;
    s.used = true;
    __atomic_store_n(&size_, size_ + 1, __ATOMIC_RELAXED);
    T* object = new (s.storage) T();
    object->id = static_cast<ConnId>(kKind) << 30 | uint32_t{s.generation} << kIdIndexBits | index;
    return object;
  }
  void free(T& object) noexcept {
    const uint32_t index = object.id & kIdIndexMask;
    Slot& s = slot(index);
    object.~T();
    s.used = false;
    s.generation = (s.generation + 1) & kIdGenerationMask;
    s.next_free = free_head_;
    free_head_ = index;
    __atomic_store_n(&size_, size_ - 1, __ATOMIC_RELAXED);
  }
  // nullptr when `id` is of another kind, stale, or was never handed out.
  T* find(ConnId id) noexcept {
    const uint32_t index = id & kIdIndexMask;
    if (kind_of(id) != kKind || index >= blocks_.size() * kBlock) return nullptr;
    Slot& s = slot(index);
    if (!s.used || s.generation != (id >> kIdIndexBits & kIdGenerationMask)) return nullptr;
    return s.object();
  }
  // Slots are below this. For visits by position, while objects come and go.
  uint32_t end() const noexcept { return static_cast<uint32_t>(blocks_.size()) * kBlock; }
  T* at(uint32_t index) noexcept {  // nullptr when the slot is free
    Slot& s = slot(index);
    return s.used ? s.object() : nullptr;
  }
  uint32_t size() const noexcept {
    return __atomic_load_n(&size_, __ATOMIC_RELAXED);
  }  // any thread
  bool is_full() const noexcept { return size_ >= limit_; }

  template <class F>
  void for_each(F&& f) {
    for (auto& block : blocks_)
      for (Slot& s : *block)
        if (s.used) f(*s.object());
  }

 private:
  static constexpr uint32_t kBlock = 64;
  static constexpr uint32_t kNone = ~0u;
  struct Slot {
    alignas(T) std::byte storage[sizeof(T)];
    uint32_t next_free = kNone;
    uint8_t generation = 0;
    bool used = false;
    T* object() noexcept { return std::launder(reinterpret_cast<T*>(storage)); }
  };
  using Block = std::array<Slot, kBlock>;

  Slot& slot(uint32_t index) noexcept { return (*blocks_[index / kBlock])[index % kBlock]; }
  bool grow() noexcept {
    const auto first = static_cast<uint32_t>(blocks_.size() * kBlock);
    if (first >= limit_) return false;
    std::unique_ptr<Block> block(new (std::nothrow) Block);
    if (!block) return false;
    const uint32_t n = std::min(kBlock, limit_ - first);
    for (uint32_t i = n; i-- > 0;) {
      (*block)[i].next_free = free_head_;
      free_head_ = first + i;
    }
    blocks_.push_back(std::move(block));
    return true;
  }

  std::vector<std::unique_ptr<Block>> blocks_;
  uint32_t limit_;
  uint32_t free_head_ = kNone;
  uint32_t size_ = 0;
};

}  // namespace loom::tcp
