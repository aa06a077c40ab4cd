// TCP_INFO and `show session verbose 2`; see info.h.
#include "info.h"

#include <cstring>

#include "recovery.h"
#include "timers.h"

namespace loom::tcp {

void connection_info(TcpWorker& t, const Connection& c, ConnectionInfo& i) noexcept {
  const uint32_t mss = c.cc->mss ? c.cc->mss : 1;
  const auto segments = [mss](uint32_t bytes) { return (bytes + mss - 1) / mss; };
  const uint32_t flight = c.flight();
  const uint32_t sacked = c.sack ? c.sack->sacked() : c.reno_sacked;
  i.endpoints = c.ends;
  i.interface = c.ends.link;
  i.state = static_cast<uint8_t>(c.state);
  // TCPI_OPT_TIMESTAMPS 1, TCPI_OPT_SACK 2, TCPI_OPT_WSCALE 4.
  i.tcpi_options = static_cast<uint8_t>((c.has(kUseTimestamps) ? 1 : 0) |
                                        (c.has(kUseSack) ? 2 : 0) | (c.has(kUseWscale) ? 4 : 0));
  i.snd_wscale = c.snd_wscale;
  i.rcv_wscale = c.rcv_wscale;
  i.snd_mss = c.cc->mss;
  i.rcv_mss = c.rcv_mss;
  i.cwnd = c.cc->cwnd;
  i.ssthresh = c.cc->ssthresh;
  i.snd_wnd = c.snd_wnd;
  i.rcv_wnd = c.rcv_wnd();
  i.in_flight = pipe(c);
  i.pmtu = c.pmtu;
  i.unacked = segments(flight);
  i.sacked = segments(sacked);
  i.lost = c.recovery == Recovery::kOpen || flight < pipe(c) + sacked
               ? 0
               : segments(flight - sacked - pipe(c));
  i.retrans = c.recovery == Recovery::kOpen || c.high_rxt <= c.snd_una
                  ? 0
                  : segments(static_cast<uint32_t>(c.high_rxt - c.snd_una));
  i.total_retrans = c.total_retrans;
  i.segs_out = c.segs_out;
  i.segs_in = c.segs_in;
  i.bytes_acked = c.delivered;
  i.bytes_received = c.bytes_received;
  i.rto = c.rtt.rto();
  i.ato = delack_time(t, c);
  i.srtt = c.rtt.srtt();
  i.rttvar = c.rtt.rttvar();
  i.min_rtt = c.rtt.min_rtt();
  if (c.cc_ops) std::strncpy(i.congestion, c.cc_ops->name, sizeof i.congestion - 1);
}

void describe_connection(TcpWorker& t, const Connection& c, std::string& out) {
  const auto n = [](auto v) { return std::to_string(v); };
  const auto us = [](TimeNs v) { return std::to_string(v / kMicrosecond) + " us"; };
  constexpr const char* kRecovery[] = {"open", "fast-recovery", "loss"};
  out += "  " + std::string(state_name(c.state)) + " " +
         kRecovery[static_cast<uint8_t>(c.recovery)] +
         (c.has(kUseTimestamps) ? " timestamps" : "") + (c.has(kUseSack) ? " sack" : "") +
         (c.has(kUseWscale) ? " wscale" : "") + (c.has(kNodelay) ? " nodelay" : "") +
         (c.has(kKeepalive) ? " keepalive" : "") + "\n";
  out += "  snd: una " + n(c.snd_una - c.iss) + " nxt " + n(c.snd_nxt - c.iss) + " wnd " +
         n(c.snd_wnd) + " wscale " + n(c.snd_wscale) + " mss " + n(c.cc->mss) + " pmtu " +
         n(c.pmtu) + "\n";
  out += "  rcv: nxt " + n(c.rcv_nxt - c.irs) + " wnd " + n(c.rcv_wnd()) + " wscale " +
         n(c.rcv_wscale) + (c.has(kHasOoo) ? " out-of-order waiting" : "") + "\n";
  out += "  cc: " + std::string(c.cc_ops ? c.cc_ops->name : "none") + " cwnd " + n(c.cc->cwnd) +
         " ssthresh " + (c.cc->ssthresh == kNoSsthresh ? "none" : n(c.cc->ssthresh)) + " pipe " +
         n(pipe(c)) + " pacing " + n(c.cc->pacing_rate) + " B/s\n";
  out += "  rtt: srtt " + us(c.rtt.srtt()) + " rttvar " + us(c.rtt.rttvar()) + " min " +
         us(c.rtt.min_rtt()) + " rto " + us(c.rtt.rto()) + " backoff " + n(c.backoff) + " delack " +
         us(delack_time(t, c)) + "\n";
  out += "  segments: in " + n(c.segs_in) + " out " + n(c.segs_out) + " retransmitted " +
         n(c.total_retrans) + "; bytes: in " + n(c.bytes_received) + " acknowledged " +
         n(c.delivered) + "\n";
}

}  // namespace loom::tcp
