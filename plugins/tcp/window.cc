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
}  // namespace

uint8_t wscale_for(uint32_t bytes) noexcept {
  uint8_t shift = 0;
  while (shift < kMaxWscale && 0xffffu << shift < bytes) ++shift;
  return shift;
}

bool window_update_due(TcpWorker& t, Connection& c) noexcept {
  if (c.session == kNoSession) return false;
  const Seq edge = c.rcv_nxt + free_space(t, c);
  const uint32_t step = worthwhile(c, t.w.sessions->rx_size(t.w, c.session));
  return edge - c.rcv_adv >= static_cast<int32_t>(step);
}

uint16_t select_window(TcpWorker& t, Connection& c) noexcept {
  if (c.session != kNoSession) {
    const uint32_t space = free_space(t, c);
    const uint32_t size = t.w.sessions->rx_size(t.w, c.session);
    const Seq edge = c.rcv_nxt + space;
    if (edge - c.rcv_adv >= static_cast<int32_t>(worthwhile(c, size))) c.rcv_adv = edge;
    // Below half, the sender may be waiting for us while no segment of ours is due: ask to be told
    // when the application has read.
    if (c.rcv_wnd() < size / 2 && !c.has(kWantsSpace)) {
      c.set(kWantsSpace);
      t.w.sessions->rx_want_space(t.w, c.session);
    }
  }
  return static_cast<uint16_t>(std::min(c.rcv_wnd() >> c.rcv_wscale, 0xffffu));
}

}  // namespace loom::tcp
