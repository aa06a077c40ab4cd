#include "connection.h"

#include <algorithm>
#include <memory>
#include <new>
#include <utility>

#include "client.h"
#include "pattern.h"
#include "request.h"

namespace loom::perf {
namespace {

constexpr uint32_t kMostPerCall = 256 * 1024;  // bytes: then it is the other connections' turn
constexpr uint32_t kWorthAWrite = 64 * 1024;   // bytes of room to wait for

Connection& of(void* context) noexcept { return *static_cast<Connection*>(context); }
const RunConfig& config(const Connection& c) noexcept { return *c.part->config; }
AppSession session(const Connection& c) noexcept { return {*c.part->worker, c.session}; }
bool is_running(const Connection& c) noexcept { return c.part->phase == Part::Phase::kRunning; }

// A stream of requests says so to the server, unless that sends everything back anyhow.
bool has_header(const Connection& c) noexcept { return config(c).request != 0 && !config(c).echo; }

void shut(Connection& c) noexcept {
  if (std::exchange(c.is_shut, true)) return;
  c.retransmitted = retransmitted(session(c), c.retransmitted);
  session(c).shutdown();
}

// The next bytes of what is granted, as many as are at hand in one piece.
std::span<const std::byte> next_bytes(const Connection& c, const RequestHeader& header,
                                      uint64_t most) noexcept {
  if (!has_header(c)) return pattern((config(c).echo ? 0 : kMarkSize) + c.sent, most);
  if (c.sent >= sizeof header) return pattern(kMarkSize + c.sent - sizeof header, most);
  return std::as_bytes(std::span(&header, 1)).subspan(c.sent);
}

// Sends what is granted, until the fifo is full or it is the others' turn.
void send(Connection& c) noexcept {
  const RunConfig& cf = config(c);
  const RequestHeader header = request_header(cf.request, cf.response);
  AppSession s = session(c);
  const uint64_t most = std::min<uint64_t>(c.granted, kMostPerCall);
  uint64_t now = 0;
  bool is_full = false;
  while (now < most && !is_full) {
    const auto bytes = next_bytes(c, header, most - now);
    const uint32_t taken = s.write(bytes);
    now += taken;
    c.sent += taken;
    is_full = taken < bytes.size();
  }
  c.granted -= now;
  add(c.part->counters->sent, now);
  if (c.granted != 0)
    s.want_writable(is_full ? static_cast<uint32_t>(std::min<uint64_t>(c.granted, kWorthAWrite))
                            : 1);
}

// Of a stream: goes on until the bytes are through, or the next turn is to come.
void stream(Connection& c) noexcept {
  const RunConfig& cf = config(c);
  const uint64_t left = cf.bytes != 0 ? cf.bytes - c.sent : kMostPerCall;
  if (cf.rate == 0) c.granted = std::min<uint64_t>(left, kMostPerCall);
  if (c.granted != 0) send(c);
  if (cf.bytes != 0 && c.sent == cf.bytes) return shut(c);
  if (c.granted != 0) return;
  if (cf.rate != 0) return wait_for_turn(*c.part, c);
  session(c).want_writable();
}

void writable(Worker&, SessionId, void* context) noexcept {
  Connection& c = of(context);
  if (c.is_shut) return;
  if (config(c).request == 0) return stream(c);
  if (c.granted != 0) send(c);
}

void connected(Worker& w, SessionId, Status status, void* context) noexcept {
  Connection& c = of(context);
  Tally& tally = c.part->tally;
  answered(*c.part);
  if (status != Status::kOk) {
    c.has_failed = true;
    ++tally.failed[static_cast<std::size_t>(status)];
    return;
  }
  c.is_up = true;
  ++tally.connected;
  tally.connects.add(static_cast<uint64_t>(w.now - c.since));
  if (tally.began == 0) tally.began = w.now;
  tally.connected_last = w.now;
  add(c.part->counters->opened, 1);
  if (!is_running(c)) return shut(c);
  if (config(c).reverse) return;
  if (config(c).request != 0) return wait_for_turn(*c.part, c);
  stream(c);
}

void round_trip_over(Connection& c, TimeNs now) noexcept {
  c.part->tally.round_trips.add(static_cast<uint64_t>(now - c.since));
  add(c.part->counters->round_trips, 1);
  ++c.round_trips;
  if (!is_running(c) || c.round_trips == config(c).requests) return shut(c);
  wait_for_turn(*c.part, c);
}

// So many bytes of responses have come.
void response(Connection& c, uint32_t n, TimeNs now) noexcept {
  // More than was asked for, or all of it before it was asked for.
  if (n > c.awaited || (n == c.awaited && c.granted != 0)) {
    c.is_mismatched = true;
    return abort(c);
  }
  c.awaited -= n;
  if (c.awaited == 0) round_trip_over(c, now);
}

void readable(Worker& w, SessionId, void* context) noexcept {
  Connection& c = of(context);
  const RunConfig& cf = config(c);
  const bool is_checked = cf.echo || cf.verify;
  const std::size_t first = cf.echo ? 0 : kMarkSize;
  AppSession s = session(c);
  std::span<const std::byte> views[4];
  uint32_t all = 0;
  while (const uint32_t n = s.peek(views)) {
    uint32_t got = 0;
    for (const auto& v : std::span(views, n)) {
      if (is_checked && !matches(first + c.received, v)) c.is_mismatched = true;
      c.received += v.size();
      got += static_cast<uint32_t>(v.size());
    }
    s.consume(got);
    all += got;
  }
  add(c.part->counters->received, all);
  if (cf.request != 0 && all != 0) response(c, all, w.now);
  if (cf.reverse && cf.bytes != 0 && c.received >= cf.bytes) shut(c);
  if (!s.eof()) return;
  c.got_eof = true;
  c.retransmitted = retransmitted(s, c.retransmitted);
  s.close();
}

void was_reset(Worker&, SessionId, ResetReason reason, void* context) noexcept {
  Connection& c = of(context);
  if (!c.is_up) return;
  // A transport may be newer, and know more of them.
  ++c.part->tally.reset[std::min(static_cast<std::size_t>(reason), kResetReasons - 1)];
  c.was_reset = true;
}

// It did what it was to do, and saw the server's end behind it.
bool is_whole(const Connection& c) noexcept {
  const RunConfig& cf = config(c);
  if (!c.is_shut || !c.got_eof) return false;
  if (cf.request != 0)
    return c.awaited == 0 && c.granted == 0 && (cf.requests == 0 || c.round_trips == cf.requests);
  if (cf.bytes != 0 && (cf.reverse ? c.received : c.sent) < cf.bytes) return false;
  return !cf.echo || c.received == c.sent;
}

void closed(Worker&, SessionId, void* context) noexcept {
  const std::unique_ptr<Connection> c(&of(context));
  Part& p = *c->part;
  if (c->is_up) {
    add(p.counters->closed, 1);
    add(p.counters->retransmitted, c->retransmitted);
    p.tally.mismatched += c->is_mismatched;
    p.tally.unfinished += !is_whole(*c) && !c->was_reset;
  } else if (!c->has_failed) {  // the run's end came first
    answered(p);
    ++p.tally.failed[static_cast<std::size_t>(Status::kClosed)];
  }
  forget(p, *c);
}

}  // namespace

void set_callbacks(AppOps& ops) noexcept {
  ops.connected = connected;
  ops.readable = readable;
  ops.writable = writable;
  ops.reset = was_reset;
  ops.closed = closed;
}

bool open_connection(Part& p) noexcept {
  const auto fail = [&](Status why) {
    ++p.tally.failed[static_cast<std::size_t>(why)];
    return false;
  };
  std::unique_ptr<Connection> c(new (std::nothrow) Connection);
  if (!c) return fail(Status::kNoMemory);
  c->part = &p;
  c->place = p.connections.size();
  c->since = p.worker->now;
  const auto id = AppSession::connect(*p.worker, *p.app, p.config->endpoint, c.get());
  if (!id) return fail(id.error().code);
  c->session = *id;
  p.connections.push_back(c.release());
  return true;
}

uint32_t turn_size(const Connection& c) noexcept {
  if (config(c).request != 0 || config(c).bytes == 0) return c.part->piece;
  return static_cast<uint32_t>(std::min<uint64_t>(c.part->piece, config(c).bytes - c.sent));
}

void take_turn(Connection& c, uint32_t units) noexcept {
  if (config(c).request == 0) {
    c.granted = units;
    return stream(c);
  }
  c.since = c.part->worker->now;
  c.awaited = config(c).response;
  c.granted = config(c).request;
  if (c.sent == 0 && has_header(c)) c.granted += sizeof(RequestHeader);
  send(c);
}

void wind_up(Connection& c) noexcept {
  if (c.is_up && c.awaited == 0) shut(c);
}

void abort(Connection& c) noexcept {
  AppSession s = session(c);
  c.retransmitted = retransmitted(s, c.retransmitted);
  s.abort();
}

}  // namespace loom::perf
