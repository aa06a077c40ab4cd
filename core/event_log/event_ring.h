// The latest events of one thread: a ring that its thread writes and any thread may read meanwhile.
//
// Writing takes no lock and allocates nothing: some twenty stores. A slot begins with its event's
// number, odd while it is being written; a reader that finds another number before or after takes
// the slot for overwritten. Every word is atomic, so that this is no data race.
#pragma once
#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <hostloom/check.h>
#include <hostloom/types.h>

namespace loom {

enum class EventKind : uint16_t;  // event_log.h

struct LoggedEvent {
  TimeNs time = 0;  // the workers' clock
  EventKind kind{};
  uint32_t thread = 0;  // 0: control; 1 + i: worker i
  uint32_t number = 0;  // what these three mean: EventKind
  uint64_t value = 0;
  std::string text;
};

class EventRing {
 public:
  static constexpr std::size_t kMostText = 95;  // bytes; what is longer is cut

  explicit EventRing(std::size_t size)
      : size_(size), slots_(static_cast<Slot*>(std::calloc(size, sizeof(Slot)))) {
    LOOM_CHECK(size != 0);
  }
  bool has_memory() const noexcept { return slots_ != nullptr; }  // or it cannot be used

  // The one thread that writes.
  void write(TimeNs time, EventKind kind, uint32_t number, uint64_t value,
             std::string_view text) noexcept {
    const uint64_t n = count_.load(std::memory_order_relaxed);
    Slot& s = slots_[at_];
    at_ = at_ + 1 == size_ ? 0 : at_ + 1;
    s[kSequence].store(2 * n + 1, std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_release);
    s[kTime].store(static_cast<uint64_t>(time), std::memory_order_relaxed);
    s[kKind].store(uint64_t{static_cast<uint16_t>(kind)} << 32 | number, std::memory_order_relaxed);
    s[kValue].store(value, std::memory_order_relaxed);
    std::array<uint64_t, kTextWords> words{};
    const std::size_t length = std::min(text.size(), kMostText);
    if (length != 0) std::memcpy(words.data(), text.data(), length);  // an empty view may be of nothing
    for (std::size_t i = 0; i <= length / 8; ++i)  // with the zero at the end
      s[kText + i].store(words[i], std::memory_order_relaxed);
    s[kSequence].store(2 * n + 2, std::memory_order_release);
    count_.store(n + 1, std::memory_order_release);
  }

  // Any thread. How many have been written in all.
  uint64_t count() const noexcept { return count_.load(std::memory_order_acquire); }
  // Any thread. Appends those from number `first` on that are still there, oldest first.
  void read(uint64_t first, uint32_t thread, std::vector<LoggedEvent>& out) const {
    const uint64_t end = count();
    if (end > size_) first = std::max(first, end - size_);
    for (uint64_t n = first; n < end; ++n) {
      const Slot& s = slots_[n % size_];
      if (s[kSequence].load(std::memory_order_acquire) != 2 * n + 2) continue;
      LoggedEvent e;
      e.thread = thread;
      e.time = static_cast<TimeNs>(s[kTime].load(std::memory_order_relaxed));
      const uint64_t kind = s[kKind].load(std::memory_order_relaxed);
      e.kind = static_cast<EventKind>(kind >> 32);
      e.number = static_cast<uint32_t>(kind);
      e.value = s[kValue].load(std::memory_order_relaxed);
      std::array<uint64_t, kTextWords> words;
      for (std::size_t i = 0; i < kTextWords; ++i)
        words[i] = s[kText + i].load(std::memory_order_relaxed);
      std::atomic_thread_fence(std::memory_order_acquire);
      if (s[kSequence].load(std::memory_order_relaxed) != 2 * n + 2) continue;
      const auto* text = reinterpret_cast<const char*>(words.data());
      e.text.assign(text, strnlen(text, kMostText));
      out.push_back(std::move(e));
    }
  }
  std::size_t size() const noexcept { return size_; }

 private:
  enum Word : std::size_t { kSequence, kTime, kKind, kValue, kText, kWords = 16 };
  static constexpr std::size_t kTextWords = kWords - kText;
  static_assert(kTextWords * 8 == kMostText + 1);
  using Slot = std::array<std::atomic<uint64_t>, kWords>;
  static_assert(sizeof(Slot) == 128);
  struct Freer {
    void operator()(void* p) const noexcept { std::free(p); }
  };

  std::size_t size_;
  std::size_t at_ = 0;
  std::unique_ptr<Slot[], Freer> slots_;  // memory is touched only as it fills
  std::atomic<uint64_t> count_{0};
};

}  // namespace loom
