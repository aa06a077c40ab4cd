// TCP_INFO as Linux's struct tcp_info, from what the transport knows of the connection.
#include <linux/tcp.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "ldp/options.h"

namespace loom::ldp {
namespace {

using vcl::Session;

constexpr uint8_t kSynSent = 2, kClosed = 7, kListen = 10;  // of Linux's TCP states
constexpr uint32_t kDefaultMss = 536;                       // RFC 9293 section 3.7.1

uint8_t state_without_connection(const Session& s) noexcept {
  switch (s.state()) {
    case Session::State::kConnecting:
      return kSynSent;
    case Session::State::kListening:
      return kListen;
    default:
      return kClosed;
  }
}

}  // namespace

int get_tcp_info(Session& s, void* value, socklen_t* len) {
  tcp_info t{};
  svm::InfoEvent e;
  if (s.info(e) != 0) {
    t.tcpi_state = state_without_connection(s);
  } else {
    t.tcpi_state = e.state;
    t.tcpi_options = e.options;
    t.tcpi_snd_wscale = e.snd_wscale & 15;
    t.tcpi_rcv_wscale = e.rcv_wscale & 15;
    t.tcpi_rto = e.rto;
    t.tcpi_ato = e.ato;
    t.tcpi_snd_mss = t.tcpi_advmss = e.snd_mss;
    t.tcpi_rcv_mss = e.rcv_mss;
    t.tcpi_unacked = e.unacked;
    t.tcpi_sacked = e.sacked;
    t.tcpi_lost = e.lost;
    t.tcpi_retrans = e.retrans;
    t.tcpi_pmtu = e.pmtu;
    t.tcpi_rtt = e.rtt;
    t.tcpi_rttvar = e.rttvar;
    t.tcpi_min_rtt = e.min_rtt;
    t.tcpi_snd_ssthresh = e.snd_ssthresh;
    t.tcpi_snd_cwnd = e.snd_cwnd;
    t.tcpi_rcv_space = e.rcv_space;
    t.tcpi_total_retrans = e.total_retrans;
    t.tcpi_bytes_acked = e.bytes_acked;
    t.tcpi_bytes_received = e.bytes_received;
    t.tcpi_segs_out = e.segs_out;
    t.tcpi_segs_in = e.segs_in;
    t.tcpi_snd_wnd = e.snd_wnd;
  }
  const size_t n = std::min<size_t>(sizeof t, *len);
  std::memcpy(value, &t, n);
  *len = static_cast<socklen_t>(n);
  return 0;
}

uint32_t current_mss(Session& s) {
  svm::InfoEvent e;
  if (s.info(e) == 0 && e.snd_mss != 0) return e.snd_mss;
  const uint32_t asked = s.options().user_mss;
  return asked ? asked : kDefaultMss;
}

}  // namespace loom::ldp
