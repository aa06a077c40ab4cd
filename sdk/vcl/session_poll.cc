// Session: readiness. Who waits has it looked at and armed in one go: an event comes for what was
// not seen.
#include <algorithm>

#include "vcl/app_worker.h"
#include "vcl/session.h"

namespace loom::vcl {
namespace {

constexpr int kMostLooks = 8;  // at a session whose other end goes on writing

}  // namespace

uint32_t Session::poll(uint32_t wanted, bool edge) {
  const std::lock_guard lock(mutex_);
  // A call that waits hears of ends by what it waits for, and of errors by poll_open().
  const uint32_t always = wanted & kPollForCall ? 0 : POLLERR | POLLHUP;
  uint32_t mask = 0;
  switch (state()) {
    case State::kIdle:
      mask = POLLOUT | POLLWRNORM | POLLHUP | kPollSettled;
      break;
    case State::kBinding:
    case State::kConnecting:
      break;
    case State::kListening:
      mask = kPollSettled;
      if (!accept_queue_.empty()) mask |= POLLIN | POLLRDNORM;
      // Armed only by those who wait: the daemon chooses one of them for each connection.
      if ((wanted & (POLLIN | POLLRDNORM)) && !(wanted & kPollOnlyLook) &&
          (edge || !(mask & wanted)) && !accept_queue_.arm(attachment_->worker_index()))
        mask |= POLLIN | POLLRDNORM;
      break;
    case State::kFailed:
      mask = POLLIN | POLLRDNORM | POLLOUT | POLLWRNORM | POLLRDHUP | POLLHUP | kPollSettled |
             kPollDrained | (error_ ? POLLERR : 0);
      break;
    case State::kOpen: {
      // Who only looks may be without the worker's mutex.
      const ProcessLock process_lock(*shared_);
      if (!(wanted & kPollOnlyLook) && links_changed()) [[unlikely]]
        sync_links();
      become_owner();
      follow_sizes();
      mask = poll_open(wanted, edge);
      break;
    }
  }
  return mask & (wanted | always);
}

uint32_t Session::poll_open(uint32_t wanted, bool edge) {
  uint32_t out = kPollSettled;
  if (shut_wr_ || peer_closed()) {
    out |= POLLOUT | POLLWRNORM;
    if (cut_.wrote_in_vain) out |= POLLHUP | (error_taken_ ? 0 : POLLERR);
  } else if (wanted & (POLLOUT | POLLWRNORM)) {
    uint32_t room = tx_.space();
    const uint32_t enough = std::max(1u, writable_at());
    if (room < enough) room = tx_.refresh();
    if (room >= enough || !tx_.want_space(enough)) out |= POLLOUT | POLLWRNORM;
  }
  if ((wanted & kPollDrained) && cut_.pair) {
    out |= kPollDrained;
  } else if (wanted & kPollDrained) {
    tx_.refresh();
    if (tx_.used() == 0 || !tx_.want_space(tx_.size())) out |= kPollDrained;
  }
  const bool has_links = can_use_links();
  for (int looks = 0;; ++looks) {
    uint32_t in = 0;
    if (lost() != 0) {
      in = POLLIN | POLLRDNORM | POLLRDHUP | POLLOUT | POLLWRNORM | POLLHUP | kPollDrained |
           (error_taken_ ? 0 : POLLERR);
      return in | out;
    }
    const bool ended = shut_rd_ || peer_closed() || rx_.eof_ahead();
    if (hears_errors_) [[unlikely]]
      collect_errors();
    const uint32_t ready = rx_.available();
    const uint32_t low = std::min(rcv_lowat.load(std::memory_order_relaxed), rx_.size());
    if (ended) {
      in = POLLIN | POLLRDNORM | POLLRDHUP | (shut_wr_ ? POLLHUP : 0);
      return in | out;
    }
    bool readable = ready >= low || (ready != 0 && rx_.refresh() >= low);
    if (readable && is_datagram()) readable = has_datagram(rx_.cached_available());
    if (readable || (has_links && links_readable())) in = POLLIN | POLLRDNORM;
    if (is_datagram()) {
      const bool is_pending =
          (ready != 0 && datagram_error(false) != 0) || error_ != 0 || queued_error_ != 0;
      // What only MSG_ERRQUEUE reads ends no other call, or that would wait and fail for ever.
      if (wanted & kPollForCall)
        in |= is_pending ? wanted & (POLLIN | (remote_.port != 0 ? POLLOUT : 0)) : 0;
      else if (is_pending || !errors_.empty())
        in |= POLLERR;
    }
    // Nothing that was asked for, or an edge: an event is due for whatever comes next, be it end of
    // file or a reset that nobody asked for by name.
    const bool satisfied = !edge && ((in | out) & wanted);
    if (rx_.violation()) [[unlikely]]
      return in | out | POLLIN | POLLRDNORM | POLLERR | POLLHUP;
    // Each look but the last has armed all. Who is that busy, or lies, sends an event for what
    // comes behind the last one.
    if (satisfied || looks == kMostLooks) return in | out;
    bool is_quiet = rx_.arm(rx_.cached_available());
    if (has_links) is_quiet &= arm_links();
    if (is_quiet) return in | out;
  }
}

bool Session::has_room(uint32_t n) {
  const std::lock_guard lock(mutex_);
  if (state() != State::kOpen) return true;
  const ProcessLock process_lock(*shared_);
  become_owner();
  follow_sizes();
  return lost() != 0 || peer_closed() || is_sending_shut() || !tx_.want_space(n);
}

bool Session::readable_beyond(uint32_t seen) {
  const std::lock_guard lock(mutex_);
  if (state() != State::kOpen) return true;
  const ProcessLock process_lock(*shared_);
  if (rx_.refresh() > seen || rx_.violation()) return true;
  return lost() != 0 || peer_closed() || shut_rd_ || !rx_.arm(seen);
}

// Who waits for it is woken by the answer; what has become of the session is only looked at.
bool Session::has_answer(uint32_t context) {
  const std::lock_guard lock(mutex_);
  const auto at = std::ranges::find(questions_, context, &Question::context);
  return at == questions_.end() || at->is_answered || state() != State::kOpen || lost() != 0;
}

}  // namespace loom::vcl
