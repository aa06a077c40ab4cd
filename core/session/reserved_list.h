// A list that may become as long as there are sessions: it grows without moving what is there, and
// asks nothing of the allocator, whose locks a worker would share. Addresses for the longest there
// may be are reserved at the beginning; pages come as they are used, and go back when the list has
// become much shorter.
//
// Cost: now and then a system call, for no more than 256 KB.
#pragma once
#include <sys/mman.h>

#include <algorithm>
#include <cstddef>
#include <type_traits>

namespace loom::session {

template <class T>
class ReservedList {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  static constexpr std::size_t kMost = std::size_t{1} << 28;

  ReservedList() noexcept {
    // Inaccessible, so that a system that counts what it has promised does not count all of it.
    void* p = mmap(nullptr, kMost * sizeof(T), PROT_NONE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p != MAP_FAILED) items_ = static_cast<T*>(p);
  }
  ~ReservedList() {
    if (items_) munmap(items_, kMost * sizeof(T));
  }
  ReservedList(const ReservedList&) = delete;
  ReservedList& operator=(const ReservedList&) = delete;

  bool has_memory() const noexcept { return items_ != nullptr; }  // without it: nothing else
  std::size_t size() const noexcept { return size_; }
  bool empty() const noexcept { return size_ == 0; }
  T& operator[](std::size_t i) noexcept { return items_[i]; }
  T& back() noexcept { return items_[size_ - 1]; }
  // False: it is as long as may be, or there is no memory.
  bool push_back(const T& item) noexcept {
    if (size_ == open_ && !open_more()) return false;
    items_[size_++] = item;
    touched_ = std::max(touched_, size_);
    return true;
  }
  void pop_back() noexcept {
    --size_;
    if (touched_ <= kFew || size_ >= touched_ / 4) return;
    const std::size_t from =
        (std::max(2 * size_, touched_ - std::min(touched_, kStep)) + kPerPage - 1) / kPerPage *
        kPerPage;
    if (from < touched_) (void)madvise(items_ + from, (touched_ - from) * sizeof(T), MADV_DONTNEED);
    touched_ = std::min(touched_, from);
  }

 private:
  static constexpr std::size_t kPerPage = 4096 / sizeof(T);
  static constexpr std::size_t kStep = 64 * kPerPage;  // at a time
  static constexpr std::size_t kFew = 16 * kPerPage;   // keep their pages
  static_assert(4096 % sizeof(T) == 0 && kMost % kStep == 0);

  bool open_more() noexcept {
    if (open_ == kMost || mprotect(items_ + open_, kStep * sizeof(T), PROT_READ | PROT_WRITE) != 0)
      return false;
    (void)madvise(items_ + open_, kStep * sizeof(T), MADV_NOHUGEPAGE);
    open_ += kStep;
    return true;
  }

  T* items_ = nullptr;
  std::size_t size_ = 0, touched_ = 0;  // so many may have pages
  std::size_t open_ = 0;                // for so many it is accessible
};

}  // namespace loom::session
