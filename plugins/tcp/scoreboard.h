// The sender's record of what the peer has said it holds beyond the cumulative acknowledgement
// (RFC 2018 section 5, RFC 6675 section 4). Lives only while there are holes: from a pool of the
// worker.
#pragma once
#include <array>
#include <cstdint>

#include <hostloom/session.h>
#include <hostloom/types.h>

#include "options.h"

namespace loom::tcp {

constexpr uint32_t kDupThresh = 3;  // RFC 6675 section 2

class Scoreboard {
 public:
  ConnId id = kNoConn;  // of the pool

  // Update() of RFC 6675: adds the blocks of one acknowledgement that lie in (snd_una, snd_nxt];
  // others are old, duplicates (RFC 2883) or nonsense and are ignored. True: something is new.
  bool add(const Options& o, Seq snd_una, Seq snd_nxt) noexcept;
  // The cumulative acknowledgement advanced.
  void advance(Seq snd_una) noexcept;
  void clear() noexcept { n_ = sacked_ = 0; }

  bool empty() const noexcept { return n_ == 0; }
  uint32_t sacked() const noexcept { return sacked_; }  // bytes
  // The first range touches the cumulative acknowledgement: the peer acknowledged less than it had
  // said it holds (RFC 2018 section 8, reneging).
  bool reneged(Seq snd_una) const noexcept { return n_ != 0 && ranges_[0].start <= snd_una; }
  // IsLost(): every byte below that is not SACKed has at least DupThresh ranges, or more than
  // (DupThresh - 1) * SMSS bytes, SACKed above it. snd_una when nothing is lost.
  Seq lost_below(Seq snd_una, uint32_t mss) const noexcept;
  // SetPipe(): bytes of [snd_una, snd_nxt) in the network when what is below `lost_below` is lost
  // and what is below `high_rxt` has been retransmitted.
  uint32_t pipe(Seq snd_una, Seq snd_nxt, Seq lost_below, Seq high_rxt) const noexcept;
  // First hole at or behind `from` and below `end`: false when there is none.
  bool next_hole(Seq from, Seq end, SackBlock& out) const noexcept;
  // The hole that holds the highest byte of [snd_una, snd_nxt) that is not SACKed: false when every
  // byte is.
  bool last_hole(Seq snd_una, Seq snd_nxt, SackBlock& out) const noexcept;
  // Right edge of the highest range; empty() must be false.
  Seq highest() const noexcept { return ranges_[n_ - 1].end; }

 private:
  static constexpr uint32_t kMaxRanges = 64;  // more holes: the newest information is not kept
  bool insert(SackBlock b) noexcept;

  uint32_t n_ = 0;
  uint32_t sacked_ = 0;
  std::array<SackBlock, kMaxRanges> ranges_;  // ascending, disjoint, not touching
};

}  // namespace loom::tcp
