// The end of a frame; see TcpWorker::Scope.
#include "tcp_worker.h"

#include "output.h"

namespace loom::tcp {

void TcpWorker::free_connection(Connection& c) noexcept {
  if (c.sack) scoreboards.free(*c.sack);
  if (!c.has_small_cc()) large_ccs.free(LargeCc::of(*c.cc));
  connections.free(c);
}

void TcpWorker::finish_frame() noexcept {
  while (queued_ != kNoConn) {
    Connection& c = *connections.find(queued_);
    queued_ = c.next_queued;
    c.unset(kQueued);
    if (c.has(kDead)) {
      free_connection(c);
    } else if (c.has(kAckNow)) {
      send_ack(*this, c);
    }
  }
  for (const bool is_ip4 : {true, false})
    if (Batch& batch = out_[is_ip4 ? 0 : 1]; batch.n != 0) flush(batch, is_ip4);
}

void TcpWorker::flush(Batch& batch, bool is_ip4) noexcept {
  w.enqueue_to_node(is_ip4 ? shared().output4 : shared().output6,
                    std::span<Buffer* const>(batch.packets.data(), batch.n));
  batch.n = 0;
}

}  // namespace loom::tcp
