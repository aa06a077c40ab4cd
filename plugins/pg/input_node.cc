// Node "pg-input", an input node: sends what the streams that are enabled on its worker have due.
//   out   ethernet-input | ip4-input | ip6-input | interface-output | drop, as each stream says
//   cost  a copy a packet; one comparison a round while no stream is enabled
// A stream without a rate sends a frame a round and keeps the worker awake. One with a rate sleeps
// until its next packet, to a tick of the timer wheel; packets that came due in one tick are sent
// together.
#include <algorithm>

#include "stream.h"

namespace loom::pg {
namespace {

enum Counter : uint16_t { kGenerated, kNoBuffers, kCounterCount };
constexpr CounterInfo kCounters[kCounterCount] = {
    {"generated", Severity::kInfo, "packets sent"},
    {"no-buffers", Severity::kWarn, "rounds that sent less because the pool was empty"},
};

// The packet in one buffer or several; null when there are too few.
Buffer* make(Worker& w, const uint8_t* bytes, uint32_t length) noexcept {
  Buffer* first = nullptr;
  Buffer* last = nullptr;
  do {
    Buffer* b = w.alloc();
    const uint32_t n = b ? std::min(length, b->tailroom()) : 0;
    if (n == 0 && length != 0) {
      if (b) w.free(b);
      if (first) w.free(first);
      return nullptr;
    }
    std::memcpy(b->append(n), bytes, n);
    bytes += n;
    length -= n;
    if (first) {
      last->next = b;
      first->rest_len += n;
    } else {
      first = b;
    }
    last = b;
  } while (length != 0);
  return first;
}

// How many packets a stream may send now, up to a frame.
uint32_t due(const Stream& s, TimeNs now) noexcept {
  uint64_t n = s.config.max_frame;
  const uint64_t sent = s.n_sent;
  if (s.config.limit != 0) n = std::min(n, s.config.limit - sent);
  if (s.config.rate != 0) {
    const double by_now = to_seconds(now - s.begun) * s.config.rate + 1;  // the first at once
    n = by_now < static_cast<double>(sent) + static_cast<double>(n)
            ? static_cast<uint64_t>(by_now) - std::min(sent, static_cast<uint64_t>(by_now))
            : n;
  }
  return static_cast<uint32_t>(n);
}

// When the packet after those that are sent is due.
TimeNs next_due(const Stream& s) noexcept {
  const double seconds = static_cast<double>(s.n_sent.value()) / s.config.rate;
  return s.begun + from_seconds(std::min(seconds, 3600.0 * 24 * 365 * 100));
}

uint32_t send(Worker& w, NodeRuntime& rt, Stream& s, uint32_t n) noexcept {
  std::array<Buffer*, kFrameSize> out;
  uint32_t made = 0;
  uint64_t n_bytes = 0;
  for (; made < n; ++made) {
    const Frame& f = s.config.frames[s.next];
    Buffer* b = make(w, s.config.bytes.data() + f.at, f.length);
    if (!b) [[unlikely]] {
      rt.count(kNoBuffers);
      ++s.n_blocked;
      break;
    }
    b->rx_if = s.rx_if;
    b->tx_if = s.tx_if;
    out[made] = b;
    n_bytes += f.length;
    s.next = s.next + 1 == s.config.frames.size() ? 0 : s.next + 1;
  }
  s.n_sent += made;
  rt.count(kGenerated, made);
  if (InterfaceCounters* c = s.rx_counters) {
    __atomic_store_n(&c->packets, c->packets + made, __ATOMIC_RELAXED);
    __atomic_store_n(&c->bytes, c->bytes + n_bytes, __ATOMIC_RELAXED);
  }
  rt.enqueue_all({out.data(), made}, s.config.node);
  return made;
}

void run(Worker& w, NodeRuntime& rt, std::span<Buffer* const>) noexcept {
  Generator* const generator = generator_of(w);
  if (!generator || generator->active.empty()) [[likely]]
    return;
  Generator& g = *generator;
  TimeNs wake = 0;  // 0: not needed
  const auto wake_at = [&](TimeNs t) { wake = wake == 0 ? t : std::min(wake, t); };
  for (std::size_t i = 0; i < g.active.size();) {
    Stream& s = *g.active[i];
    const uint32_t n = due(s, w.now), sent = send(w, rt, s, n);
    w.work += sent;
    if (s.config.limit != 0 && s.n_sent >= s.config.limit) {
      g.active.erase(g.active.begin() + static_cast<std::ptrdiff_t>(i));
      s.set_active(false);
      continue;
    }
    if (sent < n)
      wake_at(w.now + kTimerTick);  // buffers come back when packets end
    else if (s.config.rate != 0)
      wake_at(next_due(s));
    ++i;
  }
  if (wake != 0) w.timer_start(g.wake, wake);
}

}  // namespace

const char* const kNextNames[kNextCount] = {"ethernet-input", "ip4-input", "ip6-input",
                                            "interface-output", "drop"};

const NodeInfo kInputNode{
    .name = "pg-input",
    .run = run,
    .kind = NodeKind::kInput,
    .counters = kCounters,
    .next = {"ethernet-input", "ip4-input", "ip6-input", "interface-output", "drop"},
};

}  // namespace loom::pg
