// Storage for many objects of one kind on one worker: slots with stable addresses, found by index.
// It grows by a block of slots at a time, whose pages the kernel gives when a slot is first used;
// the pages of blocks that have become empty go back, but for a few. Blocks beyond the first 4 MB
// share huge pages, where the system gives them (madvise(2)): what is looked at among very many
// objects lies far apart, and with small pages each look would miss the TLB. Once a block of a huge
// page has gone back, the others of it have small pages, until all have gone back.
//
// A huge page takes the kernel long, milliseconds where it has to get it from elsewhere. So the
// next one is fetched while the one before is being filled, and pages are given back, by the
// control thread (page_keeper.h); the worker waits for neither: what it needs before it has been
// fetched gets small pages.
//
// What a free slot holds: zeros, until it is first taken (and again after its block's pages went
// back); later whatever its last user left, but for the 32-bit member that kLink names, which is
// this class's. So an index that was handed out once may be looked at for ever.
//
// Threads: one at a time, the worker's if there is one. Cost of take() and give(): a few
// instructions, and once in kPerBlock times page faults, of small pages.
#pragma once
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <utility>
#include <vector>

#include <hostloom/page_keeper.h>

namespace loom {

template <class T, uint32_t T::*kLink, uint32_t kPerBlock>
class SlotBlocks {
 public:
  static constexpr uint32_t kNone = ~0u;

  explicit SlotBlocks(uint32_t limit = kNone) noexcept : limit_(limit) {}
  ~SlotBlocks() {
    keeper_.stop();
    if (singles_) munmap(singles_, kSingle * kBytes);
    while (n_spares_ != 0) munmap(spares_[--n_spares_], kExtent);
    for (const Extent& e : extents_) munmap(e.at, kExtent);
  }
  SlotBlocks(const SlotBlocks&) = delete;
  SlotBlocks& operator=(const SlotBlocks&) = delete;

  // The worker whose slots these are, which outlives them; once, before any is taken. Without one
  // the caller waits for the kernel.
  void use(Worker& worker) noexcept {
    keeper_.use(
        worker, [](void* self) { static_cast<SlotBlocks*>(self)->give_back(); }, this);
  }

  // The index of a free slot; kNone: at the limit, or no memory. Slots of one block follow each
  // other.
  uint32_t take() noexcept {
    if (partial_.first == kNone && !find_room()) return kNone;
    const uint32_t i = partial_.first;
    Block& b = blocks_[i];
    uint32_t slot = b.free;
    if (slot != kNoSlot) {
      uint32_t next;
      std::memcpy(&next, link(i, slot), sizeof next);
      b.free = static_cast<uint16_t>(next);
    } else {
      slot = b.fresh++;
    }
    ++b.used;
    if (!has_room(b, i)) unlink(partial_, i);
    return i * kPerBlock + slot;
  }
  void give(uint32_t index) noexcept {
    const uint32_t i = index / kPerBlock, slot = index % kPerBlock;
    Block& b = blocks_[i];
    if (!has_room(b, i)) push_front(partial_, i);
    const uint32_t next = b.free;
    std::memcpy(link(i, slot), &next, sizeof next);
    b.free = static_cast<uint16_t>(slot);
    if (--b.used != 0) return;
    unlink(partial_, i);
    push_front(empty_, i);
    ++n_empty_;
    const bool is_last = i >= kSingle && ++extent_of(i).empty == extent_of(i).warm;
    if (n_empty_ <= kept_ && !is_last) return;
    if (keeper_.has_worker())
      keeper_.come_back();
    else
      give_back();
  }

  T& at(uint32_t index) noexcept {  // below end()
    return *std::launder(reinterpret_cast<T*>(slots(index / kPerBlock) +
                                              std::size_t{index % kPerBlock} * sizeof(T)));
  }
  const T& at(uint32_t index) const noexcept { return const_cast<SlotBlocks*>(this)->at(index); }
  uint32_t end() const noexcept { return static_cast<uint32_t>(blocks_.size()) * kPerBlock; }

