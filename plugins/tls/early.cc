// Early data of clients (RFC 8446 sections 2.3, 8), where `early-data` of the stanza allows some.
// The application gets its session with the first byte, before the handshake is done, and what it
// writes waits for that. Whoever has recorded a client's first flight may send it again: OpenSSL
// takes each ticket once (its cache of sessions, which is the listener's), and has the data of a
// second one dropped. So a flight is carried out once; but the client whose flight was dropped
// sends its data again once the handshake is done, as it cannot know who was first (section 8.1).
//   cost  as received records; a lock of the listener's for each ticket
#include <algorithm>
#include <cstring>

#include "tls.h"

namespace loom::tls {
namespace {

// False: nobody takes the connection, which is at its end.
bool deliver_first(Connection& c, std::span<const std::byte> bytes) noexcept {
  if (!accept_above(c)) return false;
  Worker& w = c.at->w;
  for (std::span<std::byte> to[1]; !bytes.empty();) {
    if (w.sessions->rx_reserve(w, c.upper, static_cast<uint32_t>(bytes.size()), std::span(to)) ==
        0) {
      ++c.at->stats[kHandshakesFailed];
      fail(c, ResetReason::kNoMemory);
      return false;
    }
    const std::size_t n = std::min(bytes.size(), to[0].size());
    std::memcpy(to[0].data(), bytes.data(), n);
    w.sessions->rx_commit(w, c.upper, static_cast<uint32_t>(n));
    bytes = bytes.subspan(n);
  }
  return true;
}

void count_early(TlsWorker& t, std::size_t n) noexcept {
  t.stats[kBytesIn] += n;
  t.stats[kEarlyBytes] += n;
}

}  // namespace

void early_came(Connection& c, std::span<const std::byte> bytes) noexcept {
  count_early(*c.at, bytes.size());
  if (deliver_first(c, bytes)) handshake(c);
}

Early read_early(Connection& c) noexcept {
  TlsWorker& t = *c.at;
  Worker& w = t.w;
  for (const uint32_t begun = c.taken;;) {
    if (c.taken != begun && c.below().unread() != 0 &&
        (c.taken - begun >= kMostPerCall || t.slice.is_used_up(w.now))) {
      c.below().want_readable();
      return Early::kWait;
    }
    std::byte first[kFirstEarly];
    std::span<std::byte> to[1] = {first};
    const bool is_first = c.upper == kNoSession, is_kept = !is_first && !c.closed;
    if (is_kept && w.sessions->rx_reserve(w, c.upper, kMaxPlain, std::span(to)) == 0) {
      if (w.sessions->rx_space(w, c.upper) == 0) {
        w.sessions->rx_want_space(w, c.upper);  // rx_drained goes on
        return Early::kWait;
      }
      ++t.stats[kHandshakesFailed];
      fail(c, ResetReason::kNoMemory);
      return Early::kOver;
    }
    size_t got = 0;
    const int done = t.slice.measure(
        [&] { return SSL_read_early_data(c.ssl, to[0].data(), to[0].size(), &got); });
    if (is_kept) w.sessions->rx_commit(w, c.upper, static_cast<uint32_t>(got));
    count_early(t, got);
    if (done == SSL_READ_EARLY_DATA_ERROR) return Early::kLook;
    if (done == SSL_READ_EARLY_DATA_FINISH) {
      c.reads_early = false;
      return Early::kGoOn;
    }
    if (is_first && !deliver_first(c, std::span(first).first(got))) return Early::kOver;
  }
}

}  // namespace loom::tls
