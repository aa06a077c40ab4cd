// From a small number (a file descriptor, a session index) to the object behind it. Readers take no
// lock; writers are the system calls that change descriptors, serialised per slot by their meaning.
//
// A slot holds an object, or one of the marks for descriptors that stay the kernel's.
#pragma once
#include <array>
#include <atomic>
#include <memory>
#include <utility>

#include "vcl/object.h"

namespace loom::vcl {

class ObjectTable {
 public:
  static constexpr uint32_t kSize = 1u << 20;
  // Marks, stored where a pointer would be.
  static constexpr uintptr_t kNone = 0;
  static constexpr uintptr_t kCandidate = 1;  // a kernel socket that may still become a session
  static constexpr uintptr_t kInternal = 2;   // the library's own
  static constexpr uintptr_t kLastMark = 7;

  // kNone for numbers that are out of range.
  uintptr_t raw(int i) const noexcept {
    const Slots* s = slots(i);
    return s ? (*s)[static_cast<uint32_t>(i) % kPerChunk].load(std::memory_order_acquire) : kNone;
  }
  bool holds_object(int i) const noexcept { return raw(i) > kLastMark; }

  // A reference to the object at i; empty when there is none.
  Held<Object> get(int i) const noexcept {
    const uintptr_t found = raw(i);
    if (found <= kLastMark) [[likely]]
      return {};
    return get_object(i, found);
  }

  // Replaces what is at i. False: i is out of range, or there is no memory.
  bool set(int i, uintptr_t value, uintptr_t* old = nullptr) noexcept {
    Slots* s = slots_for_writing(i);
    if (!s) return false;
    const uintptr_t before =
        (*s)[static_cast<uint32_t>(i) % kPerChunk].exchange(value, std::memory_order_acq_rel);
    if (old) *old = before;
    return true;
  }
  // Takes over the reference that the caller has.
  bool set(int i, Object* o) noexcept { return set(i, reinterpret_cast<uintptr_t>(o)); }
  // Empties i and returns what was there; an object comes with its reference.
  uintptr_t take(int i) noexcept {
    Slots* s = slots(i);
    if (!s || (*s)[static_cast<uint32_t>(i) % kPerChunk].load(std::memory_order_relaxed) == kNone)
      return kNone;
    return (*s)[static_cast<uint32_t>(i) % kPerChunk].exchange(kNone, std::memory_order_acq_rel);
  }
  // Numbers at or above this were never set.
  int end() const noexcept { return end_.load(std::memory_order_relaxed); }

 private:
  static constexpr uint32_t kPerChunk = 4096;
  using Slots = std::array<std::atomic<uintptr_t>, kPerChunk>;

  Slots* slots(int i) const noexcept {
    return static_cast<uint32_t>(i) < kSize
               ? chunks_[static_cast<uint32_t>(i) / kPerChunk].load(std::memory_order_acquire)
               : nullptr;
  }
  Slots* slots_for_writing(int i) noexcept {
    if (static_cast<uint32_t>(i) >= kSize) return nullptr;
    int end = end_.load(std::memory_order_relaxed);
    while (i >= end && !end_.compare_exchange_weak(end, i + 1)) {}
    auto& place = chunks_[static_cast<uint32_t>(i) / kPerChunk];
    Slots* s = place.load(std::memory_order_acquire);
    if (s) return s;
    auto* fresh = new (std::nothrow) Slots{};
    if (!fresh) return nullptr;
    if (place.compare_exchange_strong(s, fresh)) return fresh;
    delete fresh;
    return s;
  }
  Held<Object> get_object(int i, uintptr_t found) const noexcept {
    while (found > kLastMark) {
      auto* o = reinterpret_cast<Object*>(found);
      const bool got = o->try_ref();
      const uintptr_t again = raw(i);
      if (got && again == found) return Held<Object>(o);
      if (got) o->unref();  // it was closed, and used again, in between
      if (!got && again == found) return {};
      found = again;
    }
    return {};
  }

  std::array<std::atomic<Slots*>, kSize / kPerChunk> chunks_{};
  std::atomic<int> end_{0};
};

}  // namespace loom::vcl