  // Addresses for at least n slots, so that nothing is asked of the kernel until more are in use;
  // with `touch` the pages, too. False: no memory, or beyond the limit.
  bool reserve(uint32_t n, bool touch) noexcept {
    while (end() < std::min(n, limit_))
      if (blocks_.size() < kSingle ? !add_single() : !add_extent(Pages::kHuge)) return false;
    if (touch)
      for (uint32_t i = 0; i < blocks_.size(); ++i)
        for (std::size_t at = 0; at < kBytes; at += PageKeeper::kPage)
          *const_cast<volatile std::byte*>(slots(i) + at) = slots(i)[at];
    kept_ = std::max<std::size_t>(kept_, blocks_.size());
    return n <= limit_ && end() >= n;
  }

 private:
  using Return = PageKeeper::Return;
  using Pages = PageKeeper::Pages;
  static constexpr std::size_t kBytes =
      (sizeof(T) * kPerBlock + PageKeeper::kPage - 1) & ~(PageKeeper::kPage - 1);
  static_assert(alignof(T) <= PageKeeper::kPage);
  static constexpr std::size_t kExtent = PageKeeper::kExtent;
  static constexpr uint32_t kPerExtent = kExtent / kBytes;
  static constexpr uint32_t kSingle = 2 * kPerExtent;  // the first blocks, of small pages
  static constexpr uint32_t kMostAhead = 2;            // extents that are fetched before their time
  // Who fills as much as an extent in less is in a hurry.
  static constexpr TimeNs kFast = 500 * kMillisecond;
  static constexpr uint16_t kNoSlot = 0xffff;
  static_assert(kPerBlock < kNoSlot);
  static_assert(kPerExtent > 0 && kPerExtent + 2 <= PageKeeper::kMostReturns);

  struct Block {
    uint16_t free = kNoSlot;  // list through kLink
    uint16_t fresh = 0;       // slots from here on were never taken
    uint16_t used = 0;
    bool is_away = false;                 // it alone is being given back
    uint32_t next = kNone, prev = kNone;  // in one of the lists, unless it is full
  };
  struct List {
    uint32_t first = kNone, last = kNone;
  };
  // Where kPerExtent blocks lie; at the limit fewer.
  struct Extent {
    enum class State : uint8_t {
      kCold,   // has no pages
      kAway,   // they are being fetched, or given back
      kAhead,  // has them, and nobody has used it
      kBegun,  // its blocks are used, or in empty_ or cold_
    };
    std::byte* at = nullptr;
    uint32_t warm = 0;   // blocks that have been used and have their pages
    uint32_t empty = 0;  // of them
    State state = State::kBegun;
    bool is_huge = true;  // or may be: of the begun one, no block of it has gone back
  };
  using State = Extent::State;

  std::byte* slots(uint32_t block) const noexcept {
    if (block < kSingle) return singles_ + std::size_t{block} * kBytes;
    const uint32_t i = block - kSingle;
    return extents_[i / kPerExtent].at + std::size_t{i % kPerExtent} * kBytes;
  }
  void* link(uint32_t block, uint32_t slot) const noexcept {
    T* object = reinterpret_cast<T*>(slots(block) + std::size_t{slot} * sizeof(T));
    return &(object->*kLink);
  }
  // Slots of block i, which are fewer in the last one before the limit.
  uint32_t slots_of(uint32_t i) const noexcept {
    return std::min(kPerBlock, limit_ - i * kPerBlock);
  }
  bool has_room(const Block& b, uint32_t i) const noexcept {
    return b.free != kNoSlot || b.fresh < slots_of(i);
  }
  Extent& extent_of(uint32_t i) noexcept { return extents_[(i - kSingle) / kPerExtent]; }

  uint32_t end_of_extent(uint32_t first) const noexcept {
    return std::min(first + kPerExtent, static_cast<uint32_t>(blocks_.size()));
  }
  uint32_t first_of(const Extent& e) const noexcept {
    return kSingle + static_cast<uint32_t>(&e - extents_.data()) * kPerExtent;
  }

