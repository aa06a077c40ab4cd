#include "client.h"

#include <algorithm>
#include <new>

#include "pattern.h"

namespace loom::perf {

struct Connection {
  Part* part = nullptr;
  SessionId session = kNoSession;
  std::size_t place = 0;  // in Part::connections
  uint64_t first = 0;     // position of the first byte in the pattern
  uint64_t sent = 0, received = 0;
  bool is_up = false, is_shut = false, is_mismatched = false, got_eof = false, was_reset = false;
};

namespace {

constexpr TimeNs kDefaultRunTime = 10 * kSecond;
constexpr uint32_t kOpenAtOnce = 64;  // connections started per tick
constexpr TimeNs kOpenInterval = kMillisecond;
constexpr uint32_t kMostPerCall = 256 * 1024;  // bytes: then it is the other connections' turn
constexpr uint32_t kWorthAWrite = 64 * 1024;   // bytes of room to wait for
constexpr TimeNs kGrace = 10 * kSecond;        // for the servers to close, after the time is up

Connection& of(void* context) noexcept { return *static_cast<Connection*>(context); }

void shut(Connection& c) noexcept {
  if (!std::exchange(c.is_shut, true)) AppSession(*c.part->worker, c.session).shutdown();
}

// Sends until the fifo is full, the bytes are through or it is the others' turn.
void pump(Worker& w, SessionId id, void* context) noexcept {
  Connection& c = of(context);
  if (c.is_shut) return;
  AppSession s(w, id);
  const uint64_t wanted = c.part->run->config().bytes;
  const uint64_t left = wanted ? wanted - c.sent : kMostPerCall;
  uint32_t now = 0;
  const auto most = static_cast<uint32_t>(std::min<uint64_t>(left, kMostPerCall));
  bool is_full = false;
  while (now < most && !is_full) {
    const auto bytes = pattern(c.first + c.sent, most - now);
    const uint32_t taken = s.write(bytes);
    now += taken;
    c.sent += taken;
    is_full = taken < bytes.size();
  }
  add(c.part->run->counters(w).sent, now);
  if (wanted && c.sent == wanted) return shut(c);
  s.want_writable(is_full ? kWorthAWrite : 1);
}

void connected(Worker& w, SessionId id, Status status, void* context) noexcept {
  Connection& c = of(context);
  Part& p = *c.part;
  if (status != Status::kOk) {
    ++p.failed;
    p.failure = status;
    return;
  }
  c.is_up = true;
  ++p.connected;
  if (p.began == 0) p.began = w.now;
  add(p.run->counters(w).opened, 1);
  if (p.phase == Part::Phase::kSending)
    pump(w, id, context);
  else
    shut(c);
}

void readable(Worker& w, SessionId id, void* context) noexcept {
  Connection& c = of(context);
  AppSession s(w, id);
  std::span<const std::byte> views[4];
  while (const uint32_t n = s.peek(views)) {
    uint32_t got = 0;
    for (const auto& v : std::span(views, n)) {
      if (c.part->run->config().echo && !matches(c.first + c.received, v)) c.is_mismatched = true;
      c.received += v.size();
      got += static_cast<uint32_t>(v.size());
    }
    s.consume(got);
    add(c.part->run->counters(w).received, got);
  }
  if (!s.eof()) return;
  c.got_eof = true;
  s.close();
}

void was_reset(Worker&, SessionId, ResetReason, void* context) noexcept {
  of(context).was_reset = true;
}

void finish_if_done(Part& p) noexcept {
  if (p.to_open != 0 || !p.connections.empty() || p.ended != 0) return;
  p.worker->timer_stop(p.open_timer);
  p.worker->timer_stop(p.end_timer);
  p.ended = p.worker->now;
  p.run->part_done(p);
}

void closed(Worker& w, SessionId, void* context) noexcept {
  const std::unique_ptr<Connection> c(&of(context));
  Part& p = *c->part;
  if (c->is_up) {
    const RunConfig& config = p.run->config();
    add(p.run->counters(w).closed, 1);
    p.reset += c->was_reset;
    p.mismatched += c->is_mismatched;
    // Sent what it was to send, saw the server's end behind it, and got all of it back.
    const bool is_whole = c->is_shut && c->got_eof && (!config.bytes || c->sent == config.bytes) &&
                          (!config.echo || c->received == c->sent);
    p.unfinished += !is_whole && !c->was_reset;
  }
  p.connections.back()->place = c->place;
  p.connections[c->place] = p.connections.back();
  p.connections.pop_back();
  finish_if_done(p);
}

void open_one(Part& p) noexcept {
  std::unique_ptr<Connection> c(new (std::nothrow) Connection);
  if (!c) {
    ++p.failed;
    p.failure = Status::kNoMemory;
    return;
  }
  c->part = &p;
  c->place = p.connections.size();
  c->first = p.run->config().echo ? 0 : kMarkSize;
  const auto id = AppSession::connect(*p.worker, *p.run->app(), p.run->config().endpoint, c.get());
  if (!id) {
    ++p.failed;
    p.failure = id.error().code;
    return;
  }
  c->session = *id;
  p.connections.push_back(c.release());
}

void open_some(Worker& w, Timer& t) noexcept {
  Part& p = LOOM_TIMER_OWNER(Part, open_timer, t);
  for (uint32_t i = 0; i < kOpenAtOnce && p.to_open != 0; ++i, --p.to_open) open_one(p);
  if (p.to_open != 0) return w.timer_start_in(t, kOpenInterval);
  finish_if_done(p);
}

void abort_all(Part& p) noexcept {
  for (Connection* c : p.connections) AppSession(*p.worker, c->session).abort();
}

// The time is up: no more is sent. Once more: the servers had time enough to close.
void end_due(Worker& w, Timer& t) noexcept {
  Part& p = LOOM_TIMER_OWNER(Part, end_timer, t);
  if (p.phase == Part::Phase::kSending) {
    p.phase = Part::Phase::kEnding;
    p.failed += std::exchange(p.to_open, 0);
    for (Connection* c : p.connections)
      if (c->is_up) shut(*c);
    w.timer_start_in(t, kGrace);
    finish_if_done(p);
  } else {
    p.phase = Part::Phase::kStopped;
    abort_all(p);
  }
}

}  // namespace

Result<void> complete(RunConfig& c) {
  const auto endpoint = parse_app_uri(c.uri);
  if (!endpoint) return endpoint.error();
  c.endpoint = *endpoint;
  if (c.n_clients == 0 || c.n_clients > kMostClients)
    return error(Status::kInvalid, std::to_string(c.n_clients) + " clients are not from 1 to " +
                                       std::to_string(kMostClients));
  if (c.run_time != 0 && c.bytes != 0)
    return error(Status::kInvalid, "run-time and bytes exclude each other");
  if (c.run_time == 0 && c.bytes == 0) c.run_time = kDefaultRunTime;
  if (c.run_time > kMostSeconds * kSecond)
    return error(Status::kInvalid, "a run-time of " + std::to_string(c.run_time / kSecond) +
                                       " s is above " + std::to_string(kMostSeconds));
  return check_fifo_size(c.fifo_size);
}

Result<void> Run::start(Done done) {
  name_ = "perf client " + std::to_string(number_);
  AppOps ops;
  ops.name = name_.c_str();
  ops.connected = connected;
  ops.readable = readable;
  ops.writable = pump;
  ops.reset = was_reset;
  ops.closed = closed;
  AppConfig fifos;
  fifos.rx_fifo_size = fifos.tx_fifo_size = config_.fifo_size;
  const uint32_t n = host_.n_workers();
  counters_ = std::vector<Counters>(n);
  parts_ = std::vector<Part>(n);
  const auto share = [&](uint32_t i) {
    return config_.n_clients / n + (i < config_.n_clients % n);
  };
  for (uint32_t i = 0; i < n; ++i) parts_[i].connections.reserve(share(i));
  const auto app = host_.add_application(ops, fifos);
  if (!app) return app.error();
  app_ = *app;
  done_ = std::move(done);
  parts_left_ = n;
  for (uint32_t i = 0; i < n; ++i)
    host_.run_on_worker(i, [&](Worker& w) {
      Part& p = parts_[i];
      p.run = this;
      p.worker = &w;
      p.to_open = share(i);
      p.open_timer.fired = open_some;
      p.end_timer.fired = end_due;
      w.timer_start_in(p.open_timer, 0);
      if (config_.run_time != 0) w.timer_start_in(p.end_timer, config_.run_time);
    });
  return {};
}

void Run::stop() {
  const auto keep = shared_from_this();
  for (Part& p : parts_)
    if (!is_over())
      host_.run_on_worker(p.worker->index, [&](Worker& w) {
        p.phase = Part::Phase::kStopped;
        w.timer_stop(p.end_timer);
        p.failed += std::exchange(p.to_open, 0);
        abort_all(p);
        finish_if_done(p);
      });
}

void Run::part_done(Part& part) noexcept {
  part.worker->post_to_control(
      [](void* arg) {
        const std::unique_ptr<std::shared_ptr<Run>> run(static_cast<std::shared_ptr<Run>*>(arg));
        (*run)->on_part_done();
      },
      new std::shared_ptr<Run>(shared_from_this()));
}

void Run::on_part_done() {
  if (--parts_left_ != 0) return;
  host_.remove_application(std::exchange(app_, nullptr));
  if (const auto done = std::exchange(done_, nullptr)) done(*this);
}

Totals Run::totals() const {
  Totals t;
  for (const auto& p : parts_) {
    t.connections += p.connected;
    t.failed += p.failed;
    t.reset += p.reset;
    t.unfinished += p.unfinished;
    t.mismatched += p.mismatched;
  }
  return t;
}

Result<void> Run::outcome() const {
  const Totals t = totals();
  if (t.mismatched != 0)
    return error(Status::kMalformed, std::to_string(t.mismatched) + " of " +
                                         std::to_string(config_.n_clients) +
                                         " connections got other bytes back than they sent");
  if (t.connections != 0) return {};
  Status why = Status::kOk;
  for (const auto& p : parts_)
    if (p.failure != Status::kOk) why = p.failure;
  return error(why == Status::kOk ? Status::kClosed : why,
               "no connection to " + config_.uri + ": " +
                   (why == Status::kOk ? "stopped" : status_name(why)));
}

uint64_t Run::sum(Counter what) const noexcept {
  uint64_t n = 0;
  for (const auto& c : counters_) n += (c.*what).load(std::memory_order_relaxed);
  return n;
}

double Run::seconds() const {
  if (!is_over()) return 0;
  TimeNs began = 0, ended = 0;
  for (const auto& p : parts_) {
    if (p.began != 0 && (began == 0 || p.began < began)) began = p.began;
    ended = std::max(ended, p.ended);
  }
  return began == 0 ? 0 : to_seconds(ended - began);
}

}  // namespace loom::perf
