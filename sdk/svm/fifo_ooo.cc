#include "svm/fifo_ooo.h"

#include <algorithm>
#include <new>

namespace loom::svm {
namespace {

constexpr uint32_t kMaxKept = 64;  // lists kept for reuse, per thread

}  // namespace

// The thread's spare lists; freed when it ends.
struct OooList::Spare {
  OooList* first = nullptr;
  uint32_t n = 0;
  ~Spare() {
    while (OooList* list = first) {
      first = list->next_free_;
      delete list;
    }
    n = kMaxKept;  // a list that is destroyed later goes to the heap
  }
  static Spare& of_thread() noexcept {
    static thread_local Spare spare;
    return spare;
  }
};

OooList* OooList::make() noexcept {
  Spare& spare = Spare::of_thread();
  if (OooList* list = spare.first) {
    spare.first = list->next_free_;
    --spare.n;
    list->n_ = list->bytes_ = list->stamp_ = 0;
    list->hint_chunk = list->hint_start = 0;
    return list;
  }
  return new (std::nothrow) OooList;
}

void OooList::destroy(OooList* list) noexcept {
  if (!list) return;
  Spare& spare = Spare::of_thread();
  if (spare.n >= kMaxKept) {
    delete list;
    return;
  }
  list->next_free_ = spare.first;
  spare.first = list;
  ++spare.n;
}

bool OooList::accepts(uint32_t tail, uint32_t start, uint32_t end) const noexcept {
  if (n_ < kMaxRanges) return true;
  return std::any_of(ranges_.begin(), ranges_.begin() + n_, [&](const Range& r) {
    return start - tail <= r.end - tail && end - tail >= r.start - tail;
  });
}

void OooList::insert(uint32_t tail, uint32_t start, uint32_t end) noexcept {
  uint32_t first = 0;  // ranges [first, last) overlap or touch the new one
  while (first < n_ && ranges_[first].end - tail < start - tail) ++first;
  uint32_t last = first;
  while (last < n_ && ranges_[last].start - tail <= end - tail) {
    const Range& r = ranges_[last++];
    bytes_ -= r.end - r.start;
    if (r.start - tail < start - tail) start = r.start;
    if (r.end - tail > end - tail) end = r.end;
  }
  auto* const begin = ranges_.data();
  if (first == last) {
    std::move_backward(begin + first, begin + n_, begin + n_ + 1);
    ++n_;
  } else {
    std::move(begin + last, begin + n_, begin + first + 1);
    n_ -= last - first - 1;
  }
  ranges_[first] = {start, end, ++stamp_};
  bytes_ += end - start;
}

uint32_t OooList::absorb(uint32_t tail, uint32_t upto) noexcept {
  uint32_t gone = 0;
  while (gone < n_ && ranges_[gone].start - tail <= upto - tail) {
    const Range& r = ranges_[gone++];
    bytes_ -= r.end - r.start;
    if (r.end - tail > upto - tail) upto = r.end;
  }
  std::move(ranges_.data() + gone, ranges_.data() + n_, ranges_.data());
  n_ -= gone;
  return upto;
}

uint32_t OooList::recent(uint32_t tail, std::span<OooRange> out) const noexcept {
  const auto n = static_cast<uint32_t>(std::min<size_t>(out.size(), n_));
  uint32_t min_age = 0;  // ages, the distances of stamps from the last one, are distinct
  for (uint32_t i = 0; i < n; ++i) {
    const Range* newest = nullptr;
    for (uint32_t k = 0; k < n_; ++k) {
      const uint32_t age = stamp_ - ranges_[k].stamp;
      if (age >= min_age && (!newest || age < stamp_ - newest->stamp)) newest = &ranges_[k];
    }
    out[i] = {newest->start - tail, newest->end - tail};
    min_age = stamp_ - newest->stamp + 1;
  }
  return n;
}

}  // namespace loom::svm
