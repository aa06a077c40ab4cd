// AppWorker: looking for a moment before sleeping (spin.h).
#include "vcl/spin.h"

#include <array>

#include "vcl/app_worker.h"

namespace loom::vcl {
namespace {

constexpr int kLooksPerClock = 16;  // reading the clock costs as much as a few looks

}  // namespace

bool AppWorker::may_spin(ThreadWaiter& thread, uint32_t rung) {
  thread.gauge().unsatisfied();
  // Where others sleep the doorbells are rung anyway, and whom they wake shares what has come. One
  // round is left to begin_sleep(), which has to announce the bells before the last.
  return sleepers_ == 0 && rung + 1 < kMaxRounds && !pairs_.empty() &&
         pairs_.size() <= Look::kMostPairs && attachment_ && config_.spin != 0 && has_two_cores_ &&
         thread.gauge().wants();
}

bool AppWorker::spin(std::unique_lock<std::mutex>& lock, ThreadWaiter& thread, HeldSignals& held,
                     TimeNs deadline, uint32_t& rung) {
  Bells bells;
  for (const auto& pair : pairs_)
    if (!pair->gather(bells)) return false;
  if (bells.empty()) return false;
  Look look;
  look.attachment = attachment_;
  std::copy(pairs_.begin(), pairs_.end(), look.pairs.begin());
  looks_.push_back(look);
  const svm::MqConsumer queue = attachment_->queue();
  const TimeNs begun = sys::now(), until = std::min(deadline, begun + config_.spin);
  if (config_.spin_unheld == 0) held.hold();
  thread.set_spinning(true);
  lock.unlock();
  bool has_come = false;
  for (TimeNs now = begun; !has_come && now < until; now = sys::now()) {
    if (now - begun >= config_.spin_unheld) held.hold();
    for (int i = 0; i < kLooksPerClock && !has_come; ++i) {
      __builtin_ia32_pause();
      has_come = !bells.are_quiet() || !queue.empty() || thread.has_news();
    }
  }
  lock.lock();
  thread.set_spinning(false);
  if (has_come) {
    ++rung;  // who rings without end does not keep it awake for ever
    thread.gauge().rang();
  } else {
    thread.gauge().missed();
  }
  return true;
}

}  // namespace loom::vcl
