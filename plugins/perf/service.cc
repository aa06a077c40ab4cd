#include "service.h"

#include <algorithm>
#include <cstring>
#include <new>

#include "pattern.h"
#include "request.h"

namespace loom::perf {
namespace {

constexpr uint32_t kMostPerCall = 256 * 1024;  // bytes sent: then it is the others' turn
constexpr uint32_t kMostAnswers = 64;          // responses begun, likewise
constexpr uint32_t kWorthAWrite = 32 * 1024;   // bytes of room to wait for, if so many wait

Served& of(void* context) noexcept { return *static_cast<Served*>(context); }
Counters& counters(Worker& w, const Served& c) noexcept { return c.server->counters[w.index]; }

Served::Kind kind_at_first(ServerKind kind) noexcept {
  switch (kind) {
    case ServerKind::kEcho:
      return Served::Kind::kEcho;
    case ServerKind::kSource:
      return Served::Kind::kSource;
    case ServerKind::kPerf:
      break;
  }
  return Served::Kind::kUnknown;
}

// Sends the pattern, at most `most` bytes; bytes that were taken. Fewer: there is no more room.
uint32_t send_pattern(AppSession& s, Served& c, uint32_t most) noexcept {
  uint32_t sent = 0;
  for (bool is_full = false; sent < most && !is_full;) {
    const auto bytes = pattern(c.position, most - sent);
    const uint32_t taken = s.write(bytes);
    c.position = static_cast<uint32_t>((c.position + taken) % kPeriod);
    sent += taken;
    is_full = taken < bytes.size();
  }
  return sent;
}

// --- What the first bytes say

uint32_t first_bytes(const AppSession& s, std::span<std::byte> out) noexcept {
  std::size_t n = 0;
  std::span<const std::byte> views[sizeof(RequestHeader)];
  const uint32_t n_views = s.peek(views);
  for (uint32_t i = 0; i < n_views && n < out.size(); ++i) {
    const auto part = views[i].first(std::min(views[i].size(), out.size() - n));
    std::memcpy(out.data() + n, part.data(), part.size());
    n += part.size();
  }
  return static_cast<uint32_t>(n);
}

// kUnknown while there are too few to say, and more may come.
Served::Kind learn_kind(AppSession& s, Served& c, Counters& counter) noexcept {
  RequestHeader h{};
  const uint32_t n = first_bytes(s, std::as_writable_bytes(std::span(&h, 1)));
  const std::size_t n_mark = std::min<std::size_t>(n, kMarkSize);
  const bool is_echo = std::memcmp(h.mark, kEchoMark, n_mark) == 0;
  const bool is_request = std::memcmp(h.mark, kRequestMark, n_mark) == 0;
  if (is_echo && n >= kMarkSize) return Served::Kind::kEcho;
  if (is_request && n == sizeof h && h.is_valid()) {
    c.request = c.left = h.request;
    c.response = h.response;
    s.consume(sizeof h);
    add(counter.received, sizeof h);
    return Served::Kind::kResponder;
  }
  if ((is_echo || is_request) && n < sizeof h && !s.ended()) return Served::Kind::kUnknown;
  return Served::Kind::kSink;
}

// --- What each kind does, readable or writable: goes on where the last call stopped

void sink(AppSession& s, Counters& counter) noexcept {
  const uint32_t n = s.unread();
  s.consume(n);
  add(counter.received, n);
}

void echo(AppSession& s, Counters& counter) noexcept {
  const uint32_t moved = move_bytes(s, s, kMostPerCall);
  add(counter.received, moved);
  add(counter.sent, moved);
  if (const uint32_t left = s.unread(); left != 0)
    moved == kMostPerCall ? s.want_readable() : s.want_writable(std::min(left, kWorthAWrite));
}

void source(AppSession& s, Served& c, Counters& counter) noexcept {
  sink(s, counter);
  if (s.ended()) return;
  const uint32_t sent = send_pattern(s, c, kMostPerCall);
  add(counter.sent, sent);
  s.want_writable(sent < kMostPerCall ? kWorthAWrite : 1);
}

// False: something is still to be done before the stream's end is answered.
bool respond(AppSession& s, Served& c, Counters& counter) noexcept {
  uint32_t budget = kMostPerCall;
  for (uint32_t answers = 0;;) {
    if (c.is_answering) {
      const uint32_t most = std::min(c.left, budget);
      const uint32_t sent = send_pattern(s, c, most);
      add(counter.sent, sent);
      budget -= sent;
      c.left -= sent;
      if (c.left != 0) {  // no room, or the others' turn
        s.want_writable(sent < most ? std::min(c.left, kWorthAWrite) : 1);
        return false;
      }
      c.is_answering = false;
      c.left = c.request;
    }
    const uint32_t got = std::min(s.unread(), c.left);
    s.consume(got);
    add(counter.received, got);
    c.left -= got;
    if (c.left != 0) return true;
    c.is_answering = true;
    c.left = c.response;
    if (++answers < kMostAnswers && budget != 0) continue;
    s.want_writable();
    return false;
  }
}

void pump(Worker& w, SessionId id, void* context) noexcept {
  Served& c = of(context);
  Counters& counter = counters(w, c);
  AppSession s(w, id);
  if (c.kind == Served::Kind::kUnknown) c.kind = learn_kind(s, c, counter);
  switch (c.kind) {
    case Served::Kind::kUnknown:
      return;
    case Served::Kind::kSink:
      sink(s, counter);
      break;
    case Served::Kind::kEcho:
      echo(s, counter);
      break;
    case Served::Kind::kSource:
      source(s, c, counter);
      break;
    case Served::Kind::kResponder:
      if (!respond(s, c, counter)) return;
  }
  if (!s.eof()) return;
  add(counter.retransmitted, retransmitted(s, 0));
  s.close();
}

bool accepted(Worker& w, SessionId, SessionId id, void** context) noexcept {
  auto* server = static_cast<Server*>(*context);
  Served* c = server->served[w.index]->take();
  if (!c) return false;  // no memory
  c->server = server;
  c->kind = kind_at_first(server->kind);
  c->position = kMarkSize;
  *context = c;
  add(counters(w, *c).opened, 1);
  if (c->kind == Served::Kind::kSource) AppSession(w, id).want_writable();
  return true;
}

void closed(Worker& w, SessionId, void* context) noexcept {
  Served& c = of(context);
  add(counters(w, c).closed, 1);
  c.server->served[w.index]->give(c);
}

}  // namespace

void set_service(AppOps& ops) noexcept {
  ops.accepted = accepted;
  ops.readable = ops.writable = pump;
  ops.closed = closed;
}

}  // namespace loom::perf