  // Puts a block with room into partial_. What needs nothing of the kernel comes first.
  bool find_room() noexcept {
    uint32_t i = empty_.first;
    if (i != kNone) {
      unlink(empty_, i);
      --n_empty_;
      if (i >= kSingle) --extent_of(i).empty;
    } else {
      settle();
      if (!has_cold() && !begin()) {
        keeper_.hurry();
        settle();
        if (!has_cold() && !begin()) return false;
      }
      i = take_cold();
    }
    roomed_at_ = keeper_.now();
    push_front(partial_, i);
    return true;
  }
  bool has_cold() const noexcept { return cold_singles_.first != kNone || cold_.first != kNone; }
  uint32_t take_cold() noexcept {
    grown_at_ = keeper_.now();
    uint32_t i = cold_singles_.first;
    if (i != kNone) {
      unlink(cold_singles_, i);
      --n_cold_singles_;
      if (singles_left() == kSingle / 2) begun_at_ = grown_at_;
    } else {
      i = cold_.first;
      unlink(cold_, i);
      --n_cold_;
      ++extent_of(i).warm;
    }
    fetch_ahead();
    return i;
  }
  // Brings blocks into the cold lists. False: at the limit, or no memory.
  bool begin() noexcept {
    if (blocks_.size() < kSingle) return add_single();
    begun_at_ = keeper_.now();
    const auto e = std::ranges::find(extents_, State::kAhead, &Extent::state);
    if (e != extents_.end()) {
      --n_ahead_;
      begin(*e);
      return true;
    }
    const Pages pages = keeper_.has_worker() ? Pages::kSmall : Pages::kHuge;
    if (n_spares_ != 0 && add_extent(pages)) return true;
    const auto cold = std::ranges::find(extents_, State::kCold, &Extent::state);
    if (cold == extents_.end()) return add_extent(pages);
    begin(*cold);
    return true;
  }
  void begin(Extent& e) noexcept {
    e.state = State::kBegun;
    const uint32_t first = first_of(e);
    for (uint32_t i = first; i < end_of_extent(first); ++i) lay_cold(i);
  }
  void lay_cold(uint32_t i) noexcept {
    push_back(i < kSingle ? cold_singles_ : cold_, i);
    ++(i < kSingle ? n_cold_singles_ : n_cold_);
  }
  // New ones. False: at the limit, or no memory.
  bool add_single() noexcept {
    const auto i = static_cast<uint32_t>(blocks_.size());
    if (end() >= limit_ || !make_room(blocks_, i + 1) || (!singles_ && !map_singles()))
      return false;
    blocks_.emplace_back();
    lay_cold(i);
    return true;
  }
  // `pages`: of one that was not fetched.
  bool add_extent(Pages pages) noexcept {
    if (end() >= limit_) return false;
    const auto i = static_cast<uint32_t>(blocks_.size());
    const uint32_t n = std::min(kPerExtent, (limit_ - 1) / kPerBlock + 1 - i);
    if (!make_room(blocks_, i + n) || !make_room(extents_, extents_.size() + 1)) return false;
    if (n_spares_ != 0) pages = Pages::kHuge;
    std::byte* at = n_spares_ != 0 ? spares_[--n_spares_] : PageKeeper::map_extent(pages);
    if (!at) return false;
    blocks_.resize(i + n);
    extents_.push_back({.at = at, .is_huge = pages == Pages::kHuge});
    begin(extents_.back());
    return true;
  }
  template <class V>
  static bool make_room(V& v, std::size_t n) noexcept {
    try {
      if (n > v.capacity()) v.reserve(std::max(n, 2 * v.capacity()));
    } catch (const std::bad_alloc&) {
      return false;
    }
    return true;
  }
  bool map_singles() noexcept {
    void* p = mmap(nullptr, kSingle * kBytes, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) return false;
    singles_ = static_cast<std::byte*>(p);
    // One touched slot must not cost 2 MB.
    (void)madvise(p, kSingle * kBytes, MADV_NOHUGEPAGE);
    return true;
  }

