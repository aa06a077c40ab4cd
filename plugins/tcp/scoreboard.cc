// The SACK scoreboard; see scoreboard.h.
#include "scoreboard.h"

#include <algorithm>

namespace loom::tcp {

bool Scoreboard::add(const Options& o, Seq snd_una, Seq snd_nxt) noexcept {
  bool is_new = false;
  for (uint32_t i = 0; i < o.n_sack; ++i) {
    const SackBlock b = o.sack[i];
    if (b.start < b.end && b.start > snd_una && b.end <= snd_nxt) is_new |= insert(b);
  }
  return is_new;
}

bool Scoreboard::insert(SackBlock b) noexcept {
  // [first, last): the ranges that b overlaps or touches; they become one.
  uint32_t first = 0;
  while (first < n_ && ranges_[first].end < b.start) ++first;
  uint32_t last = first;
  uint32_t merged = 0;
  for (; last < n_ && ranges_[last].start <= b.end; ++last)
    merged += static_cast<uint32_t>(ranges_[last].end - ranges_[last].start);
  if (first == last) {
    if (n_ == kMaxRanges) return false;
    std::move_backward(ranges_.begin() + first, ranges_.begin() + n_, ranges_.begin() + n_ + 1);
    ++n_;
  } else {
    b.start = min(b.start, ranges_[first].start);
    b.end = max(b.end, ranges_[last - 1].end);
    std::move(ranges_.begin() + last, ranges_.begin() + n_, ranges_.begin() + first + 1);
    n_ -= last - first - 1;
  }
  ranges_[first] = b;
  const uint32_t added = static_cast<uint32_t>(b.end - b.start) - merged;
  sacked_ += added;
  return added != 0;
}

void Scoreboard::advance(Seq snd_una) noexcept {
  uint32_t gone = 0;
  while (gone < n_ && ranges_[gone].end <= snd_una) {
    sacked_ -= static_cast<uint32_t>(ranges_[gone].end - ranges_[gone].start);
    ++gone;
  }
  std::move(ranges_.begin() + gone, ranges_.begin() + n_, ranges_.begin());
  n_ -= gone;
  if (n_ != 0 && ranges_[0].start < snd_una) {
    sacked_ -= static_cast<uint32_t>(snd_una - ranges_[0].start);
    ranges_[0].start = snd_una;
  }
}

Seq Scoreboard::lost_below(Seq snd_una, uint32_t mss) const noexcept {
  uint32_t bytes = 0;
  for (uint32_t above = 1; above <= n_; ++above) {
    const SackBlock& r = ranges_[n_ - above];
    bytes += static_cast<uint32_t>(r.end - r.start);
    if (above >= kDupThresh || bytes > (kDupThresh - 1) * mss) return r.start;
  }
  return snd_una;
}

uint32_t Scoreboard::pipe(Seq snd_una, Seq snd_nxt, Seq lost_below, Seq high_rxt) const noexcept {
  uint32_t pipe = 0;
  const auto add_hole = [&](Seq start, Seq end) {
    if (end > lost_below) pipe += static_cast<uint32_t>(end - max(start, lost_below));
    if (start < high_rxt) pipe += static_cast<uint32_t>(min(end, high_rxt) - start);
  };
  Seq at = snd_una;
  for (uint32_t i = 0; i < n_; ++i) {
    if (at < ranges_[i].start) add_hole(at, ranges_[i].start);
    at = ranges_[i].end;
  }
  if (at < snd_nxt) add_hole(at, snd_nxt);
  return pipe;
}

bool Scoreboard::next_hole(Seq from, Seq end, SackBlock& out) const noexcept {
  for (uint32_t i = 0; i < n_ && from < end; ++i) {
    if (from < ranges_[i].start) {
      out = {from, min(ranges_[i].start, end)};
      return true;
    }
    from = max(from, ranges_[i].end);
  }
  out = {from, end};
  return from < end;
}

bool Scoreboard::last_hole(Seq snd_una, Seq snd_nxt, SackBlock& out) const noexcept {
  out = {snd_una, snd_nxt};
  if (n_ == 0) return snd_una < snd_nxt;
  if (highest() < snd_nxt) {
    out.start = highest();
    return true;
  }
  out.end = ranges_[0].start;  // ranges do not touch: before each lies a hole
  if (n_ > 1) out = {ranges_[n_ - 2].end, ranges_[n_ - 1].start};
  return out.start < out.end;
}

}  // namespace loom::tcp
