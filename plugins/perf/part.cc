#include "part.h"

#include <algorithm>
#include <utility>

#include "client.h"
#include "connection.h"

namespace loom::perf {
namespace {

// Each answer lets two connections begin while fewer than so many are under way: the pace is that
// of both ends. Besides, some begin in every interval, whatever has become of those before, as who
// does not answer is not waited for: fewer then, since what the other end has not come to yet is
// lost once it is more than the way there holds.
constexpr uint32_t kOpenPerAnswer = 2, kMostUnderWay = 256;
constexpr uint32_t kOpenAtOnce = 64;
constexpr TimeNs kOpenInterval = kMillisecond, kOpenUnanswered = 10 * kMillisecond;
constexpr TimeNs kGrace = 10 * kSecond;  // for the servers to close, after the time is up
constexpr uint64_t kSavedPart = 10;      // of a second: what a rate is saved up for, 100 ms
constexpr uint64_t kPiecePart = 100;     // of a second: what a turn is good for
constexpr uint64_t kLeastPiece = 1460;   // bytes: a segment
constexpr uint64_t kMostPiece = 64 * 1024;

// The i-th of this part. All parts' together are evenly spread.
TimeNs opening_time(const Part& p, uint32_t i) noexcept {
  const RunConfig& c = *p.config;
  return p.start + c.over * (TimeNs{i} * p.run->n_parts() + p.worker->index) / c.n_clients;
}

// Its share of what limits the run.
void start_pacer(Part& p) noexcept {
  const RunConfig& c = *p.config;
  const uint64_t whole = c.request != 0 ? c.requests_per_second : c.rate;
  if (whole == 0 || p.share == 0) return;
  const uint64_t rate = std::max<uint64_t>(whole * p.share / c.n_clients, 1);
  p.piece =
      c.request != 0
          ? 1
          : static_cast<uint32_t>(std::clamp<uint64_t>(rate / kPiecePart, kLeastPiece, kMostPiece));
  p.pacer.start(p.start, whole, std::max<uint64_t>(rate / kSavedPart, p.piece), p.share,
                c.n_clients);
}

void finish_if_done(Part& p) noexcept {
  if (p.opened != p.share || !p.connections.empty() || p.tally.ended != 0) return;
  for (Timer* t : {&p.open_timer, &p.end_timer, &p.turn_timer}) p.worker->timer_stop(*t);
  p.tally.ended = p.worker->now;
  p.run->part_done(p);
}

// Those whose time has come.
void open_some(Part& p, uint32_t most) noexcept {
  for (uint32_t i = 0; i < most && p.opened != p.share; ++i) {
    if (opening_time(p, p.opened) > p.worker->now) break;
    ++p.opened;
    ++p.under_way;
    if (!open_connection(p)) --p.under_way;
  }
}

void open_due(Worker& w, Timer& t) noexcept {
  Part& p = LOOM_TIMER_OWNER(Part, open_timer, t);
  if (p.opened == 0 && p.share != 0) p.tally.opened_first = w.now;
  open_some(p, kOpenAtOnce);
  if (p.opened == p.share) return finish_if_done(p);
  const TimeNs next = opening_time(p, p.opened);
  const TimeNs interval = p.under_way < kMostUnderWay ? kOpenInterval : kOpenUnanswered;
  w.timer_start(t, next > w.now ? next : w.now + interval);
}

void open_no_more(Part& p) noexcept {
  p.tally.not_opened += p.share - std::exchange(p.opened, p.share);
  p.worker->timer_stop(p.open_timer);
}

// The time is up: nothing new is begun. Once more: the servers had time enough to close.
void end_due(Worker& w, Timer& t) noexcept {
  Part& p = LOOM_TIMER_OWNER(Part, end_timer, t);
  if (p.phase != Part::Phase::kRunning) return stop(p);
  p.phase = Part::Phase::kEnding;
  open_no_more(p);
  w.timer_stop(p.turn_timer);
  for (Connection* c : p.connections) wind_up(*c);
  w.timer_start_in(t, kGrace);
  finish_if_done(p);
}

// Gives turns for as long as there is something to give. A turn may ask for the next one.
void give_turns(Part& p) noexcept {
  p.is_giving = true;
  while (Connection* c = p.turns.first()) {
    const uint32_t units = turn_size(*c);
    if (!p.pacer.take(p.worker->now, units)) {
      p.worker->timer_start(p.turn_timer, p.pacer.due(units));
      break;
    }
    p.turns.remove(*c);
    take_turn(*c, units);
  }
  p.is_giving = false;
}

void turn_due(Worker&, Timer& t) noexcept { give_turns(LOOM_TIMER_OWNER(Part, turn_timer, t)); }

}  // namespace

void Turns::push(Connection& c) noexcept {
  if (std::exchange(c.is_waiting, true)) return;
  c.previous = std::exchange(last_, &c);
  c.next = nullptr;
  (c.previous ? c.previous->next : first_) = &c;
}

void Turns::remove(Connection& c) noexcept {
  if (!std::exchange(c.is_waiting, false)) return;
  (c.previous ? c.previous->next : first_) = c.next;
  (c.next ? c.next->previous : last_) = c.previous;
}

void begin(Part& p) noexcept {
  p.start = p.worker->now;
  p.open_timer.fired = open_due;
  p.end_timer.fired = end_due;
  p.turn_timer.fired = turn_due;
  start_pacer(p);
  p.worker->timer_start_in(p.open_timer, 0);
  if (p.config->run_time != 0) p.worker->timer_start_in(p.end_timer, p.config->run_time);
}

void stop(Part& p) noexcept {
  p.phase = Part::Phase::kStopped;
  p.worker->timer_stop(p.end_timer);
  p.worker->timer_stop(p.turn_timer);
  open_no_more(p);
  for (Connection* c : p.connections) abort(*c);
  finish_if_done(p);
}

void wait_for_turn(Part& p, Connection& c) noexcept {
  if (!p.pacer.is_started()) return take_turn(c, turn_size(c));
  const bool is_first = p.turns.first() == nullptr;  // else the timer runs for the one before
  p.turns.push(c);
  if (is_first && !p.is_giving) give_turns(p);
}

void answered(Part& p) noexcept {
  if (--p.under_way < kMostUnderWay) open_some(p, kOpenPerAnswer);
}

void forget(Part& p, Connection& c) noexcept {
  p.turns.remove(c);
  p.connections.back()->place = c.place;
  p.connections[c.place] = p.connections.back();
  p.connections.pop_back();
  finish_if_done(p);
}

}  // namespace loom::perf
