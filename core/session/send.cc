// Node "session-queue": the beginning of everything that this host sends on behalf of applications.
//   in    requests from applications' message queues; sessions whose tx fifo has bytes
//   out   chains with payload, to the transport's push_headers, which hands them to its output node
//   cost  small segments are copied (kCopyBelow); larger ones refer to the fifo's bytes, copied by
//   nobody
// A round tells applications what the last one's packets brought, and sends. A session has one turn
// in it, when those have been told; who begins to send because of what it was told has it earlier,
// with others like it, while what belongs to them is in the cache. Who has more to send, or may
// have, comes in the next round: nodes have to run before windows open and buffers come back.
#include <algorithm>

#include "session/impl.h"

namespace loom::session {
namespace {

constexpr uint32_t kMaxChainsPerVisit = 32;  // of one session in one round: fairness
constexpr uint32_t kMaxBytesPerVisit = 256 * 1024;
constexpr uint32_t kCopyBelow =
    512;  // bytes; below, a copy is cheaper than another buffer for a reference
constexpr std::size_t kMaxViews = 16;

constexpr CounterInfo kQueueCounters[kQueueCounterCount] = {
    {"sent", Severity::kInfo, "chains handed to transports"},
    {"no-buffers", Severity::kWarn, "sending put off: the buffer pool is empty"},
    {"no-segment-memory", Severity::kWarn,
     "an application's segments were full; another is being added"},
    {"stale-handle", Severity::kInfo, "requests for a session that is gone"},
    {"bad-request", Severity::kError, "requests that make no sense"},
    {"app-violation", Severity::kError, "shared memory of an application contradicted itself"},
    {"accept-overflow", Severity::kWarn, "connections refused because the accept queue was full"},
    {"event-overflow", Severity::kWarn,
     "events that waited because an application's queue was full"},
    {"migrated", Severity::kInfo, "sessions that came from another worker"},
    {"passed-on", Severity::kInfo, "requests sent after their session to another worker"},
    {"namespace-full", Severity::kWarn,
     "sessions refused or put off because their namespace has as many as it may have"},
    {"bad-datagram", Severity::kError, "datagrams of applications that make no sense, dropped"},
    {"datagram-denied", Severity::kInfo, "datagrams of applications that a rule refuses, dropped"},
    {"membership-refused", Severity::kWarn,
     "memberships of groups refused: their application has as many as leave others enough"},
};

enum class Visit { kDone, kAgain };

// Sends what the session may send. kDone: nothing more until the application or the transport says
// so.
Visit visit(SessionWorker& sw, Session& s) noexcept {
  Worker& w = *sw.worker;
  const TransportOps& ops = *ops_of(sw, s);
  auto tx = tx_of(s);
  for (int look = 0; look < 2; ++look) {
    const uint32_t in_fifo = tx.refresh();
    if (tx.violation()) [[unlikely]] {
      condemn(sw, *s.app);
      return Visit::kDone;
    }
    const uint32_t waiting = s.hold.total_deferred();
    const uint32_t queued = in_fifo > waiting ? in_fifo - waiting : 0;
    // MSG_MORE; once more when it is over.
    if (const uint32_t held = tx.held(); (held != 0) | s.tail_held) [[unlikely]] {
      s.tail_held = held != 0;
      if (ops.tx_due) ops.tx_due(w, s.conn, held ? queued - std::min(held, queued) : ~0u);
    }
    const SendWindow window = ops.send_window(w, s.conn, queued);
    if (window.budget == 0) {
      // Blocked by the transport, which will schedule us, or by Nagle or cork, or idle: in each
      // case the next write may change that and must announce itself.
      if (tx.arm(in_fifo)) return Visit::kDone;
      continue;
    }
    uint32_t left =
        std::min({window.budget, queued - std::min(window.offset, queued), kMaxBytesPerVisit});
    uint32_t offset = window.offset;
    Buffer* chains[kMaxChainsPerVisit];
    uint32_t n = 0;
    while (left != 0 && n < kMaxChainsPerVisit) {
      const uint32_t length = std::min(left, window.segment);
      Buffer* b = w.alloc();
      if (!b || !append_tx(sw, s, offset, length, *b)) {
        if (b) w.free(b);
        if (!tx.violation()) ++sw.counters[kNoBuffers];
        break;
      }
      chains[n++] = b;
      offset += length;
      left -= length;
    }
    if (n == 0) return tx.violation() ? Visit::kDone : Visit::kAgain;
    sw.counters[kSentChains] += n;
    w.work += n;
    // Who writes from another thread may do so until the next look, and need not say so. One on
    // this thread says it at no cost, and the look, at what has left the cache meanwhile, is
    // spared.
    const bool is_over =
        offset == queued && !s.tail_held && s.app->owner->in_this_process && tx.arm(in_fifo);
    ops.push_headers(w, s.conn, {chains, n});
    return is_over ? Visit::kDone : Visit::kAgain;
  }
  return Visit::kAgain;
}

// Lets an internal transport take what it can. True: there is more to do, look again.
bool offer(SessionWorker& sw, Session& s) noexcept {
  const TransportOps& ops = *ops_of(sw, s);
  if (!ops.tx_ready) return false;  // cut-through: nobody sends
  const SessionId id = s.id;
  const uint32_t generation = s.generation;
  const auto queued = [&] {
    auto tx = tx_of(s);
    const uint32_t n = tx.refresh();
    if (tx.violation()) [[unlikely]]
      condemn(sw, *s.app);
    return n;
  };
  const uint32_t before = queued();
  const uint32_t head = tx_of(s).head();
  ops.tx_ready(*sw.worker, s.conn, before);
  if (sw.pool.at(id).generation != generation || !(s.flags & kTransportUp)) return false;
  const uint32_t after = queued();
  if (tx_of(s).violation()) return false;
  // Not by what is queued: the application may have written as much meanwhile.
  const bool has_taken = tx_of(s).head() != head;
  if (has_taken) ++sw.worker->work;
  // What is left the transport waits with, or there is nothing: the next write announces itself.
  return (after != 0 && has_taken) || !tx_of(s).arm(after);
}

bool send_some(SessionWorker& sw, Session& s) noexcept {
  switch (ops_of(sw, s)->tx_kind) {
    case TxKind::kDatagram:
      return send_datagrams(sw, s);
    case TxKind::kInternal:
      return offer(sw, s);
    default:
      return visit(sw, s) == Visit::kAgain;
  }
}

// Gives those in `sending` their turn.
void send(SessionWorker& sw) noexcept {
  for (std::size_t i = 0; i < sw.sending.size(); ++i) {
    Session& s = sw.pool.at(sw.sending[i]);
    if (!(s.flags & kInReady)) continue;  // it has gone
    s.flags &= static_cast<uint8_t>(~kInReady);
    if (!s.shared || !(s.flags & kTransportUp)) continue;
    const SessionId id = s.id;
    const uint32_t generation = s.generation;
    const bool again = send_some(sw, s);
    if (!again || sw.pool.at(id).generation != generation || (s.flags & kInReady)) continue;
    s.flags |= kInReady;
    sw.again.push_back(id);
    ++sw.worker->work;  // the round must not end in sleep
  }
  sw.sending.clear();
}

// Of those that came to be ready in this round.
void send_fresh(SessionWorker& sw) noexcept {
  const auto first = sw.ready.begin() + static_cast<std::ptrdiff_t>(sw.waiting);
  sw.sending.assign(first, sw.ready.end());
  sw.ready.erase(first, sw.ready.end());
  send(sw);
}

void send_all(SessionWorker& sw) noexcept {
  std::swap(sw.ready, sw.sending);
  send(sw);
}

void session_queue(Worker& w, NodeRuntime& rt, std::span<Buffer* const>) noexcept {
  SessionWorker& sw = of(w);
  sw.ready.insert(sw.ready.end(), sw.again.begin(), sw.again.end());
  sw.again.clear();
  sw.waiting = sw.ready.size();
  flush(sw, send_fresh);  // what the last round's packets brought
  w.work += poll_requests(sw);
  if (!sw.ready.empty()) send_all(sw);
  flush(sw);
  if (!std::exchange(sw.counters.changed, false)) return;
  for (uint16_t i = 0; i < kQueueCounterCount; ++i)
    if (const uint64_t n = std::exchange(sw.counters.n[i], 0)) rt.count(i, n);
}

}  // namespace

const NodeInfo kSessionQueue{.name = "session-queue",
                             .run = session_queue,
                             .kind = NodeKind::kInput,
                             .counters = kQueueCounters};

void schedule(SessionWorker& sw, Session& s) noexcept {
  if (s.flags & kInReady) return;
  s.flags |= kInReady;
  sw.ready.push_back(s.id);
  ++sw.worker->work;  // the round must not end in sleep
}

bool append_tx(SessionWorker& sw, Session& s, uint32_t offset, uint32_t length,
               Buffer& first) noexcept {
  Worker& w = *sw.worker;
  if (!s.shared) return false;
  auto tx = tx_of(s);
  offset += s.hold.total_deferred();
  if (length <= kCopyBelow && !first.next && length <= first.tailroom()) {
    std::byte* at = first.data + first.len;
    if (tx.peek(offset, {at, length}) != length) {
      if (tx.violation()) condemn(sw, *s.app);
      return false;
    }
    first.len += length;
    return true;
  }
  Buffer* before = nullptr;  // last segment of the chain as it was
  for (before = &first; before->next; before = before->next) {}
  Buffer* last = before;
  uint32_t added = 0;
  while (added < length) {
    svm::ByteView views[kMaxViews];
    const uint32_t n = tx.segments(offset + added, length - added, views);
    bool failed = n == 0;
    for (uint32_t i = 0; i < n && !failed; ++i) {
      Buffer* b = w.alloc_external(views[i], &s.hold.owner, s.hold.epoch);
      failed = !b;
      if (failed) break;
      ++s.hold.refs[s.hold.epoch];
      last->next = b;
      last = b;
      added += static_cast<uint32_t>(views[i].size());
    }
    if (failed) {
      if (tx.violation()) condemn(sw, *s.app);
      if (Buffer* rest = std::exchange(before->next, nullptr)) w.free(rest);
      return false;
    }
  }
  first.rest_len += added;
  return true;
}

}  // namespace loom::session
