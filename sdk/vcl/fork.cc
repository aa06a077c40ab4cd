// fork(): the child gets an application worker of its own, made before the fork, and shares every
// session. Nothing is asked of the daemon afterwards: a child that only calls exec costs one round
// trip. The child takes a session's events over when it first waits for it.
#include <pthread.h>

#include <algorithm>
#include <cstdio>

#include "vcl/app_worker.h"

namespace loom::vcl {
namespace {

struct Workers {
  std::mutex mutex;
  std::vector<AppWorker*> all;
};
Workers& workers() {
  static Workers& w = *new Workers;  // never destroyed: forks may come late
  return w;
}

void prepare() {
  workers().mutex.lock();
  for (AppWorker* w : workers().all) w->before_fork();
}
void in_parent() {
  for (AppWorker* w : workers().all) w->after_fork_in_parent();
  workers().mutex.unlock();
}
void in_child() {
  for (AppWorker* w : workers().all) w->after_fork_in_child();
  new (&workers().mutex) std::mutex;
}

}  // namespace

void join_fork_handlers(AppWorker& w) {
  static std::once_flag once;
  std::call_once(once, [] { pthread_atfork(prepare, in_parent, in_child); });
  const std::lock_guard lock(workers().mutex);
  workers().all.push_back(&w);
}

void leave_fork_handlers(AppWorker& w) {
  const std::lock_guard lock(workers().mutex);
  std::erase(workers().all, &w);
}

void AppWorker::before_fork() {
  attach_mutex_.lock();
  mutex_.lock();
  live_sessions_.for_each([](Session& s) { s.mutex().lock(); });
  if (attachment_ && !attachment_->dead()) {
    if (auto ends = attachment_->add_worker()) {
      child_ends_ = std::make_unique<WorkerEnds>(std::move(*ends));
      const uint64_t bit = 1ull << (child_ends_->reply.worker_index % svm::kMaxAppWorkers);
      live_sessions_.for_each([&](Session& s) {
        if (s.uses(*attachment_)) s.add_holder(bit);
      });
    } else if (config_.debug) {
      std::fprintf(stderr, "vcl: no worker for the child: %s\n", ends.error().message.c_str());
    }
    attachment_->socket_mutex().lock();
  }
  for (const auto& p : pairs_) p->mutex().lock();
  sessions_.mutex().lock();
  epoll_sets_.mutex().lock();
  unsent_mutex_.lock();
}

void AppWorker::after_fork_in_parent() {
  unsent_mutex_.unlock();
  epoll_sets_.mutex().unlock();
  sessions_.mutex().unlock();
  for (const auto& p : pairs_) p->mutex().unlock();
  if (attachment_ && !attachment_->dead()) attachment_->socket_mutex().unlock();
  child_ends_.reset();  // the child's copies stay open
  live_sessions_.for_each([](Session& s) { s.mutex().unlock(); });
  mutex_.unlock();
  attach_mutex_.unlock();
}

void AppWorker::after_fork_in_child() {
  new (&unsent_mutex_) std::mutex;
  new (&epoll_sets_.mutex()) std::mutex;
  new (&sessions_.mutex()) std::mutex;
  new (&mutex_) std::mutex;
  new (&attach_mutex_) std::mutex;
  ThreadWaiter::current().forget();
  sleepers_ = 0;
  while (!looks_.empty()) {
    Look& look = looks_.front();
    look.unlink();
    look.attachment = nullptr;
    look.pairs = {};
  }
  for (const auto& p : pairs_) p->after_fork();
  if (bells_fd_ >= 0) {  // the parent's
    sys::close_internal(bells_fd_);
    bells_fd_ = sys::make_internal(sys::epoll_create());
  }
  unsent_.clear();
  has_unsent_.store(false);
  by_context_.clear();
  live_sessions_.for_each([](Session& s) { s.after_fork(); });
  live_sets_.for_each([](EpollSet& e) { e.after_fork(); });
  if (!attachment_ || attachment_->dead()) return;

  attachment_->reset_locks();
  const std::unique_ptr<WorkerEnds> ends = std::move(child_ends_);
  const std::lock_guard lock(mutex_);
  if (ends && attachment_->become(std::move(*ends))) {
    new_epoch();
  } else {
    attachment_->abandon();
    end_sessions();
  }
  live_sets_.for_each([](EpollSet& e) { e.make_all_ready(); });
}

}  // namespace loom::vcl
