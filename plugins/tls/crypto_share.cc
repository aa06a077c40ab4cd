#include "crypto_share.h"

#include "tls.h"

namespace loom::tls {

bool CryptoShare::has_threads() noexcept {
  const CryptoPool* const pool = shared().pool.get();
  if (!pool) return false;
  if (pool->is_running()) return true;
  if (w_.now < may_ask_at_) return false;
  may_ask_at_ = w_.now + kThreadsAgain;
  w_.post_to_control([](void*) { start_threads(); }, nullptr);
  return false;
}

void CryptoShare::submit(CryptoStep& s) noexcept {
  s.fn = come_back;
  s.worker = w_.index;
  ++n_steps_;
  shared().pool->submit(s);
}

bool CryptoShare::take_back(CryptoStep& s) noexcept { return shared().pool->cancel(s); }

void CryptoShare::hold(Held& h) noexcept {
  h.before_ = last_held_;
  h.behind_ = nullptr;
  (last_held_ ? last_held_->behind_ : first_held_) = &h;
  last_held_ = &h;
  h.is_held_ = true;
}

void CryptoShare::unhold(Held& h) noexcept {
  (h.before_ ? h.before_->behind_ : first_held_) = h.behind_;
  (h.behind_ ? h.behind_->before_ : last_held_) = h.before_;
  h.before_ = h.behind_ = nullptr;
  h.is_held_ = false;
}

// The oldest that has come back.
void CryptoShare::finish_next() noexcept {
  CryptoStep& s = *first_back_;
  first_back_ = s.behind_;
  if (!first_back_) last_back_ = nullptr;
  --n_steps_;
  slice_.measure([&] { s.finish(w_, s); });
}

// The one that waits longest.
void CryptoShare::unhold_next() noexcept {
  Held& next = *first_held_;
  unhold(next);
  slice_.measure([&] { next.go_on(next); });
}

// As far as the round's slice goes. `at_least_one`: of each, whatever has been spent.
void CryptoShare::work_off(bool at_least_one) noexcept {
  const auto has_more = [this] { return first_back_ || may_unhold(); };
  // Asked in any case: what the first takes is this round's.
  bool may_go_on = !slice_.is_used_up(w_.now) || at_least_one;
  for (; has_more() && may_go_on; may_go_on = !slice_.is_used_up(w_.now)) {
    if (first_back_) finish_next();
    if (may_unhold()) unhold_next();
  }
  if (!has_more()) return;
  has_next_round_ = true;
  next_round_.of = this;
  next_round_.fn = [](Worker&, WorkerPost& p) noexcept {
    CryptoShare& share = *static_cast<NextRound&>(p).of;
    share.has_next_round_ = false;
    share.work_off(true);
  };
  shared().host->post_to_worker(w_.index, next_round_);
}

void CryptoShare::come_back(Worker& w, WorkerPost& post) noexcept {
  auto& s = static_cast<CryptoStep&>(static_cast<CryptoPool::Job&>(post));
  CryptoShare& share = tls_worker(w).share;
  (share.last_back_ ? share.last_back_->behind_ : share.first_back_) = &s;
  share.last_back_ = &s;
  if (!share.has_next_round_) share.work_off(false);
}

void CryptoShare::finish_all() noexcept {
  while (first_back_) finish_next();
}

}  // namespace loom::tls
