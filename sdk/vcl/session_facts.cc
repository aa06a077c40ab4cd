// Session: what is asked of the daemon about it, and the errors that it has yet to report.
#include <algorithm>
#include <cerrno>

#include "vcl/app_worker.h"
#include "vcl/session.h"

namespace loom::vcl {

void Session::put_back_error(int error) {
  const std::lock_guard lock(mutex_);
  if (state() == State::kOpen) error_ = error;
}

int Session::take_error() {
  const std::lock_guard lock(mutex_);
  if (error_) return std::exchange(error_, 0);
  if (is_datagram() && shared_) {
    const ProcessLock process_lock(*shared_);
    if (const int error = datagram_error(true); error != 0) return error;
  }
  if (cut_.wrote_in_vain && peer_closed() && !std::exchange(error_taken_, true)) return EPIPE;
  const int gone = shared_ ? lost() : 0;
  if (gone != 0 && !std::exchange(error_taken_, true)) return gone;
  return 0;
}

// Each question has its answer, which stays until who has asked has taken it.
int Session::ask_info(svm::InfoEvent& out, const std::function<void(uint32_t)>& ask, TimeNs most) {
  const TimeNs patience = from_seconds(worker_.config().session_timeout);
  const TimeNs deadline = sys::deadline_in(patience < 0 ? most : std::min(most, patience));
  uint32_t context;
  {
    const std::lock_guard worker_lock(worker_.mutex());
    const std::lock_guard lock(mutex_);
    if (state() != State::kOpen) return -ENOTCONN;
    context = worker_.register_context(*this);
    questions_.push_back({context, false, {}});
    ask(context);
  }
  int outcome;
  do {
    outcome = worker_.wait_answer(*this, context, deadline);
  } while (outcome == -EINTR);
  const std::lock_guard worker_lock(worker_.mutex());
  const std::lock_guard lock(mutex_);
  const auto at = std::ranges::find(questions_, context, &Question::context);
  if (at == questions_.end()) return -ENOTCONN;  // the session has begun another life
  const Question q = *at;
  questions_.erase(at);
  if (!q.is_answered) {
    worker_.forget_context(context, false);
    return outcome != 0 ? outcome : -ENOTCONN;
  }
  if (q.answer.status != 0) return -errno_of(q.answer.status);
  out = q.answer;
  return 0;
}

int Session::info(svm::InfoEvent& out) {
  return ask_info(out, [this](uint32_t context) {
    worker_.send(*attachment_, daemon_worker(), svm::ToDaemon::kGetInfo,
                 svm::SessionEvent{handle_, context});
  });
}

void Session::on_info(const svm::InfoEvent& e) {
  const std::lock_guard lock(mutex_);
  const auto at = std::ranges::find(questions_, e.context, &Question::context);
  if (at == questions_.end()) return;
  at->answer = e;
  at->is_answered = true;
}

int Session::property(SessionProperty which, std::string& value) {
  std::shared_ptr<Attachment> attachment;
  uint64_t handle = 0;
  {
    const std::lock_guard lock(mutex_);
    if (state() != State::kOpen) return -ENOTCONN;
    attachment = attachment_;
    handle = handle_;
  }
  auto got = attachment->property(handle, which);
  if (!got)
    return got.error().code == Status::kUnsupported
               ? -ENOPROTOOPT
               : -errno_of(static_cast<int32_t>(got.error().code));
  value = std::move(*got);
  return 0;
}

}  // namespace loom::vcl
