#include "connection.h"

#include <algorithm>
#include <cstring>
#include <ctime>
#include <new>

#include "conditions.h"
#include "date.h"
#include "target.h"

namespace loom::http {
namespace {

using Phase = Connection::Phase;

constexpr uint32_t kMostPerCall = 64;        // requests: then it is the other connections' turn
constexpr uint32_t kWorthAWrite = 32 << 10;  // bytes of room to wait for, if so many wait
constexpr TimeNs kFresh = kSecond;           // an entry is taken at its word for so long
constexpr TimeNs kLinger = 2 * kSecond;      // for the client to see the end and close
constexpr uint16_t kRequestTimeout = 408;

Connection& of(void* context) noexcept { return *static_cast<Connection*>(context); }
bool is_over(const Connection& c) noexcept { return c.phase == Phase::kOver; }

std::span<const std::byte> bytes_of(std::string_view s) noexcept {
  return std::as_bytes(std::span(s.data(), s.size()));
}

// Now, formatted once a second.
std::string_view date(Worker& w, const Connection& c) noexcept {
  Part& p = c.server->part(w);
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME_COARSE, &now);  // no system call
  if (p.date.size == 0 || now.tv_sec != p.date_of) {
    p.date = date_text(now.tv_sec);
    p.date_of = now.tv_sec;
  }
  return p.date.view();
}

void drop_entry(Worker& w, Connection& c) noexcept {
  if (c.entry) give_back(w, *std::exchange(c.entry, nullptr));
}

void consume(Worker& w, Connection& c, uint32_t n) noexcept {
  AppSession(w, c.session).consume(n);
  c.server->count(w, kReceived, n);
}

void consume_all(Worker& w, Connection& c) noexcept {
  consume(w, c, AppSession(w, c.session).unread());
}

void close(Worker& w, Connection& c) noexcept {
  consume_all(w, c);  // unread bytes would make it a reset
  c.phase = Phase::kOver;
  AppSession(w, c.session).close();
}

// --- Answers

void begin_sending(Worker& w, Connection& c, uint16_t status) noexcept {
  c.phase = Phase::kAnswer;
  c.out_at = 0;
  c.was_looked_up = false;
  c.last_progress = w.now;
  c.server->count(w, kRequests);
  c.server->count(w, static_cast<Stat>(kStatus2xx + std::clamp(status / 100 - 2, 0, 3)));
}

void refuse(Worker& w, Connection& c, uint16_t status, const Request& r,
            std::string_view location = {}) noexcept {
  drop_entry(w, c);
  c.at = c.end = 0;
  write_refusal(c.out, status, date(w, c), {c.keep_alive, r.says_keep_alive && r.minor == 0},
                r.method == Method::kHead, location);
  begin_sending(w, c, status);
}

// The file is c.entry's.
void answer_with_file(Worker& w, Connection& c, const Request& r) noexcept {
  const File& file = *c.entry->file;
  const Selection s = select(r, file.representation());
  if (s.status == 412) return refuse(w, c, 412, r);
  begin_answer(c.out, s.status, date(w, c), {c.keep_alive, r.says_keep_alive && r.minor == 0});
  if (s.status == 416) {
    c.out.add("Content-Length: 0\r\nContent-Range: bytes */");
    c.out.add(file.size());
    c.out.add("\r\n");
  } else {
    c.out.add(file.fields);
  }
  if (s.status == 206) {
    c.out.add("Content-Range: bytes ");
    c.out.add(s.begin);
    c.out.add("-");
    c.out.add(s.end - 1);
    c.out.add("/");
    c.out.add(file.size());
    c.out.add("\r\n");
  }
  if (s.status < 300) {
    c.out.add("Content-Length: ");
    c.out.add(s.end - s.begin);
    c.out.add("\r\n");
  }
  c.out.add("\r\n");
  const bool has_body = s.status < 300 && r.method == Method::kGet;
  c.at = has_body ? s.begin : 0;
  c.end = has_body ? s.end : 0;
  if (!has_body) drop_entry(w, c);
  begin_sending(w, c, s.status);
}

// True: all of it is in the fifo.
bool send(Worker& w, Connection& c) noexcept {
  AppSession s(w, c.session);
  const auto put = [&](std::span<const std::byte> bytes) {
    const uint32_t taken = s.write(bytes);
    if (taken != 0) c.last_progress = w.now;
    c.server->count(w, kSent, taken);
    return taken;
  };
  if (c.out_at < c.out.size) {
    c.out_at += put(bytes_of(c.out.view().substr(c.out_at)));
    if (c.out_at < c.out.size) {
      s.want_writable(c.out.size - c.out_at);
      return false;
    }
  }
  if (c.at == c.end) return true;
  const File& file = *c.entry->file;
  if (file.is_in_memory()) {
    c.at += put({file.data.get() + c.at, c.end - c.at});
    if (c.at == c.end) return true;
    s.want_writable(static_cast<uint32_t>(std::min<uint64_t>(c.end - c.at, kWorthAWrite)));
    return false;
  }
  if (c.lookup) return false;
  const auto n = static_cast<uint32_t>(std::min<uint64_t>(c.end - c.at, c.server->piece));
  if (s.space() < n) {
    s.want_writable(n);
  } else if (!start_read(w, c, c.at, n)) {
    c.phase = Phase::kOver;
    s.abort();
  }
  return false;
}

void end_answer(Worker& w, Connection& c) noexcept {
  drop_entry(w, c);
  if (c.keep_alive) {
    c.phase = Phase::kRequest;
    return;
  }
  AppSession(w, c.session).shutdown();
  c.phase = Phase::kLinger;
  w.timer_start_in(c.timer, kLinger);
}

// --- Requests

// The head at the front of the fifo. It stays there.
Parsed parse(Worker& w, Connection& c, Request& r) noexcept {
  AppSession s(w, c.session);
  if (s.unread() == 0) return {};  // also has peek show what has come since the last look
  std::span<const std::byte> views[16];
  const uint32_t n = s.peek(views);
  if (n == 0) return {};
  const auto text = [](std::span<const std::byte> v) {
    return std::string_view(reinterpret_cast<const char*>(v.data()), v.size());
  };
  const Parsed p = parse_request(text(views[0]), r);
  if (p.size != 0 || p.refusal != 0 || n == 1) return p;
  auto& scratch = c.server->part(w).scratch;
  std::size_t size = 0;
  for (uint32_t i = 0; i < n && size < scratch.size(); ++i) {
    const auto part = text(views[i]).substr(0, scratch.size() - size);
    std::memcpy(scratch.data() + size, part.data(), part.size());
    size += part.size();
  }
  return parse_request({scratch.data(), size}, r);
}

// A file for the path: c.entry, or false, and the control thread is asked, or c.refusal says why
// not.
bool look_up(Worker& w, Connection& c, std::string_view path) noexcept {
  if (c.was_looked_up) return true;
  Entry* e = c.server->part(w).shelf.find(path);
  if (e && w.now - e->checked < kFresh) {
    c.server->count(w, kCacheHits);
    if (!e->file->was_used.load(std::memory_order_relaxed))
      e->file->was_used.store(true, std::memory_order_relaxed);
    ++e->users;
    c.entry = e;
    c.refusal = 0;
    return true;
  }
  c.server->count(w, kCacheMisses);
  if (!start_lookup(w, c, path)) {
    c.refusal = 503;
    return true;
  }
  c.phase = Phase::kLookup;
  return false;
}

// The last segment of the target's path, as the client wrote it.
std::string_view last_segment(std::string_view target) noexcept {
  target = target.substr(0, target.find('?'));
  return target.substr(target.rfind('/') + 1);
}

// Answers the request at the front of the fifo. False: it is not all there, or waits.
bool take_request(Worker& w, Connection& c) noexcept {
  AppSession s(w, c.session);
  if (c.to_discard != 0) {
    const auto n = static_cast<uint32_t>(std::min<uint64_t>(s.unread(), c.to_discard));
    consume(w, c, n);
    c.to_discard -= n;
  }
  Request r;
  const Parsed p = c.to_discard == 0 ? parse(w, c, r) : Parsed{};
  if (p.refusal != 0) {
    c.keep_alive = false;
    refuse(w, c, p.refusal, r);
    return true;
  }
  if (p.size == 0) {
    if (s.ended()) close(w, c);
    return false;
  }
  uint16_t refusal = 0;
  bool is_last = !r.keep_alive || (r.has_body && r.expects_continue);  // no telling what follows
  if (r.content_length > c.server->config.max_body_size) {
    refusal = 413;
    is_last = true;
  } else if (r.method == Method::kOther) {
    refusal = 405;
  } else {
    Path path;
    refusal = parse_target(r.target, path);
    if (refusal == 0) {
      if (!look_up(w, c, path.view())) return false;
      refusal = c.refusal;
    }
  }
  c.keep_alive = !is_last;
  c.to_discard = is_last ? 0 : r.content_length;
  std::string_view location;
  if (refusal == 301) {
    location = last_segment(r.target);
    if (location.size() > kMostLocation) refusal = 404;  // no directory has such a name
  }
  if (refusal != 0)
    refuse(w, c, refusal, r, refusal == 301 ? location : std::string_view{});
  else
    answer_with_file(w, c, r);
  consume(w, c, p.size);  // not before: `r` points there
  return true;
}

// Goes on where the last call stopped.
void pump(Worker& w, Connection& c) noexcept {
  for (uint32_t n = 0; n < kMostPerCall; ++n) {
    if (c.phase == Phase::kRequest && !take_request(w, c)) return;
    if (c.phase == Phase::kAnswer) {
      if (!send(w, c)) return;
      end_answer(w, c);
    }
    if (c.phase == Phase::kLinger) {
      consume_all(w, c);
      if (AppSession(w, c.session).eof()) close(w, c);
      return;
    }
    if (c.phase != Phase::kRequest) return;
  }
  AppSession(w, c.session).want_readable();
}

void timer_fired(Worker& w, Timer& t) noexcept {
  Connection& c = LOOM_TIMER_OWNER(Connection, timer, t);
  if (is_over(c)) return;
  if (c.phase == Phase::kLinger) return close(w, c);
  const TimeNs limit = TimeNs{c.server->config.keepalive_timeout} * kSecond;
  if (c.lookup) c.last_progress = w.now;  // ours to wait for, not the client's doing
  if (w.now < c.last_progress + limit) return w.timer_start(t, c.last_progress + limit);
  c.server->count(w, kTimeouts);
  if (c.phase == Phase::kRequest && (c.to_discard != 0 || AppSession(w, c.session).unread() == 0))
    return close(w, c);
  if (c.phase == Phase::kRequest) {  // a part of a head
    c.keep_alive = false;
    refuse(w, c, kRequestTimeout, Request{});
    w.timer_start_in(t, limit);
    return pump(w, c);
  }
  c.phase = Phase::kOver;
  AppSession(w, c.session).abort();
}

// --- Callbacks

bool accepted(Worker& w, SessionId, SessionId id, void** context) noexcept {
  auto* c = new (std::nothrow) Connection;
  if (!c) return false;
  c->server = static_cast<Server*>(*context);
  c->session = id;
  c->last_progress = w.now;
  c->timer.fired = timer_fired;
  w.timer_start_in(c->timer, TimeNs{c->server->config.keepalive_timeout} * kSecond);
  *context = c;
  c->server->count(w, kOpened);
  return true;
}

void ready(Worker& w, SessionId, void* context) noexcept { pump(w, of(context)); }

void closed(Worker& w, SessionId, void* context) noexcept {
  const std::unique_ptr<Connection> c(&of(context));
  w.timer_stop(c->timer);
  if (c->lookup) abandon(*c->lookup);
  drop_entry(w, *c);
  c->server->count(w, kClosed);
}

}  // namespace

void looked_up(Worker& w, Connection& c, uint16_t refusal, Entry* entry) noexcept {
  c.lookup = nullptr;
  c.entry = entry;
  c.refusal = refusal;
  if (is_over(c)) return;  // `closed` gives it back
  c.was_looked_up = true;
  c.last_progress = w.now;
  c.phase = Phase::kRequest;
  pump(w, c);
}

void piece_read(Worker& w, Connection& c, bool is_good, std::span<const std::byte> piece) noexcept {
  c.lookup = nullptr;
  if (is_over(c)) return;
  AppSession s(w, c.session);
  if (!is_good) {  // the rest of what was promised does not exist any more
    c.phase = Phase::kOver;
    return s.abort();
  }
  const uint32_t taken = s.write(piece);  // less when memory is short: read again from there
  c.server->count(w, kSent, taken);
  c.at += taken;
  c.last_progress = w.now;
  if (taken < piece.size()) return s.want_writable(static_cast<uint32_t>(piece.size() - taken));
  pump(w, c);
}

const AppOps kConnectionOps{
    .accepted = accepted, .readable = ready, .writable = ready, .closed = closed};

}  // namespace loom::http
