// The seventh and eighth step: text and FIN, and when to acknowledge them. RFC 9293
// sections 3.10.7.4 and 3.8.6.3, RFC 5681 section 4.2.
#include <algorithm>

#include "lifecycle.h"
#include "output.h"
#include "rx.h"
#include "timers.h"

namespace loom::tcp {
namespace {
// Every second full segment, anything that fills or shows a gap, and the first segments of a
// connection and after a loss are acknowledged at the end of the frame; the rest within the delay.
void schedule_ack(TcpWorker& t, Connection& c, uint32_t bytes, bool at_once) noexcept {
  c.rcv_unacked += bytes;
  if (c.quick_acks != 0) {
    --c.quick_acks;
    at_once = true;
    c.delack_deadline = Deadline::at(t.w.now + t.config.max_delack);
  }
  if (at_once || c.rcv_unacked >= 2u * c.rcv_mss)
    t.want_ack(c);
  else
    arm_delack(t, c);
}

RxCounter take_out_of_order(TcpWorker& t, Connection& c, const Buffer& b, uint32_t ahead,
                            uint32_t offset, uint32_t length) noexcept {
  t.want_ack(c);
  c.quick_acks = kQuickAcks;  // something may be lost
  if (!t.w.sessions->rx_enqueue_at(t.w, c.session, ahead, b, offset, length)) return kRxNoMemory;
  c.set(kHasOoo);
  return kRxOutOfOrder;
}

RxCounter take_in_order(TcpWorker& t, Connection& c, const Buffer& b, uint32_t offset,
                        uint32_t length) noexcept {
  const uint32_t moved = t.w.sessions->rx_enqueue(t.w, c.session, b, offset, length);
  if (!c.is_alive()) return kRxData;  // closed by the application meanwhile
  if (moved == 0) {
    t.want_ack(c);
    return kRxNoMemory;
  }
  c.rcv_nxt += moved;
  c.bytes_received += moved;
  c.set(kUnanswered);
  t.next_senders.brought_text(c.id, t.w.now);
  const bool fills = c.has(kHasOoo);
  if (fills && c.session != kNoSession) {
    std::array<std::pair<uint32_t, uint32_t>, 1> rest;
    if (t.w.sessions->rx_ooo_ranges(t.w, c.session, rest) == 0) c.unset(kHasOoo);
  }
  schedule_ack(t, c, moved, fills || moved < length);
  return kRxData;
}
}  // namespace

RxCounter process_text(TcpWorker& t, Connection& c, const Buffer& b, const Segment& s) noexcept {
  if (s.payload == 0) return kRxGoOn;
  const bool receiving =
      c.state == State::kEstablished || c.state == State::kFinWait1 || c.state == State::kFinWait2;
  if (!receiving) return kRxOldData;  // behind the peer's FIN
  const uint32_t skip = c.rcv_nxt > s.seq ? static_cast<uint32_t>(c.rcv_nxt - s.seq) : 0;
  if (skip >= s.payload) {
    t.want_ack(c);
    return s.has(kFin) ? kRxGoOn : kRxOldData;
  }
  if (c.has(kAppClosed)) {  // RFC 1122 section 4.2.2.13: tell the peer that it was lost
    send_rst(t, c);
    drop_connection(t, c, ResetReason::kAborted);
    return kRxAfterClose;
  }
  const Seq first = s.seq + skip;
  const auto room = static_cast<uint32_t>(c.rcv_adv - first);
  const uint32_t length = std::min(s.payload - skip, room);
  const uint32_t offset = s.header_length + skip;
  // Merged packets are larger than what the peer sends at once.
  const uint32_t most = c.adv_mss - (c.has(kUseTimestamps) ? kTimestampBytes : 0);
  c.rcv_mss = std::max(c.rcv_mss, static_cast<uint16_t>(std::min(s.payload, most)));
  if (first > c.rcv_nxt)
    return take_out_of_order(t, c, b, static_cast<uint32_t>(first - c.rcv_nxt), offset, length);
  return take_in_order(t, c, b, offset, length);
}

bool process_fin(TcpWorker& t, Connection& c, const Segment& s) noexcept {
  if (s.has(kFin)) {
    const Seq fin = s.end() - 1;
    if (fin > c.rcv_nxt && fin < c.rcv_adv) {
      c.rcv_fin = fin;
      c.set(kFinAhead);
      t.want_ack(c);
    } else if (fin == c.rcv_nxt) {
      c.rcv_fin = fin;
      c.set(kFinAhead);
    }
  }
  const bool open =
      c.state == State::kEstablished || c.state == State::kFinWait1 || c.state == State::kFinWait2;
  if (!c.has(kFinAhead) || !open || c.rcv_nxt != c.rcv_fin) return false;
  c.unset(kFinAhead);
  c.rcv_nxt += 1;
  if (c.rcv_adv < c.rcv_nxt) c.rcv_adv = c.rcv_nxt;
  return true;
}

}  // namespace loom::tcp