  // --- Together with the control thread

  // Small pages that were not used so far, or have gone back.
  uint32_t singles_left() const noexcept {
    return n_cold_singles_ + kSingle - std::min(kSingle, static_cast<uint32_t>(blocks_.size()));
  }
  // How many extents should lie ready: none that will not be needed for a while.
  uint32_t wanted_ahead() const noexcept {
    if (singles_left() > kSingle / 2) return 0;
    if (begun_at_ != 0 && keeper_.now() - begun_at_ < kFast) return kMostAhead;
    return singles_left() + n_cold_ + n_empty_ < kPerExtent / 4 ? 1 : 0;
  }
  void fetch_ahead() noexcept {
    if (!keeper_.has_worker() || keeper_.is_fetching() || n_spares_ + n_ahead_ >= wanted_ahead())
      return;
    const auto e = std::ranges::find(extents_, State::kCold, &Extent::state);
    if (e != extents_.end()) {
      e->state = State::kAway;
      fetched_ = static_cast<uint32_t>(e - extents_.begin());
      keeper_.fetch(e->at);
    } else if (end() + std::size_t{n_spares_} * kPerExtent * kPerBlock < limit_) {
      keeper_.fetch(nullptr);
    } else {
      return;
    }
    keeper_.come_back(PageKeeper::kAWhile);
  }
  // Takes over what the control thread has done.
  void settle() noexcept {
    if (keeper_.has_returned()) {
      while (away_ != kNone) {
        const uint32_t i = std::exchange(away_, blocks_[away_].next);
        blocks_[i].is_away = false;
        lay_cold(i);
      }
      for (uint32_t e = 0; e < extents_.size(); ++e)
        if (extents_[e].state == State::kAway && e != fetched_) extents_[e].state = State::kCold;
    }
    std::byte* at = nullptr;
    if (!keeper_.has_fetched(at)) return;
    if (fetched_ != kNone) {
      Extent& e = extents_[std::exchange(fetched_, kNone)];
      e.state = State::kAhead;
      e.is_huge = true;
      ++n_ahead_;
    } else if (at) {
      spares_[n_spares_++] = at;
    }
  }
  // What is empty, but for kept_ blocks; and what has not been needed for a while.
  void give_back() noexcept {
    settle();
    if (!keeper_.is_returning()) {
      while (n_empty_ > kept_ && keeper_.has_room(returns_of(empty_.last))) give_back(empty_.last);
      if (is_quiet_since(roomed_at_)) give_empty();
      if (is_quiet_since(grown_at_)) give_ahead();
      keeper_.send();
      settle();
    }
    if (n_empty_ > kept_ || keeper_.is_returning())
      keeper_.come_back();
    else if (keeper_.is_fetching() || n_spares_ + n_ahead_ > wanted_ahead() || has_empty_extent())
      keeper_.come_back(PageKeeper::kAWhile);
  }
  bool is_quiet_since(TimeNs at) const noexcept {
    return !keeper_.has_worker() || keeper_.now() - at >= PageKeeper::kAWhile;
  }
  static bool is_empty(const Extent& e) noexcept { return e.warm != 0 && e.warm == e.empty; }
  bool has_empty_extent() const noexcept {
    return kept_ == kFew && std::ranges::any_of(extents_, is_empty);
  }
  uint32_t returns_of(uint32_t i) noexcept {
    return i < kSingle || is_empty(extent_of(i)) || !extent_of(i).is_huge ? 1 : kPerExtent + 2;
  }
  void give_back(uint32_t i) noexcept {
    if (i < kSingle) return give_block(i);
    Extent& e = extent_of(i);
    if (is_empty(e)) return give_extent(e);
    // The huge page has brought memory for blocks that were never used, too.
    if (std::exchange(e.is_huge, false)) {
      keeper_.add(Return::kSplit, e.at, kExtent);
      const uint32_t first = first_of(e);
      for (uint32_t j = first; j < end_of_extent(first); ++j)
        if (is_cold(blocks_[j])) give_block(j);
    }
    give_block(i);
  }
  void give_block(uint32_t i) noexcept {
    put_away(i);
    blocks_[i].is_away = true;
    blocks_[i].next = std::exchange(away_, i);
    keeper_.add(Return::kPages, slots(i), kBytes);
  }
  void give_extent(Extent& e) noexcept {
    const uint32_t first = first_of(e);
    if (e.state == State::kBegun)
      for (uint32_t j = first; j < end_of_extent(first); ++j) put_away(j);
    e.state = State::kAway;
    e.is_huge = false;
    keeper_.add(Return::kExtent, e.at, kExtent);
  }
  // Of few blocks that stay empty, those that keep an extent.
  void give_empty() noexcept {
    if (kept_ != kFew) return;
    for (Extent& e : extents_)
      if (is_empty(e) && keeper_.has_room(1)) give_extent(e);
  }
  void give_ahead() noexcept {
    for (Extent& e : extents_) {
      if (e.state != State::kAhead || n_spares_ + n_ahead_ <= wanted_ahead()) continue;
      if (!keeper_.has_room(1)) return;
      --n_ahead_;
      give_extent(e);
    }
    while (n_spares_ != 0 && n_spares_ + n_ahead_ > wanted_ahead() && keeper_.has_room(1))
      keeper_.add(Return::kUnmap, spares_[--n_spares_], kExtent);
  }
  // Out of the list of the empty or the cold ones: nobody takes from it.
  void put_away(uint32_t i) noexcept {
    Block& b = blocks_[i];
    if (is_cold(b)) {  // no single: those that are cold have no pages, and are not given back
      unlink(cold_, i);
      --n_cold_;
      return;
    }
    unlink(empty_, i);
    --n_empty_;
    if (i >= kSingle) {
      --extent_of(i).empty;
      --extent_of(i).warm;
    }
    b.free = kNoSlot;
    b.fresh = 0;
  }
  // Has no pages of its own, and is in one of the cold lists unless it is away.
  static bool is_cold(const Block& b) noexcept { return b.fresh == 0 && !b.is_away; }

