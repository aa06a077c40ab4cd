#include "net/ping/ping.h"

#include <algorithm>
#include <bit>

#include <hostloom/check.h>

namespace loom {

void PingBoard::begin(const IpAddress& from, uint16_t id, uint32_t count) {
  LOOM_CHECK(count <= kMaxRequests);
  for (uint32_t i = 0; i < count; ++i) {
    sent_[i].store(0, std::memory_order_relaxed);
    answers_[i].rtt.store(-1, std::memory_order_relaxed);
  }
  n_answered_.store(0, std::memory_order_relaxed);
  count_.store(count, std::memory_order_relaxed);
  const auto words = std::bit_cast<std::array<uint64_t, 2>>(from.bits.bytes);
  from_[0].store(words[0], std::memory_order_relaxed);
  from_[1].store(words[1], std::memory_order_relaxed);
  from_ip4_.store(from.is_ip4, std::memory_order_relaxed);
  id_.store(0x10000u | id, std::memory_order_release);
}

bool PingBoard::answered(const EchoReply& r) noexcept {
  if (id_.load(std::memory_order_acquire) != (0x10000u | r.id)) return false;
  const auto words = std::bit_cast<std::array<uint64_t, 2>>(r.from.bits.bytes);
  if (r.from.is_ip4 != from_ip4_.load(std::memory_order_relaxed) || words[0] != from_[0] ||
      words[1] != from_[1] || r.sequence >= count_.load(std::memory_order_relaxed))
    return false;
  const TimeNs sent = sent_[r.sequence].load(std::memory_order_acquire);
  Answer& a = answers_[r.sequence];
  TimeNs none = -1;
  if (sent == 0 || !a.rtt.compare_exchange_strong(none, -2)) return false;
  a.bytes = r.bytes;
  a.ttl = r.ttl;
  a.rtt.store(std::max<TimeNs>(r.now - sent, 0), std::memory_order_release);
  n_answered_.fetch_add(1, std::memory_order_release);
  return true;
}

std::vector<PingReply> PingBoard::replies() const {
  std::vector<PingReply> all;
  for (uint32_t i = 0; i < count_.load(std::memory_order_relaxed); ++i) {
    const TimeNs rtt = answers_[i].rtt.load(std::memory_order_acquire);
    if (rtt >= 0) all.push_back({i, rtt, answers_[i].bytes, answers_[i].ttl});
  }
  return all;
}

}  // namespace loom
