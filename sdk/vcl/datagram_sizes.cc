// Session: how much may wait in its fifos (SO_RCVBUF, SO_SNDBUF). Of datagrams without a connection
// that may change while it is open. The daemon, which writes the one fifo and bounds what it
// believes of the other, says in the session's line what holds, for all processes that share it.
#include <algorithm>
#include <atomic>
#include <cerrno>

#include "svm/datagram.h"
#include "vcl/app_worker.h"
#include "vcl/session.h"

namespace loom::vcl {
namespace {

constexpr uint32_t kHeader = sizeof(svm::DatagramHeader);
constexpr uint32_t kMaxRecordBytes = 16'384;  // of DTLS (RFC 6347 section 4.1)
constexpr uint32_t kMostBytes = 1u << 30;     // of a fifo

// The daemon may be writing it.
uint32_t read_size(uint32_t& size) noexcept {
  return std::atomic_ref(size).load(std::memory_order_relaxed);
}

uint32_t limit(uint32_t asked, uint64_t otherwise, uint32_t least) noexcept {
  return std::max(asked ? asked : static_cast<uint32_t>(otherwise), least);
}

uint32_t most_of(bool is_connectionless) noexcept {
  return is_connectionless ? kMaxDatagramBytes : kMaxRecordBytes;
}

}  // namespace

// An empty one takes any datagram.
uint32_t Session::rx_to_ask() const noexcept {
  if (!is_datagram()) return rx_size;
  return limit(rx_size, worker_.rx_fifo_size(), most_of(is_connectionless()) + kHeader);
}

// POLLOUT means that a third of the fifo is free: that is to be enough for any datagram.
uint32_t Session::tx_to_ask() const noexcept {
  if (!is_datagram()) return tx_size;
  return limit(tx_size, worker_.tx_fifo_size(), 3 * (most_of(is_connectionless()) + kHeader));
}

uint32_t Session::rx_limit() {
  const std::lock_guard lock(mutex_);
  if (is_datagram() && shared_) return read_size(shared_->rx_size);
  return limit(rx_size, worker_.rx_fifo_size(), 0);
}

uint32_t Session::tx_limit() {
  const std::lock_guard lock(mutex_);
  if (is_datagram() && shared_) return read_size(shared_->tx_size);
  return limit(tx_size, worker_.tx_fifo_size(), 0);
}

// Under mutex_, whenever it matters whether there is room: another process may have asked for it. A
// smaller limit than what waits stops what would come, and loses nothing.
void Session::follow_sizes() noexcept {
  if (!is_connectionless() || !shared_) return;
  const uint32_t size = read_size(shared_->tx_size);
  if (size != tx_.size() && size - 1 < kMostBytes) tx_.set_size(size);
}

int Session::set_sizes(std::optional<uint32_t> rx, std::optional<uint32_t> tx) {
  svm::ResizeEvent r{};
  const TimeNs deadline = sys::deadline_in(from_seconds(worker_.config().session_timeout));
  while (true) {
    {
      const std::lock_guard lock(mutex_);
      rx_size = rx.value_or(rx_size);
      tx_size = tx.value_or(tx_size);
      if (!is_connectionless()) return 0;
      if (rx) r.rx_fifo_size = rx_to_ask();
      if (tx) r.tx_fifo_size = tx_to_ask();
      if (state() == State::kOpen) break;
      if (state() != State::kConnecting) return 0;
    }
    // Another thread is about to open it, as it was before, or to give it a peer.
    const int e = worker_.wait(*this, kPollSettled, deadline);
    if (e != 0 && e != -EINTR) return e == -EAGAIN ? -ETIMEDOUT : e;
  }
  svm::InfoEvent answer;
  const int e = ask_info(answer, [&](uint32_t context) {
    r.handle = handle_;
    r.context = context;
    worker_.send(*attachment_, daemon_worker(), svm::ToDaemon::kResize, r);
  });
  const std::lock_guard worker_lock(worker_.mutex());
  {
    const std::lock_guard lock(mutex_);
    follow_sizes();
  }
  notify();  // who waits for room has it perhaps
  if (e == -EAGAIN) return -ETIMEDOUT;
  return e == -ENOTCONN ? 0 : e;  // it has just ended
}

}  // namespace loom::vcl
