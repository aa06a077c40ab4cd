// Segments of a connection; see output.h.
#include "output.h"

#include <hostloom/ip_push.h>
#include <hostloom/net.h>

#include <algorithm>

#include "recovery.h"
#include "timers.h"
#include "window.h"

namespace loom::tcp {

uint16_t mss_of_mtu(uint32_t mtu, bool is_ip4) noexcept {  // RFC 9293 section 3.7.1, RFC 6691
  const uint32_t headers = sizeof(TcpHeader) + (is_ip4 ? sizeof(Ip4Header) : sizeof(Ip6Header));
  return static_cast<uint16_t>(std::clamp(mtu, headers + 88, 65535u) - headers);
}

Status find_route(TcpWorker& t, const Ends& e, RouteInfo* out) noexcept {
  if (e.link == kNoIndex) [[likely]]
    return t.w.net->route(t.w, e.remote, e.fib_index, out);
  GroupDestination d;  // of any address, as an interface is named
  d.to = e.remote;
  d.interface = e.link;
  d.fib_index = e.fib_index;
  return t.w.net->route_group(t.w, d, out);
}

bool refresh_route(TcpWorker& t, Connection& c) noexcept {
  const uint32_t generation = *t.w.net->generation;
  if (c.route_generation == generation && c.pmtu != 0) [[likely]]
    return true;
  RouteInfo route;
  if (find_route(t, c.ends, &route) != Status::kOk) {
    c.adjacency = c.tx_if = kNoIndex;  // ip-lookup decides, and tells the peer's side by ICMP
    return false;
  }
  c.route_generation = generation;
  c.adjacency = route.is_local ? kNoIndex : route.adjacency;
  c.tx_if = route.is_local ? kNoIndex : route.tx_if;
  const uint32_t mtu = t.config.mtu ? std::min(t.config.mtu, route.mtu) : route.mtu;
  c.pmtu = static_cast<uint16_t>(std::min(mtu, 65535u));
  c.adv_mss = c.adv_mss ? c.adv_mss : mss_of_mtu(c.pmtu, c.is_ip4());
  set_mss(c);
  return true;
}

void set_mss(Connection& c) noexcept {
  // The peer's MSS counts no options (RFC 6691); timestamps are on every segment.
  const uint32_t mss = std::min(c.peer_mss, mss_of_mtu(c.pmtu, c.is_ip4()));
  c.cc->mss = mss - (c.has(kUseTimestamps) ? kTimestampBytes : 0);
}

uint32_t chain_limit(const TcpWorker& t, const Connection& c) noexcept {
  if (!t.config.gso) return c.cc->mss;
  constexpr uint32_t kHeaders = sizeof(Ip6Header) + sizeof(TcpHeader) + kMaxOptionBytes;
  const uint32_t room = t.config.max_gso_size - kHeaders;
  return std::max(room / c.cc->mss, 1u) * c.cc->mss;
}

namespace {
// What every segment of a synchronised connection says besides its text.
Outgoing outgoing(TcpWorker& t, Connection& c, Seq seq, uint8_t flags, SegmentKind kind) noexcept {
  refresh_route(t, c);
  return {.seq = seq,
          .ack = c.rcv_nxt,
          .window = select_window(t, c),
          .flags = flags,
          .tos = c.tos,
          .hops = c.hops,
          .ip_id = c.ip_id++,
          .gso_size = 0,
          .kind = kind,
          .adjacency = c.adjacency,
          .tx_if = c.tx_if};
}
void add_timestamps(const TcpWorker& t, const Connection& c, Options& o) noexcept {
  if (!c.has(kUseTimestamps)) return;
  o.present |= kOptTimestamps;
  o.tsval = timestamp_now(t, c.ts_offset);
  o.tsecr = c.ts_recent;
}
// Any segment with ACK tells the peer all that a pure one would, but for SACK blocks.
void acknowledged(Connection& c) noexcept {
  c.rcv_las = c.rcv_nxt;
  c.rcv_unacked = 0;
  c.unset(kAckDelayed);
  if (!c.has(kHasOoo)) c.unset(kAckNow);
}
void send_empty(TcpWorker& t, Connection& c, Seq seq, uint8_t flags, SegmentKind kind) noexcept {
  Options options;
  add_timestamps(t, c, options);
  transmit_empty(t, c.ends, outgoing(t, c, seq, flags, kind), options);
  ++c.segs_out;
  acknowledged(c);
}
}  // namespace

void send_ack(TcpWorker& t, Connection& c) noexcept {
  Options options;
  add_timestamps(t, c, options);
  if (c.has(kHasOoo) && c.has(kUseSack) && c.session != kNoSession) {  // RFC 2018 section 4
    std::array<std::pair<uint32_t, uint32_t>, 4> ranges;
    const uint32_t n = t.w.sessions->rx_ooo_ranges(t.w, c.session, ranges);
    for (uint32_t i = 0; i < std::min<uint32_t>(n, ranges.size()); ++i)
      options.sack[options.n_sack++] = {c.rcv_nxt + ranges[i].first, c.rcv_nxt + ranges[i].second};
  }
  transmit_empty(t, c.ends, outgoing(t, c, c.snd_nxt, kAck, SegmentKind::kAck), options);
  ++c.segs_out;
  acknowledged(c);
  c.unset(kAckNow);
}

void send_syn(TcpWorker& t, Connection& c) noexcept {
  refresh_route(t, c);
  const bool answers = c.state == State::kSynReceived;
  Options o;
  o.present = kOptMss;
  o.mss = c.adv_mss;
  // An answer repeats only what the peer's SYN offered.
  if (answers ? c.has(kUseSack) : t.config.sack) o.present |= kOptSackPermitted;
  if (answers ? c.has(kUseTimestamps) : t.config.timestamps) {
    o.present |= kOptTimestamps;
    o.tsval = timestamp_now(t, c.ts_offset);
    o.tsecr = answers ? c.ts_recent : 0;
  }
  if (answers ? c.has(kUseWscale) : t.config.window_scaling) {
    o.present |= kOptWscale;
    o.wscale = c.rcv_wscale;
  }
  transmit_empty(t, c.ends,
                 {.seq = c.iss,
                  .ack = answers ? c.rcv_nxt : Seq(0),
                  .window = static_cast<uint16_t>(std::min(c.rcv_wnd(), 0xffffu)),  // never scaled
                  .flags = static_cast<uint8_t>(answers ? kSyn | kAck : kSyn),
                  .tos = c.tos,
                  .hops = c.hops,
                  .ip_id = c.ip_id++,
                  .kind = answers ? SegmentKind::kSynAck : SegmentKind::kSyn,
                  .adjacency = c.adjacency,
                  .tx_if = c.tx_if},
                 o);
  ++c.segs_out;
}

void send_rst(TcpWorker& t, Connection& c) noexcept {
  Options options;
  add_timestamps(t, c, options);
  refresh_route(t, c);
  transmit_empty(t, c.ends,
                 {.seq = c.snd_nxt,
                  .ack = c.rcv_nxt,
                  .flags = kRst | kAck,
                  .tos = c.tos,
                  .hops = c.hops,
                  .ip_id = c.ip_id++,
                  .kind = SegmentKind::kRst,
                  .adjacency = c.adjacency,
                  .tx_if = c.tx_if},
                 options);
}

void send_keepalive(TcpWorker& t, Connection& c) noexcept {
  send_empty(t, c, c.snd_una - 1, kAck, SegmentKind::kKeepalive);
}

void send_window_probe(TcpWorker& t, Connection& c) noexcept {
  if (c.flight() != 0) {
    retransmit(t, c, c.snd_una, 1, SegmentKind::kProbe);
    return;
  }
  if (c.session == kNoSession || t.w.sessions->tx_queued(t.w, c.session) == 0) return;
  Buffer* b = t.w.alloc();
  if (!b || !t.w.sessions->tx_append(t.w, c.session, 0, 1, *b)) {
    if (b) t.w.free(b);
    ++t.stats.no_buffer;
    return;
  }
  Options options;
  add_timestamps(t, c, options);
  transmit(t, *b, c.ends, outgoing(t, c, c.snd_nxt, kAck, SegmentKind::kProbe), options);
  ++c.segs_out;
  acknowledged(c);
  c.snd_nxt += 1;
}

bool retransmit(TcpWorker& t, Connection& c, Seq from, uint32_t length, SegmentKind kind) noexcept {
  const bool with_fin = c.has(kFinSent) && from + length == c.snd_nxt;
  const uint32_t text = length - (with_fin ? 1 : 0);
  if (text != 0 && c.session == kNoSession) return false;
  Buffer* b = t.w.alloc();
  if (!b || (text != 0 && !t.w.sessions->tx_append(
                              t.w, c.session, static_cast<uint32_t>(from - c.snd_una), text, *b))) {
    if (b) t.w.free(b);
    ++t.stats.no_buffer;
    return false;
  }
  Options options;
  add_timestamps(t, c, options);
  Outgoing o = outgoing(t, c, from, static_cast<uint8_t>(kAck | (with_fin ? kFin : 0)), kind);
  if (text > c.cc->mss) o.gso_size = static_cast<uint16_t>(c.cc->mss);
  transmit(t, *b, c.ends, o, options);
  const uint32_t segments = std::max((text + c.cc->mss - 1) / c.cc->mss, 1u);
  c.segs_out += segments;
  c.total_retrans += segments;
  if (c.rtt_sent != 0 && from < c.rtt_seq) c.rtt_sent = 0;  // Karn (RFC 6298 section 3)
  acknowledged(c);
  return true;
}

namespace {
bool fin_is_due(TcpWorker& t, const Connection& c) noexcept {
  return c.has(kShutdownWanted) && !c.has(kFinSent) && c.can_send() &&
         t.w.sessions->tx_queued(t.w, c.session) == c.data_in_flight();
}
void fin_was_sent(Connection& c) noexcept {
  c.set(kFinSent);
  c.snd_nxt += 1;
  c.state = c.state == State::kCloseWait ? State::kLastAck : State::kFinWait1;
}
}  // namespace

void send_data(TcpWorker& t, Connection& c, std::span<Buffer* const> chains) noexcept {
  const TimeNs now = t.w.now;
  if (c.flight() == 0) c.progress_at = Stamp::at(now);
  // An answer to what was just received: acknowledgements ride on data, no need for quick ones.
  if (c.has(kUnanswered) && !c.delack_deadline.is_due(now)) c.quick_acks = 0;
  c.unset(kUnanswered);
  Options options;
  add_timestamps(t, c, options);
  for (std::size_t i = 0; i < chains.size(); ++i) {
    Buffer& b = *chains[i];
    const uint32_t length = b.length();
    Outgoing o = outgoing(t, c, c.snd_nxt, kAck, SegmentKind::kData);
    const uint32_t segments = length > c.cc->mss ? (length + c.cc->mss - 1) / c.cc->mss : 1;
    if (segments > 1) {
      o.gso_size = static_cast<uint16_t>(c.cc->mss);
      c.ip_id = static_cast<uint16_t>(c.ip_id + segments - 1);
    }
    c.snd_nxt += length;
    c.segs_out += segments;
    if (c.rtt_sent == 0) {  // one segment is timed at a time (RFC 6298 section 3)
      c.rtt_sent = now;
      c.rtt_seq = c.snd_nxt;
      c.delivered_timed = static_cast<uint32_t>(c.delivered);
    }
    if (length % c.cc->mss != 0) c.snd_sml = c.snd_nxt;
    if (i + 1 == chains.size()) {
      o.flags |= kPsh;
      if (fin_is_due(t, c)) [[unlikely]] {
        o.flags |= kFin;
        fin_was_sent(c);
      }
    }
    transmit(t, b, c.ends, o, options);
    if (c.recovery == Recovery::kFast) c.prr_out += length;
    pace(t, c, length);
  }
  c.last_sent = Stamp::at(now);
  c.unset(kSendAnyway);
  c.cork_until = {};
  acknowledged(c);
  arm_rto_if_off(t, c);
  retransmit_early(t, c);  // cwnd may have room when the application has no more to say
}

void send_fin_if_due(TcpWorker& t, Connection& c) noexcept {
  if (c.session == kNoSession || !fin_is_due(t, c)) return;
  const Seq seq = c.snd_nxt;
  if (c.flight() == 0) c.progress_at = Stamp::at(t.w.now);
  fin_was_sent(c);
  send_empty(t, c, seq, kFin | kAck, SegmentKind::kFin);
  arm_rto_if_off(t, c);
}

}  // namespace loom::tcp
