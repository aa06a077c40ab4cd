// Of each slot of a pool: whether it is in use, and its generation. One byte a slot, beside the
// slots, as the pages of those come and go; and so do the pages of these. A range of addresses for
// all there may be is reserved at the beginning, so that nothing is copied when there are more.
//
// A page that holds no slot in use goes back, and with it the generations. All its slots then begin
// with the latest one that any of them had come to, which is behind all that were given out there
// as long as they are not further apart than kMostSpread; if they are, the page stays, for a byte a
// slot. So no id comes a second time before 64 - kMostSpread of its page's slots, counting each
// time that one is used, have been freed since: a slot's generation goes on by one each time it is
// freed, and by what others of its page are ahead of it when the page goes, which is what they were
// ahead before, or have been freed since. Ids are held for a few frames.
//
// Threads: one at a time.
#pragma once
#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

namespace loom::tcp {

class Marks {
 public:
  static constexpr uint8_t kGenerationMask = 0x3f;
  static constexpr uint32_t kPage = 4096;
  static constexpr uint8_t kMostSpread = 16;

  explicit Marks(uint32_t limit)
      : pages_(limit / kPage + 1), marks_(static_cast<uint8_t*>(map(pages_.size() * kPage))) {}
  ~Marks() {
    if (marks_) munmap(marks_, pages_.size() * kPage);
  }
  Marks(const Marks&) = delete;
  Marks& operator=(const Marks&) = delete;

  bool has_memory() const noexcept { return marks_ != nullptr; }  // without it: nothing else
  // Below the limit, all of them. take() and free() return the generation from then on.
  uint8_t take(uint32_t i) noexcept {
    Page& page = pages_[i / kPage];
    const uint8_t generation = marks_[i] & kKnown ? marks_[i] & kGenerationMask : page.first;
    marks_[i] = kUsed | kKnown | generation;
    ++page.used;
    return generation;
  }
  uint8_t free(uint32_t i) noexcept {
    Page& page = pages_[i / kPage];
    const uint8_t generation = (marks_[i] + 1) & kGenerationMask;
    marks_[i] = kKnown | generation;
    // Beyond kMostSpread it may wrap, and no longer matters.
    page.spread = std::max<uint8_t>(page.spread, (generation - page.first) & kGenerationMask);
    // Not the first: few objects that come and go ask nothing of the kernel.
    if (--page.used != 0 || i < kPage || page.spread > kMostSpread) return generation;
    page.first = (page.first + std::exchange(page.spread, uint8_t{0})) & kGenerationMask;
    (void)madvise(marks_ + i / kPage * kPage, kPage, MADV_DONTNEED);
    return generation;
  }
  bool is_used(uint32_t i) const noexcept { return marks_[i] & kUsed; }
  bool is_used(uint32_t i, uint32_t generation) const noexcept {
    return marks_[i] == (kUsed | kKnown | generation);
  }
  const uint8_t* at(uint32_t i) const noexcept { return marks_ + i; }

 private:
  // Without any bit: the page is as it came from the kernel.
  static constexpr uint8_t kUsed = 0x80, kKnown = 0x40;
  struct Page {
    uint16_t used = 0;
    uint8_t first = 0;   // generation of slots that are not known: none is behind it
    uint8_t spread = 0;  // how far the others are ahead of it at most
  };

  static void* map(std::size_t bytes) noexcept {
    void* p = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) return nullptr;
    (void)madvise(p, bytes, MADV_NOHUGEPAGE);
    return p;
  }

  std::vector<Page> pages_;
  uint8_t* marks_;
};

}  // namespace loom::tcp
