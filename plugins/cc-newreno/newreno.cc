// Reno congestion control: RFC 5681 sections 3.1 and 3.2, with byte counting (RFC 3465). What is
// new in NewReno (RFC 6582), partial acknowledgements, is the transport's loss recovery.
#include "newreno.h"

#include <algorithm>

namespace loom::newreno {
namespace {
struct NewReno {         // in CcState::priv, zeroed when the connection opens
  uint32_t bytes_acked;  // since cwnd last grew in congestion avoidance
  uint32_t prior_cwnd;   // before the last congestion event, for on_undo
  uint32_t prior_ssthresh;
};

void on_ack(CcState& s, const AckSample& a) noexcept {
  if (a.in_recovery || !a.cwnd_limited) return;
  if (s.cwnd < s.ssthresh) return slow_start(s, a.bytes_acked);
  auto& r = s.priv_as<NewReno>();
  r.bytes_acked += a.bytes_acked;  // one SMSS for each window of data (RFC 5681 section 3.1)
  if (r.bytes_acked < s.cwnd) return;
  r.bytes_acked -= s.cwnd;
  s.cwnd += s.mss;
}

void on_congestion(CcState& s, const LossSample& l) noexcept {
  auto& r = s.priv_as<NewReno>();
  r.prior_cwnd = s.cwnd;
  r.prior_ssthresh = s.ssthresh;
  r.bytes_acked = 0;
  s.ssthresh = std::max(l.in_flight / 2, 2 * s.mss);  // equation (4)
  s.cwnd = l.is_timeout ? s.mss : s.ssthresh;
}

void on_undo(CcState& s) noexcept {
  const auto& r = s.priv_as<NewReno>();
  s.cwnd = std::max(s.cwnd, r.prior_cwnd);
  s.ssthresh = std::max(s.ssthresh, r.prior_ssthresh);
}
}  // namespace

const CcOps kOps{.name = "newreno",
                 .summary = "NewReno (RFC 5681, RFC 6582)",
                 .on_ack = on_ack,
                 .on_congestion = on_congestion,
                 .on_undo = on_undo,
                 .private_size = sizeof(NewReno)};

}  // namespace loom::newreno
