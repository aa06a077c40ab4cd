// Scalable TCP (T. Kelly, "Scalable TCP: improving performance in highspeed wide area networks",
// 2003): the window grows by a hundredth of what is acknowledged and shrinks by an eighth at a
// loss, so that the time to recover does not depend on the rate. Below kLegacyWindow segments it
// behaves as Reno (RFC 5681), to be fair where the paper's rule would be more aggressive.
//
//   const char name[] = "cc-scalable";
//   setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, strlen(name));
#include <hostloom/plugin.h>

#include <algorithm>

namespace {

using namespace loom;

constexpr uint32_t kGrowth = 100;       // a = 1/100: bytes acknowledged for one byte of growth
constexpr uint32_t kShrink = 8;         // b = 1/8 of the window goes at a loss
constexpr uint32_t kLegacyWindow = 16;  // segments

// In CcState::priv, which is zeroed when the connection opens.
struct State {
  uint32_t credit;      // bytes acknowledged that have not made the window grow yet
  uint32_t prior_cwnd;  // before the last congestion event, for on_undo
  uint32_t prior_ssthresh;
};

// Congestion avoidance: one more byte of window for each `each` bytes acknowledged.
void grow(CcState& s, uint32_t acked, uint32_t each) noexcept {
  auto& state = s.priv_as<State>();
  state.credit += acked;
  s.cwnd += state.credit / each;
  state.credit %= each;
}

void on_ack(CcState& s, const AckSample& a) noexcept {
  // During recovery the window is the recovery's; an idle application proves nothing about the
  // path.
  if (a.in_recovery || !a.cwnd_limited) return;
  if (s.cwnd < s.ssthresh) return slow_start(s, a.bytes_acked);
  // Reno: one segment for each window that is acknowledged.
  const bool legacy = s.cwnd < kLegacyWindow * s.mss;
  grow(s, a.bytes_acked, legacy ? std::max(s.cwnd / s.mss, 1u) : kGrowth);
}

void on_congestion(CcState& s, const LossSample& l) noexcept {
  auto& state = s.priv_as<State>();
  state = {.credit = 0, .prior_cwnd = s.cwnd, .prior_ssthresh = s.ssthresh};
  const bool legacy = s.cwnd < kLegacyWindow * s.mss;
  const uint32_t kept = legacy ? l.in_flight / 2 : l.in_flight - l.in_flight / kShrink;
  s.ssthresh = std::max(kept, 2 * s.mss);  // RFC 5681 equation (4) has the floor
  s.cwnd = l.is_timeout ? s.mss : s.ssthresh;
}

// The loss was none.
void on_undo(CcState& s) noexcept {
  const auto& state = s.priv_as<State>();
  s.cwnd = std::max(s.cwnd, state.prior_cwnd);
  s.ssthresh = std::max(s.ssthresh, state.prior_ssthresh);
}

const CcOps kOps{.name = "cc-scalable",
                 .summary = "Scalable TCP (Kelly 2003)",
                 .on_ack = on_ack,
                 .on_congestion = on_congestion,
                 .on_undo = on_undo};

Result<void> init(Host& host) { return host.add_congestion_control(kOps); }

}  // namespace

extern "C" LOOM_EXPORT const loom::PluginInfo hostloom_plugin = {
    .name = "cc-scalable",
    .version = "1.0",
    .summary = "Scalable TCP congestion control (Kelly 2003)",
    .init = init,
};
