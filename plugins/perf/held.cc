#include "held.h"

#include <algorithm>
#include <array>
#include <cstdio>

namespace loom::perf {

namespace {

constexpr uint32_t kMostPerTick = 64;     // sessions started or ended
constexpr uint32_t kMostUnderWay = 1024;  // handshakes, or closes, that wait for the other end
constexpr uint32_t kMostAtOnce = 256;     // sessions that exchange
constexpr TimeNs kTick = 100 * kMicrosecond;
constexpr std::array<std::byte, 1024> kBytes{};

uint32_t worker_slot = 0;  // of a worker's Part

// There may be a million.
struct Session {
  SessionId id = kNoSession;
  uint32_t rounds = 0;   // to begin after this one
  uint16_t awaited = 0;  // bytes to come back in this round
  uint16_t unsent = 0;   // of it, for which there was no memory yet
  uint16_t order = 0;    // Part::order that waits for it, 0: none
  bool is_up = false, is_ending = false;
};
static_assert(sizeof(Session) == 16 && kBytes.size() <= UINT16_MAX);

}  // namespace

struct Held::Part {
  enum class Phase : uint8_t { kIdle, kOpening, kExchanging, kClosing };
  Held* held = nullptr;
  Worker* worker = nullptr;
  Application* app = nullptr;
  Phase phase = Phase::kIdle;
  std::vector<Session> all;
  uint32_t next = 0;       // of `all`, to be started or ended
  uint32_t under_way = 0;  // that the order waits for
  uint32_t up = 0;
  uint32_t failed = 0, lost = 0;  // by the last order; went by themselves, ever
  uint64_t done = 0;              // sessions opened or closed, or round trips, by the last order
  ExchangeConfig exchange;
  uint32_t chosen = 0;  // sessions that have been told to exchange
  uint16_t order = 0;   // another one for each order, and none that a session has when it is over
  bool is_late = false;
  Timer tick, deadline;
  TimeNs began = 0, ended = 0;
};

namespace {

using Part = Held::Part;
using Phase = Part::Phase;

Session& of(void* context) noexcept { return *static_cast<Session*>(context); }
Part& part_of(const Worker& w) noexcept { return *static_cast<Part*>(w.plugin_data[worker_slot]); }

void next_order(Part& p) noexcept {
  if (++p.order == 0) p.order = 1;
}

void wait_for(Part& p, Session& s) noexcept {
  s.order = p.order;
  ++p.under_way;
}
// False: it is not what the order waits for, or that is over.
bool has_come(Part& p, Session& s) noexcept {
  if (std::exchange(s.order, uint16_t{0}) != p.order) return false;
  --p.under_way;
  return true;
}

void finish(Part& p) noexcept {
  p.worker->timer_stop(p.tick);
  p.worker->timer_stop(p.deadline);
  next_order(p);
  p.phase = Phase::kIdle;
  p.ended = p.worker->now;
  p.held->part_done(p);
}

// --- Exchange

void next_exchanges(Part& p) noexcept;

// What there is no memory for is sent when there is some: it comes while the others go on.
void send(Part& p, Session& s) noexcept {
  AppSession app(*p.worker, s.id);
  s.unsent = static_cast<uint16_t>(s.unsent - app.write(std::span(kBytes).first(s.unsent)));
  if (s.unsent != 0) app.want_writable(s.unsent);
}

void begin_round(Part& p, Session& s) noexcept {
  s.awaited = s.unsent = static_cast<uint16_t>(p.exchange.bytes);
  send(p, s);
}

void next_exchanges(Part& p) noexcept {
  if (p.phase != Phase::kExchanging) return;
  const uint32_t wanted = std::min<uint32_t>(p.exchange.sessions, p.up);
  while (p.under_way < kMostAtOnce && p.chosen < wanted) {
    Session& s = p.all[uint64_t{p.chosen++} * p.all.size() / wanted];
    if (!s.is_up) continue;
    if (s.awaited != 0 || s.is_ending) {  // of an order that has not waited for it
      ++p.failed;
      continue;
    }
    s.rounds = p.exchange.rounds - 1;
    wait_for(p, s);
    begin_round(p, s);
  }
  if (p.under_way == 0) finish(p);
}

// --- What happens to a session

void connected(Worker& w, SessionId, Status status, void* context) noexcept {
  Session& s = of(context);
  Part& p = part_of(w);
  const bool is_in_time = has_come(p, s);
  if (status == Status::kOk) {
    s.is_up = true;
    ++p.up;
    if (is_in_time) ++p.done;
  } else if (is_in_time) {
    ++p.failed;
  }
}

void round_over(Part& p, Session& s) noexcept {
  if (s.order != p.order) return;
  ++p.done;
  if (s.rounds != 0) {
    --s.rounds;
    return begin_round(p, s);
  }
  (void)has_come(p, s);
  next_exchanges(p);
}

void readable(Worker& w, SessionId id, void* context) noexcept {
  Session& s = of(context);
  AppSession app(w, id);
  const uint32_t n = app.unread();
  app.consume(n);
  if (s.awaited != 0 && n != 0) {
    s.awaited = static_cast<uint16_t>(s.awaited - std::min<uint32_t>(n, s.awaited));
    if (s.awaited == 0) round_over(part_of(w), s);
  }
  if (app.eof()) app.close();
}

void writable(Worker& w, SessionId, void* context) noexcept {
  Session& s = of(context);
  if (s.unsent != 0) send(part_of(w), s);
}

void closed(Worker& w, SessionId, void* context) noexcept {
  Session& s = of(context);
  Part& p = part_of(w);
  s.id = kNoSession;
  if (!std::exchange(s.is_up, false)) return;
  --p.up;
  const bool is_in_time = has_come(p, s);
  if (s.is_ending) {
    if (is_in_time) ++p.done;
    return;
  }
  ++p.lost;
  if (std::exchange(s.awaited, uint16_t{0}) == 0 || !is_in_time) return;
  ++p.failed;
  next_exchanges(p);
}

// --- Opening and closing go on by ticks, so that the worker's rounds stay short.

void open_one(Part& p, Session& s, const AppEndpoint& to) noexcept {
  const auto id = AppSession::connect(*p.worker, *p.app, to, &s);
  if (id) {
    s.id = *id;
    wait_for(p, s);
  } else {
    ++p.failed;
  }
}

void close_one(Part& p, Session& s) noexcept {
  if (!s.is_up) return;
  s.is_ending = true;
  wait_for(p, s);
  AppSession(*p.worker, s.id).shutdown();
}

void tick(Worker& w, Timer& t) noexcept {
  Part& p = LOOM_TIMER_OWNER(Part, tick, t);
  const auto& to = p.held->targets();
  for (uint32_t i = 0; i < kMostPerTick && p.next < p.all.size() && p.under_way < kMostUnderWay;
       ++i, ++p.next) {
    Session& s = p.all[p.next];
    if (p.phase == Phase::kOpening)
      open_one(p, s, to[p.next % to.size()]);
    else
      close_one(p, s);
  }
  if (p.next == p.all.size() && p.under_way == 0) return finish(p);
  w.timer_start_in(t, kTick);
}

void begin_ticks(Part& p, Phase phase) noexcept {
  p.phase = phase;
  p.next = 0;
  p.tick.fired = tick;
  p.worker->timer_start_in(p.tick, 0);
}

// What has not come by now is not waited for any more. What comes of it later is nobody's.
void deadline_due(Worker&, Timer& t) noexcept {
  Part& p = LOOM_TIMER_OWNER(Part, deadline, t);
  const bool exchanges = p.phase == Phase::kExchanging;
  const auto wanted =
      static_cast<uint32_t>(exchanges ? std::min(p.exchange.sessions, p.up) : p.all.size());
  p.failed += p.under_way + wanted - std::min(wanted, exchanges ? p.chosen : p.next);
  p.under_way = 0;
  p.is_late = true;
  finish(p);
}

std::string rate(uint64_t n, double seconds) {
  char text[32];
  std::snprintf(text, sizeof text, "%.0f", seconds > 0 ? static_cast<double>(n) / seconds : 0);
  return text;
}

}  // namespace

void Held::init(Host& host) { worker_slot = host.allocate_worker_slot(); }

Held::Held(Host& host, HeldConfig config) : host_(host), config_(std::move(config)) {}
Held::~Held() = default;

void Held::end() {
  for (uint32_t i = 0; i < parts_.size(); ++i)
    host_.run_on_worker(i, [&](Worker& w) {
      parts_[i]->phase = Phase::kIdle;
      w.timer_stop(parts_[i]->tick);
      w.timer_stop(parts_[i]->deadline);
    });
  if (app_) host_.remove_application(std::exchange(app_, nullptr));
}

Result<void> Held::order(const char* what, TimeNs timeout, std::shared_ptr<CliLater> later,
                         void (*begin)(Part&)) {
  if (is_busy()) return error(Status::kAgain, std::string(order_) + " is under way");
  order_ = what;
  later_ = std::move(later);
  parts_left_ = static_cast<uint32_t>(parts_.size());
  for (uint32_t i = 0; i < parts_.size(); ++i)
    host_.run_on_worker(i, [&](Worker& w) {
      Part& p = *parts_[i];
      p.worker = &w;
      w.plugin_data[worker_slot] = &p;
      p.failed = p.under_way = 0;
      p.done = 0;
      p.began = w.now;
      p.is_late = false;
      next_order(p);
      p.deadline.fired = deadline_due;
      w.timer_start_in(p.deadline, timeout);
      begin(p);
    });
  return {};
}

Result<void> Held::open(TimeNs timeout, std::shared_ptr<CliLater> later) {
  AppOps ops;
  ops.name = "perf sessions";
  ops.connected = connected;
  ops.readable = readable;
  ops.writable = writable;
  ops.closed = closed;
  AppConfig fifos;
  fifos.rx_fifo_size = fifos.tx_fifo_size = config_.fifo_size;
  const auto app = host_.add_application(ops, fifos);
  if (!app) return app.error();
  app_ = *app;
  const uint32_t n = host_.n_workers();
  for (uint32_t i = 0; i < n; ++i) {
    auto part = std::make_unique<Part>();
    part->held = this;
    part->app = app_;
    part->all.resize(config_.n / n + (i < config_.n % n));
    parts_.push_back(std::move(part));
  }
  return order("open", timeout, std::move(later), [](Part& p) { begin_ticks(p, Phase::kOpening); });
}

Result<void> Held::exchange(const ExchangeConfig& config, std::shared_ptr<CliLater> later) {
  if (is_busy()) return error(Status::kAgain, std::string(order_) + " is under way");
  const auto n = static_cast<uint32_t>(parts_.size());
  for (uint32_t i = 0; i < n; ++i) {
    parts_[i]->exchange = config;
    parts_[i]->exchange.sessions = config.sessions / n + (i < config.sessions % n);
  }
  return order("exchange", config.timeout, std::move(later), [](Part& p) {
    p.phase = Phase::kExchanging;
    p.chosen = 0;
    next_exchanges(p);
  });
}

Result<void> Held::close(TimeNs timeout, std::shared_ptr<CliLater> later) {
  return order("close", timeout, std::move(later),
               [](Part& p) { begin_ticks(p, Phase::kClosing); });
}

void Held::part_done(Part& part) noexcept {
  part.worker->post_to_control(
      [](void* arg) {
        const std::unique_ptr<std::shared_ptr<Held>> held(static_cast<std::shared_ptr<Held>*>(arg));
        (*held)->on_part_done();
      },
      new std::shared_ptr<Held>(shared_from_this()));
}

void Held::on_part_done() {
  if (--parts_left_ != 0) return;
  if (std::string_view(order_) == "close") {
    host_.remove_application(std::exchange(app_, nullptr));
    for (const auto& p : parts_) p->all = std::vector<Session>();
  }
  if (!later_) return;
  describe(later_->reply());
  std::exchange(later_, nullptr)->finish(in_time());
}

Result<void> Held::in_time() const {
  uint64_t done = 0, failed = 0;
  bool is_late = false;
  for (const auto& p : parts_) {
    done += p->done;
    failed += p->failed;
    is_late |= p->is_late;
  }
  if (!is_late) return {};
  return error(Status::kTimedOut, std::string(order_) +
                                      " is not over in time: " + std::to_string(done) + " done, " +
                                      std::to_string(failed) + " not done or failed");
}

void Held::describe(CliReply& reply) const {
  uint64_t up = 0, failed = 0, lost = 0, done = 0;
  double seconds = 0;
  for (const auto& p : parts_) {
    up += p->up;
    failed += p->failed;
    lost += p->lost;
    done += p->done;
    seconds = std::max(seconds, to_seconds(p->ended - p->began));
  }
  reply.field("order", order_);
  reply.field("open", std::to_string(up));
  reply.field("done", std::to_string(done));
  reply.field("failed", std::to_string(failed));
  reply.field("lost", std::to_string(lost));
  char text[32];
  std::snprintf(text, sizeof text, "%.6f", seconds);
  reply.field("seconds", text);
  reply.field("a second", rate(done, seconds));
}

}  // namespace loom::perf