  void push_front(List& list, uint32_t i) noexcept {
    Block& b = blocks_[i];
    b.prev = kNone;
    b.next = list.first;
    (list.first == kNone ? list.last : blocks_[list.first].prev) = i;
    list.first = i;
  }
  void push_back(List& list, uint32_t i) noexcept {
    Block& b = blocks_[i];
    b.next = kNone;
    b.prev = list.last;
    (list.last == kNone ? list.first : blocks_[list.last].next) = i;
    list.last = i;
  }
  void unlink(List& list, uint32_t i) noexcept {
    Block& b = blocks_[i];
    (b.prev == kNone ? list.first : blocks_[b.prev].next) = b.next;
    (b.next == kNone ? list.last : blocks_[b.next].prev) = b.prev;
  }

  std::vector<Block> blocks_;
  std::vector<Extent> extents_;   // of blocks from kSingle on
  std::byte* singles_ = nullptr;  // of the others
  // With room and in use; used once and empty, the latest first; without pages of their own.
  List partial_, empty_, cold_singles_, cold_;
  uint32_t away_ = kNone;  // list through `next` of blocks that are given back
  uint32_t limit_;
  uint32_t n_cold_singles_ = 0, n_cold_ = 0;
  // As many stay, so that few objects that come and go ask nothing of the kernel.
  static constexpr std::size_t kFew = 4;
  std::size_t n_empty_ = 0, kept_ = kFew;
  // When the last block was put into partial_; was a cold one; when an extent was begun, or half of
  // the singles. By the worker's clock.
  TimeNs roomed_at_ = 0, grown_at_ = 0, begun_at_ = 0;
  // Fetched: extents that lay cold, and new ones. fetched_: the number of one that lies cold, while
  // it is on its way.
  uint32_t n_ahead_ = 0, n_spares_ = 0, fetched_ = kNone;
  std::array<std::byte*, kMostAhead> spares_{};
  PageKeeper keeper_;
};

}  // namespace loom
