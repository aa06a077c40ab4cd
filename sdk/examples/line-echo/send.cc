// Sending: headers, the one packet under way, and its retransmission.
#include <hostloom/ip_push.h>
#include <hostloom/net.h>

#include <algorithm>

#include "connection.h"

namespace line_echo {
namespace {

constexpr uint32_t kMostTries = 8;
constexpr uint32_t kMostBackoff = 4;  // the interval doubles so often

// Puts the headers in front of the text and sends it on its way.
void transmit(LineWorker& l, Buffer& b, const Endpoints& ends, Kind kind,
              uint8_t sequence) noexcept {
  auto& h = *b.prepend<Header>();
  h = {.src_port = ends.local_port,
       .dst_port = ends.remote_port,
       .kind = kind,
       .sequence = sequence,
       .checksum = 0};
  const Ip4Address local = ends.local.ip4(), remote = ends.remote.ip4();
  h.checksum = checksum_finish(checksum_add_chain(
      pseudo_header_sum(local, remote, kIpProtocol, b.length()), &b, 0, b.length()));
  push_ip4_header(b, local, remote, kIpProtocol, 0, static_cast<uint16_t>(l.stats.sent));
  b.fib_index = ends.fib_index;
  ++l.stats.sent;
  l.w.enqueue_to_node(shared().ip4_lookup, &b);
}

void arm(LineWorker& l, Connection& c) noexcept {
  l.w.timer_start_in(c.timer, shared().retransmit << std::min(c.tries, kMostBackoff));
}

// The packet under way once more, its text again from the tx fifo.
void send_again(LineWorker& l, Connection& c) noexcept {
  Buffer* b = l.w.alloc();
  if (b && c.pending_text != 0 && !l.w.sessions->tx_append(l.w, c.session, 0, c.pending_text, *b)) {
    l.w.free(b);
    b = nullptr;
  }
  if (b) {
    ++l.stats.sent_again;
    transmit(l, *b, c.ends, static_cast<Kind>(c.pending), c.next_sequence);
  } else {
    ++l.stats.no_buffer;  // the timer tries once more
  }
}

void timer_fired(Worker& w, Timer& t) noexcept {
  LineWorker& l = line_worker(w);
  auto& c = LOOM_TIMER_OWNER(Connection, timer, t);
  if (++c.tries == kMostTries) {
    ++l.stats.timed_out;
    return fail(l, c, ResetReason::kTimedOut);
  }
  send_again(l, c);
  arm(l, c);
}

}  // namespace

void send_answer(LineWorker& l, const Endpoints& ends, Kind kind, uint8_t sequence) noexcept {
  if (Buffer* b = l.w.alloc())
    transmit(l, *b, ends, kind, sequence);
  else
    ++l.stats.no_buffer;  // as if the network had lost it
}

void send_numbered(LineWorker& l, Connection& c, Kind kind, Buffer* text) noexcept {
  c.pending = kind;
  c.pending_text = text ? text->length() : 0;
  c.tries = 0;
  c.timer.fired = timer_fired;
  arm(l, c);
  Buffer* b = text ? text : l.w.alloc();
  if (b)
    transmit(l, *b, c.ends, kind, c.next_sequence);
  else
    ++l.stats.no_buffer;
}

void send_next(LineWorker& l, Connection& c) noexcept {
  if (c.pending != 0 || !c.is_open || c.close_acked) return;
  if (l.w.sessions->tx_queued(l.w, c.session) != 0)
    l.w.sessions->tx_schedule(l.w, c.session);  // send_window and push_headers follow
  else if (c.want_close)
    send_numbered(l, c, kClose, nullptr);
}

void acknowledged(LineWorker& l, Connection& c) noexcept {
  l.w.timer_stop(c.timer);
  const auto kind = static_cast<Kind>(std::exchange(c.pending, uint8_t{0}));
  ++c.next_sequence;
  if (const uint32_t n = std::exchange(c.pending_text, 0)) {
    c.bytes_acked += n;
    l.w.sessions->tx_drop(l.w, c.session, n);
  }
  if (kind == kOpen) {
    const ConnId id = c.id;
    if (l.w.sessions->flow_add(l.w, c.ends, kIpProtocol, FlowKind::kEstablished, id) != Status::kOk)
      return fail(l, c, ResetReason::kNoMemory);
    c.is_open = true;
    // May abort the connection: the session got no memory for its fifos.
    l.w.sessions->connected(l.w, c.session, Status::kOk, c.ends);
    if (!l.find(id)) return;
  }
  if (kind == kClose) {
    c.close_acked = true;
    return finish_if_done(l, c);
  }
  send_next(l, c);
}

void fail(LineWorker& l, Connection& c, ResetReason reason) noexcept {
  const SessionId session = c.session;
  const Endpoints ends = c.ends;
  const bool opening = !c.is_open;
  l.forget(c);
  if (opening)
    l.w.sessions->connected(l.w, session,
                            reason == ResetReason::kTimedOut ? Status::kTimedOut : Status::kRefused,
                            ends);
  else
    l.w.sessions->reset(l.w, session, reason);
}

void finish_if_done(LineWorker& l, Connection& c) noexcept {
  if (!c.close_acked || !(c.peer_closed || c.app_closed)) return;
  const SessionId session = c.session;
  l.forget(c);
  l.w.sessions->closed(l.w, session);
}

}  // namespace line_echo
