// The window that is offered to the peer, and when a larger one is worth a segment.
#pragma once
#include "tcp_worker.h"

namespace loom::tcp {

// SEG.WND for a segment sent now; moves rcv_adv. Never takes back what was offered, but for the
// rounding of the scale (RFC 7323 section 2.4), and moves the right edge only by worthwhile steps
// (RFC 9293 section 3.8.6.2.2).
uint16_t select_window(TcpWorker&, Connection&) noexcept;
// The application has read what select_window has asked it to. What came meanwhile may have taken
// the space: then it is asked again, as nobody else would be when the peer has nothing to send.
void on_drained(TcpWorker&, Connection&) noexcept;
// The shift that lets 16 bits cover `bytes`.
uint8_t wscale_for(uint32_t bytes) noexcept;

}  // namespace loom::tcp
