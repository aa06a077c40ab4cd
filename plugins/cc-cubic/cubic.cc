// CUBIC, RFC 9438. Windows in bytes (RFC: segments), t and k in seconds.
#include "cubic.h"

#include <algorithm>
#include <cmath>

namespace loom::cubic {
namespace {
constexpr double kC = 0.4, kBeta = 0.7;                   // section 5 (segments/s^3), section 4.6
constexpr double kAlpha = 3 * (1 - kBeta) / (1 + kBeta);  // section 4.3, gives Reno's average rate

struct Cubic {          // in CcState::priv, zeroed when the connection opens
  double w_est;         // what Reno would have by now
  TimeNs epoch;         // start of this congestion-avoidance stage; 0 = not started
  TimeNs unused_at;     // since when the application leaves cwnd unused; 0 = it does not
  float k;              // time from epoch to plateau
  float credit;         // bytes owed to cwnd: near the plateau one ACK earns less than a byte
  uint32_t w_max;       // plateau
  uint32_t cwnd_prior;  // cwnd at the last congestion event
  uint32_t undo_cwnd, undo_ssthresh, undo_w_max;  // before it, for on_undo
};
static_assert(sizeof(Cubic) == 56);

// Equation (1).
double w_cubic(const Cubic& c, double t, double mss) noexcept {
  return kC * mss * std::pow(t - c.k, 3) + c.w_max;
}

void start_epoch(Cubic& c, const CcState& s, TimeNs now) noexcept {
  c.epoch = now;
  c.w_est = s.cwnd;
  c.credit = 0;
  c.w_max = std::max(c.w_max, s.cwnd);  // section 4.8: no plateau above us, K = 0
  c.k = static_cast<float>(std::cbrt((c.w_max - s.cwnd) / (kC * s.mss)));  // equation (2)
}

void on_ack(CcState& s, const AckSample& a) noexcept {
  if (a.in_recovery) return;
  auto& c = s.priv_as<Cubic>();
  if (!a.cwnd_limited) {  // section 5.8: an idle app proves nothing
    if (c.unused_at == 0) c.unused_at = a.now;
    return;
  }
  // Section 4.2: t leaves out such periods, or the curve would have run off meanwhile.
  if (c.epoch != 0 && c.unused_at != 0) c.epoch += a.now - std::max(c.unused_at, c.epoch);
  c.unused_at = 0;
  if (s.cwnd < s.ssthresh) return slow_start(s, a.bytes_acked);
  if (c.epoch == 0) start_epoch(c, s, a.now);
  const double t = to_seconds(a.now - c.epoch);
  const double cwnd = s.cwnd;
  const double target = std::clamp(w_cubic(c, t + to_seconds(a.srtt), s.mss), cwnd, 1.5 * cwnd);
  // Equation (4); once as large as before the loss, Reno's own pace (section 4.3).
  c.w_est += (c.w_est < c.cwnd_prior ? kAlpha : 1.0) * s.mss * a.bytes_acked / cwnd;
  double growth;
  if (w_cubic(c, t, s.mss) < c.w_est)  // Reno-friendly region, section 4.3
    growth = std::max(0.0, c.w_est - cwnd);
  else  // concave and convex regions, sections 4.4 and 4.5
    growth = (target - cwnd) * a.bytes_acked / cwnd + c.credit;
  s.cwnd += static_cast<uint32_t>(growth);
  c.credit = static_cast<float>(growth - std::floor(growth));
}

void on_congestion(CcState& s, const LossSample& l) noexcept {  // once per event, not per segment
  auto& c = s.priv_as<Cubic>();
  c.undo_cwnd = s.cwnd;
  c.undo_ssthresh = s.ssthresh;
  c.undo_w_max = c.w_max;
  c.cwnd_prior = s.cwnd;
  if (s.cwnd < c.w_max)  // section 4.7, fast convergence
    c.w_max = static_cast<uint32_t>(s.cwnd * (1 + kBeta) / 2);
  else
    c.w_max = s.cwnd;
  c.epoch = 0;
  s.ssthresh = std::max(static_cast<uint32_t>(l.in_flight * kBeta), 2 * s.mss);
  s.cwnd = l.is_timeout ? s.mss : s.ssthresh;
  if (l.is_timeout) c.w_max = 0;  // section 4.8: the next stage finds its own plateau
}

// RFC 5681 section 4.1. What comes then is slow start, and another stage behind it.
void on_idle(CcState& s, TimeNs) noexcept {
  s.cwnd = std::min(s.cwnd, s.initial_cwnd);
  s.priv_as<Cubic>().epoch = 0;
}

void on_undo(CcState& s) noexcept {  // section 4.9
  auto& c = s.priv_as<Cubic>();
  s.cwnd = std::max(s.cwnd, c.undo_cwnd);
  s.ssthresh = std::max(s.ssthresh, c.undo_ssthresh);
  c.w_max = c.undo_w_max;
  c.epoch = 0;
}
}  // namespace

const CcOps kOps{.name = "cubic",
                 .summary = "CUBIC (RFC 9438)",
                 .on_ack = on_ack,
                 .on_congestion = on_congestion,
                 .on_undo = on_undo,
                 .on_idle = on_idle,
                 .private_size = sizeof(Cubic)};

}  // namespace loom::cubic
