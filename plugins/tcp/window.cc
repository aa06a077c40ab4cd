// The receive window; see window.h.
#include "window.h"

#include <algorithm>

#include "options.h"

namespace loom::tcp {
namespace {
// min(MSS, half the buffer): RFC 9293 section 3.8.6.2.2.
uint32_t worthwhile(const Connection& c, uint32_t rx_size) noexcept {
  return std::min<uint32_t>(std::max<uint32_t>(c.rcv_mss, 1), std::max(rx_size / 2, 1u));
}
uint32_t free_space(TcpWorker& t, const Connection& c) noexcept {
  const uint32_t most = 0xffffu << c.rcv_wscale;
  return std::min(t.w.sessions->rx_space(t.w, c.session), most);
}
Seq possible_edge(TcpWorker& t, const Connection& c) noexcept {
  return c.rcv_nxt + free_space(t, c);
}
// `size`: of the receive fifo. An update to `edge` would move the right edge by a worthwhile step.
bool is_update_due(const Connection& c, uint32_t size, Seq edge) noexcept {
  return edge - c.rcv_adv >= static_cast<int32_t>(worthwhile(c, size));
}
void offer(TcpWorker& t, Connection& c, uint32_t size) noexcept {
  if (const Seq edge = possible_edge(t, c); is_update_due(c, size, edge)) c.rcv_adv = edge;
}
// Below half, the sender may be waiting for us while no segment of ours is due: asks to be told
// when the application has read, at least as much as an update takes. False: it just has.
bool await_reader(TcpWorker& t, Connection& c, uint32_t size) noexcept {
  if (c.rcv_wnd() >= size / 2 || c.has(kWantsSpace)) return true;
  const uint32_t enough = std::max(size / 2, c.rcv_wnd() + worthwhile(c, size));
  if (!t.w.sessions->rx_await(t.w, c.session, enough)) return false;
  c.set(kWantsSpace);
  return true;
}
}  // namespace

uint8_t wscale_for(uint32_t bytes) noexcept {
  uint8_t shift = 0;
  while (shift < kMaxWscale && 0xffffu << shift < bytes) ++shift;
  return shift;
}

void on_drained(TcpWorker& t, Connection& c) noexcept {
  c.unset(kWantsSpace);
  if (c.session == kNoSession) return;
  const uint32_t size = t.w.sessions->rx_size(t.w, c.session);
  const auto is_due = [&] { return is_update_due(c, size, possible_edge(t, c)); };
  if (is_due() || (!await_reader(t, c, size) && is_due())) t.want_ack(c);
}

uint16_t select_window(TcpWorker& t, Connection& c) noexcept {
  if (c.session != kNoSession) {
    const uint32_t size = t.w.sessions->rx_size(t.w, c.session);
    offer(t, c, size);
    if (!await_reader(t, c, size)) offer(t, c, size);
  }
  return static_cast<uint16_t>(std::min(c.rcv_wnd() >> c.rcv_wscale, 0xffffu));
}

}  // namespace loom::tcp
