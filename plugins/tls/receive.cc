// Records in: decrypted by OpenSSL into the memory of the application's fifo.
#include <openssl/err.h>

#include <algorithm>
#include <string_view>
#include <utility>

#include "tls.h"

namespace loom::tls {
namespace {

constexpr TimeNs kMemoryRetry = kMillisecond;

enum class Step : uint8_t { kGoOn, kWait, kOver };

// The lower session has ended without close_notify: bytes may be missing (RFC 8446 section 6.1).
Step truncated(Connection& c) noexcept {
  ++c.at->stats[kTruncated];
  fail(c, ResetReason::kPeerReset);
  return Step::kOver;
}

Step broken(Connection& c) noexcept {
  ++c.at->stats[kBadRecords];
  note_errors(*c.at, c.ssl);
  fail(c, ResetReason::kPeerReset);
  return Step::kOver;
}

// No more bytes will come.
Step peer_closed(Connection& c) noexcept {
  c.heard_close = true;
  if (c.upper != kNoSession) c.at->w.sessions->peer_closed(c.at->w, c.upper);
  if (!c.shut) return Step::kOver;
  send(c);
  return Step::kOver;
}

// Waits until the application has read, or there is memory.
Step wait_for_room(Connection& c) noexcept {
  Worker& w = c.at->w;
  if (w.sessions->rx_space(w, c.upper) != 0)
    start_timer(c, kMemoryRetry);
  else
    w.sessions->rx_want_space(w, c.upper);
  return Step::kWait;
}

// The application has closed: what still comes is nobody's, and the peer hears so when it is much
// (RFC 1122 section 4.2.2.13).
Step unwanted(Connection& c, std::size_t n) noexcept {
  c.discarded += static_cast<uint32_t>(n);
  if (c.discarded <= kMostDiscarded) return Step::kGoOn;
  Worker& w = c.at->w;
  const SessionId upper = std::exchange(c.upper, kNoSession);
  c.state = Connection::State::kEnding;
  c.below().abort();
  w.sessions->closed(w, upper);
  return Step::kOver;
}

constexpr uint32_t kNoDataCosts = 16'384;  // of a turn, what gives the application no byte

// At most one record's bytes. `again`: there is to be another call, unless somebody waits for room.
Step receive_some(Connection& c, uint32_t most, bool again) noexcept {
  Worker& w = c.at->w;
  std::byte nowhere[kMaxPlain];
  std::span<std::byte> to[1] = {nowhere};
  if (!c.closed && w.sessions->rx_reserve(w, c.upper, most, std::span(to)) == 0)
    return wait_for_room(c);
  // Before the application above is to be told: it is told once of this call and the next.
  if (again) c.below().want_readable();
  size_t got = 0;
  const int done = SSL_read_ex(c.ssl, to[0].data(), to[0].size(), &got);
  if (!c.closed) w.sessions->rx_commit(w, c.upper, static_cast<uint32_t>(got));
  c.at->stats[kBytesIn] += got;
  if (done == 1) return c.closed ? unwanted(c, got) : Step::kGoOn;
  switch (SSL_get_error(c.ssl, done)) {
    case SSL_ERROR_WANT_READ:
      return Step::kGoOn;
    case SSL_ERROR_ZERO_RETURN:
      return peer_closed(c);
    default:
      return broken(c);
  }
}

void receive_all(Connection& c) noexcept {
  AppSession lower = c.below();
  Turns& turns = c.at->turns;
  turns.begin(c.turn, c.at->w.now);
  bool has_begun = false;
  for (Step step = Step::kGoOn; step == Step::kGoOn;) {
    if (!c.unsent.empty()) return;  // `writable` goes on
    const auto plain = static_cast<uint32_t>(SSL_pending(c.ssl));
    const uint32_t unread = lower.unread();
    if (plain == 0 && !has_record(c)) {  // `readable` comes with more
      if (lower.ended()) (void)truncated(c);
      return;
    }
    // A call has one record at least.
    if (plain == 0 && has_begun && turns.is_over(c.turn) && !c.gone) return lower.want_readable();
    const bool is_first = !std::exchange(has_begun, true);
    if (is_first) {
      keep_buffers(c);
      ERR_clear_error();  // a step that goes well leaves none
    }
    const uint32_t taken = c.taken;
    const uint64_t got = c.at->stats[kBytesIn];
    step = receive_some(c, plain != 0 ? plain : std::min(unread, kMaxPlain),
                        is_first && unread >= Turns::kLeast);
    // A few bytes of a KeyUpdate, or of a ticket, cost as much as thousands of data.
    turns.spend(c.turn,
                std::max(c.taken - taken, c.at->stats[kBytesIn] == got ? kNoDataCosts : 0u));
  }
}

}  // namespace

bool has_record(const Connection& c) noexcept {
  constexpr uint32_t kHead = 5;  // RFC 8446 section 5.1: type, version, length
  const uint32_t unread = c.below().unread();
  if (std::string_view(SSL_rstate_string(c.ssl)) != "RH") return unread != 0;
  if (unread < kHead) return false;
  std::byte head[kHead];
  if (copy_unread(c, head) < kHead) return true;
  const auto at = [&head](int i) { return std::to_integer<uint32_t>(head[i]); };
  const auto has = [unread](uint32_t before, uint32_t size) {
    return size > kMaxRecord || unread - before >= size;
  };
  // A hello as of SSL 2 has its size first, then its type (RFC 5246 appendix E.2).
  if (c.is_server && SSL_in_before(c.ssl) && (at(0) & 0x80) && at(2) == 1)
    return has(2, (at(0) & 0x7f) << 8 | at(1));
  return at(1) != SSL3_VERSION_MAJOR || has(kHead, at(3) << 8 | at(4));
}

void receive(Connection& c) noexcept {
  if (c.state != Connection::State::kOpen || c.heard_close || c.upper == kNoSession) return;
  c.again = true;
  if (c.receiving) return;
  c.receiving = true;
  while (c.again && c.state == Connection::State::kOpen && !c.heard_close) {
    c.again = false;
    receive_all(c);
  }
  c.receiving = c.again = false;
  if (!c.blocked || c.state != Connection::State::kOpen || SSL_in_init(c.ssl)) return;
  c.blocked = false;
  c.at->w.timer_stop(c.timer);
  if (c.upper != kNoSession) c.at->w.sessions->tx_schedule(c.at->w, c.upper);
}

// Not cut into rounds, as there is no other: at most what the lower fifo holds, and the upper one
// has room for. What there is no room for is lost.
void receive_rest(Connection& c) noexcept {
  c.gone = true;
  c.unsent.clear();
  receive(c);
}

}  // namespace loom::tls
